# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A choice of driver resolved to commits and checksums, and written as a lock file.

The lock file is a file of variables: in an inventory's group_vars, or given with ``-e @FILE``, it
is what the roles build, and what they are held to.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ansible_collections.gpufleet.p2p.plugins.module_utils._driver as driver_package
import yaml
from ansible_collections.gpufleet.p2p.plugins.module_utils._driver import catalogue, fetch
from ansible_collections.gpufleet.p2p.plugins.module_utils._driver.catalogue import (
    Catalogue,
    CatalogueBuild,
)
from ansible_collections.gpufleet.p2p.plugins.module_utils._driver.lock import Lock
from ansible_collections.gpufleet.p2p.plugins.module_utils._driver.locked_source import pack
from ansible_collections.gpufleet.p2p.plugins.module_utils._driver.source import (
    SourceDescription,
    describe,
)
from ansible_collections.gpufleet.p2p.plugins.module_utils._driver.specification import parse
from ansible_collections.gpufleet.p2p.plugins.module_utils._host.files import (
    atomic_write,
    read_text,
    sha256_of,
)

from .errors import FleetError

# Of the collection's root, as _driver lies in plugins/module_utils.
_CATALOGUE = Path("roles/p2p_driver/files/catalogue.yml")
_PACKAGE_DEPTH = 3
_HEADER = """\
---
# Written by gpufleet driver lock. A build that differs from this is refused before anything is
# changed; to change it, run the command again and review the difference.
"""


@dataclass(frozen=True)
class Choice:
    """What is to be locked, as it was asked for.

    Attributes:
        name: a name of the catalogue; None where a source is given instead.
        version: the driver's release, for a source that is not the catalogue's.
        git, reference: another repository, and the branch or tag in it.
        archive, path: a tar archive by path or URL; a folder.
        mirror: a repository that is asked in place of the catalogue's.
        commit: this one, and not the head of the branch.
        patches: paths or URLs, in order.
    """

    name: str | None = None
    version: str | None = None
    git: str | None = None
    reference: str | None = None
    archive: str | None = None
    path: str | None = None
    mirror: str | None = None
    commit: str | None = None
    patches: Sequence[str] = ()
    registry: Mapping[str, Any] = field(default_factory=dict)
    userspace: str = "keep"


@dataclass(frozen=True)
class Locked:
    """A lock, what its source is, and what an operator should know of it."""

    lock: Lock
    description: SourceDescription
    entry: CatalogueBuild | None
    notes: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """Return the lock with its remarks as plain data."""
        return {
            "p2p_driver_lock": self.lock.as_dict(),
            "description": self.description.as_dict(),
            "notes": list(self.notes),
        }


def read_catalogue() -> Catalogue:
    """Return the catalogue that ships with the role.

    Raises:
        CatalogueUnusable; FleetError where the installation lacks the file.
    """
    root = Path(next(iter(driver_package.__path__))).parents[_PACKAGE_DEPTH - 1]
    path = root / _CATALOGUE
    text = read_text(path)
    if text is None:
        raise FleetError(
            "catalogue_missing",
            read=f"{path}: unreadable",
            want="the catalogue that ships with the role p2p_driver",
            remedy="install gpufleet again",
        )
    return catalogue.parse(yaml.safe_load(text))


def lock(choice: Choice, known: Catalogue, cache: Path | None = None) -> Locked:
    """Resolve a choice, fetch all of it, and return its lock; hosts are not asked.

    Args:
        choice: what is to be locked.
        known: the catalogue.
        cache: folder that keeps what was fetched; a temporary one by default.

    Raises:
        GpufleetError: the choice is not one, or what it names cannot be had or does not fit.
    """
    with _folder(cache) as folder:
        entry = known.choose(choice.name) if choice.name else None
        notes: list[str] = []
        source = _source(choice, entry, folder, notes)
        data = {
            "version": choice.version or (entry.version if entry else None),
            "source": source,
            "patches": [_patch(location, folder) for location in choice.patches],
            "registry": dict(choice.registry),
            "userspace": choice.userspace,
        }
        build = parse(data, "choice")
        packed, obtained = pack(build, folder)
        described = describe(
            packed.archive, obtained.patches, version=build.version, scratch=folder
        )
        entry = entry or known.find(build)
        if entry is None and not build.patches:
            notes.append("not in the catalogue: whether it has peer-to-peer is not known")
        elif choice.name and choice.name.startswith(f"{catalogue.UPSTREAM}-") and not build.patches:
            notes.append("the upstream without a patch: peer-to-peer stays off on consumer cards")
        name = choice.name or str(next(iter(source.values())))
        return Locked(Lock(name, build, packed.key), described, entry, tuple(notes))


def write(locked: Locked, output: Path) -> bool:
    """Write the lock file; return whether it changed.

    Raises:
        FleetError: the file is there and no lock, or cannot be written.
    """
    present = read_text(output)
    if present is not None and "p2p_driver_lock:" not in present:
        raise FleetError(
            "output_occupied",
            read=f"{output}: a file that is no lock",
            want="a new file, or an earlier lock",
            remedy="name another file with --output",
        )
    record = locked.lock.as_dict()
    content = {"p2p_driver": record["build"], "p2p_driver_lock": record}
    text = _HEADER + yaml.dump(content, Dumper=_PlainDumper, sort_keys=False, width=1000)
    try:
        return atomic_write(output, text.encode())
    except OSError as error:
        raise FleetError(
            "output_unwritable",
            read=f"{output}: {error.strerror or error}",
            want="a file that can be written",
            remedy="name another file with --output",
        ) from error


class _PlainDumper(yaml.SafeDumper):
    """Writes the build twice in full: an alias would not survive an edit by hand."""

    def ignore_aliases(self, _data: Any) -> bool:
        return True


def _source(
    choice: Choice, entry: CatalogueBuild | None, cache: Path, notes: list[str]
) -> dict[str, Any]:
    given = [
        name
        for name, value in (
            ("a name of the catalogue", choice.name),
            ("--git", choice.git),
            ("--archive", choice.archive),
            ("--path", choice.path),
        )
        if value
    ]
    if len(given) != 1:
        raise FleetError(
            "driver_choice_unclear",
            read=" and ".join(given) or "no choice",
            want="exactly one of a name of the catalogue, --git, --archive, --path",
            remedy="gpufleet driver list shows the names",
        )
    if choice.archive:
        archive = _absolute(choice.archive)
        return {"archive": archive, "sha256": sha256_of(fetch.download(archive, cache))}
    if choice.path:
        return {"path": _absolute(choice.path)}
    return _git_source(choice, entry, cache, notes)


def _git_source(
    choice: Choice, entry: CatalogueBuild | None, cache: Path, notes: list[str]
) -> dict[str, Any]:
    url = choice.mirror or choice.git or (entry.git if entry else "")
    name = choice.reference or (entry.branch if entry else None)
    pinned = choice.commit or (entry.commit if entry else None)
    if name is None and pinned is None:
        raise FleetError(
            "driver_choice_unclear",
            read=f"--git {url} alone",
            want="--ref with a branch or tag, or --commit",
            remedy="add --ref BRANCH",
        )
    reference = None
    if name is not None:
        references = [f"refs/heads/{name}", f"refs/tags/{name}"]
        head = fetch.resolve(url, references)
        reference = name
        if pinned is not None and head != pinned:
            notes.append(f"{name} is at {head} now; locked is {pinned}")
    commit = pinned or head
    fetch.checkout(url, commit, cache, reference=reference)
    return {"git": url, "commit": commit}


def _patch(location: str, cache: Path) -> dict[str, str]:
    where = _absolute(location)
    pin = sha256_of(fetch.download(where, cache))
    return {"url" if "://" in where else "path": where, "sha256": pin}


def _absolute(location: str) -> str:
    return location if "://" in location else str(Path(location).expanduser().absolute())


@contextlib.contextmanager
def _folder(cache: Path | None) -> Iterator[Path]:
    if cache is not None:
        yield cache
        return
    with tempfile.TemporaryDirectory(prefix="gpufleet-lock-") as directory:
        yield Path(directory)
