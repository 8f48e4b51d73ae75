# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Driver sources brought to this machine: from git, as an archive, by patch files, all verified.

Everything lands in a cache by its identity (commit or checksum), whole or not at all, so that two
runs can share the cache and a second run needs no network.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from .._host.commands import CommandFailed, CommandTimedOut, run
from .._host.errors import GpufleetError
from .._host.files import sha256_of, sync_directory
from .specification import DriverBuild, Patch

_FETCH_SECONDS = 1800.0
_LIST_SECONDS = 120.0
_READ_SECONDS = 60.0
_CHUNK = 1 << 20
# No prompt can be answered here, no transport but the usual ones, and nothing of the remote's runs.
_GIT = ("git", "-c", "protocol.ext.allow=never", "-c", "core.autocrlf=false")
_GIT_ENVIRONMENT = {"GIT_TERMINAL_PROMPT": "0", "GIT_LFS_SKIP_SMUDGE": "1"}


class SourceUnavailable(GpufleetError):
    """The source, or a patch, could not be fetched, or is not what it was pinned to."""


@dataclass(frozen=True)
class Obtained:
    """A build's source (folder or tar archive) and patch files, on this machine."""

    source: Path
    patches: tuple[Path, ...]


def obtain(build: DriverBuild, cache: Path, *, source: Path | None = None) -> Obtained:
    """Bring everything a build is made of to this machine.

    Args:
        build: what is asked for; its pins are verified.
        cache: folder that keeps downloads and checkouts.
        source: the source where it is here already, in place of what ``build`` names.

    Raises:
        SourceUnavailable; CommandMissing where git is not installed; OSError for the cache.
        ValueError: the source is a distribution's, which distribution.py unpacks.
    """
    if source is None:
        source = _source(build, cache)
    return Obtained(source, tuple(_patch(patch, cache) for patch in build.patches))


def _source(build: DriverBuild, cache: Path) -> Path:
    source = build.source
    if source.kind == "git":
        return checkout(source.location, str(source.commit), cache)
    if source.kind == "archive":
        return download(source.location, cache, sha256=source.sha256)
    if source.kind == "path":
        return Path(source.location).expanduser()
    raise ValueError(f"a {source.kind} source is not fetched from here")


def _patch(patch: Patch, cache: Path) -> Path:
    if patch.remote:
        return download(patch.location, cache, sha256=patch.sha256)
    path = Path(patch.location).expanduser()
    if patch.sha256 is not None:
        _require_checksum(path, patch.location, patch.sha256)
    return path


def resolve(url: str, references: Sequence[str]) -> str:
    """Return the commit that the first existing one of the references names at a remote.

    Args:
        references: full names such as refs/heads/main; an annotated tag gives its commit.

    Raises:
        SourceUnavailable: the remote does not answer, or has none of them.
    """
    patterns = [pattern for name in references for pattern in (name, f"{name}^{{}}")]
    told = _git("ls-remote", "--", url, *patterns, url=url, timeout=_LIST_SECONDS)
    lines = [line.partition("\t") for line in told.splitlines()]
    found = {name: commit for commit, _tab, name in lines}
    for name in references:
        commit = found.get(f"{name}^{{}}") or found.get(name)
        if commit:
            return commit
    raise SourceUnavailable(
        "driver_reference_missing",
        read=f"{url} has no {' or '.join(references)}",
        want="the branch or tag at the remote",
        remedy="correct the name (git ls-remote shows what there is), or the URL of the mirror",
    )


def checkout(url: str, commit: str, cache: Path, *, reference: str | None = None) -> Path:
    """Return a folder with the files of a commit, fetching it unless the cache has it.

    Args:
        reference: a branch or tag that leads to the commit, for remotes that do not serve a commit
            by its identifier.

    Raises:
        SourceUnavailable: the remote does not answer or does not have the commit.
    """
    folder = cache / "git" / commit
    if folder.is_dir():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True, mode=0o755)
    with tempfile.TemporaryDirectory(prefix=f".{commit}.", dir=folder.parent) as directory:
        tree = Path(directory) / "tree"
        _git("init", "--quiet", "--template=", str(tree), url=url)
        _fetch(tree, url, commit, reference)
        _git("checkout", "--quiet", "--detach", commit, url=url, cwd=tree)
        shutil.rmtree(tree / ".git")
        try:
            tree.rename(folder)
        except OSError:
            # Another run was quicker; its folder has the same content.
            if not folder.is_dir():
                raise
    sync_directory(folder.parent)
    return folder


def _fetch(tree: Path, url: str, commit: str, reference: str | None) -> None:
    """Fetch the commit by itself, or else by what leads to it."""
    words = ("fetch", "--quiet", "--no-tags", "--depth=1", "--", url)
    try:
        _git(*words, commit, url=url, cwd=tree)
    except SourceUnavailable:
        # Servers need not serve a commit that no reference points at: then come all branches.
        ways: list[tuple[str, ...]] = [(*words, reference)] if reference else []
        ways.append(("fetch", "--quiet", "--tags", "--", url, "+refs/heads/*:refs/remotes/from/*"))
        for way in ways:
            _git(*way, url=url, cwd=tree)
            if _has(tree, commit):
                return
        raise


def _has(tree: Path, commit: str) -> bool:
    words = [*_GIT, "cat-file", "-e", f"{commit}^{{commit}}"]
    return run(words, cwd=tree, check=False, env=_GIT_ENVIRONMENT).rc == 0


def _git(*words: str, url: str, cwd: Path | None = None, timeout: float = _FETCH_SECONDS) -> str:
    environment = {"GIT_SSH_COMMAND": "ssh -o BatchMode=yes", **_GIT_ENVIRONMENT}
    if "GIT_SSH_COMMAND" in os.environ:
        del environment["GIT_SSH_COMMAND"]
    try:
        return run([*_GIT, *words], cwd=cwd, timeout=timeout, env=environment).stdout
    except (CommandFailed, CommandTimedOut) as error:
        raise SourceUnavailable(
            "driver_source_unavailable",
            read=error.read,
            want=f"{words[0]} from {url}",
            remedy="check the URL, the commit and the network; without a network, lock a mirror"
            " (gpufleet driver lock --mirror)",
        ) from error


def download(location: str, cache: Path, *, sha256: str | None = None) -> Path:
    """Return a file by path or URL; one by URL is kept in the cache by its checksum.

    Raises:
        SourceUnavailable: it cannot be read, or has another checksum.
    """
    if "://" not in location:
        path = Path(location).expanduser()
        if sha256 is not None:
            _require_checksum(path, location, sha256)
        elif not path.is_file():
            raise _unreadable(location, "no such file")
        return path
    folder = cache / "downloads"
    if sha256 is not None and (folder / sha256).is_file():
        _require_checksum(folder / sha256, location, sha256)
        return folder / sha256
    folder.mkdir(parents=True, exist_ok=True, mode=0o755)
    with tempfile.NamedTemporaryFile(dir=folder, prefix=".download-", delete=False) as stream:
        temporary = Path(stream.name)
    try:
        _download(location, temporary)
        found = sha256_of(temporary)
        if sha256 is not None and found != sha256:
            raise _other_checksum(location, found, sha256)
        temporary.chmod(0o644)
        temporary.replace(folder / found)
    finally:
        temporary.unlink(missing_ok=True)
    sync_directory(folder)
    return folder / found


def _download(url: str, target: Path) -> None:
    if urlsplit(url).scheme == "file":
        source = Path(unquote(urlsplit(url).path))
        if not source.is_file():
            raise _unreadable(url, "no such file")
        shutil.copyfile(source, target)
        return
    try:
        # The scheme is http or https: the specification admits no other.
        with (
            urllib.request.build_opener().open(url, timeout=_READ_SECONDS) as answer,
            target.open("wb") as stream,
        ):
            shutil.copyfileobj(answer, stream, _CHUNK)
            stream.flush()
            os.fsync(stream.fileno())
    except (urllib.error.URLError, TimeoutError, ConnectionError) as error:
        raise _unreadable(url, str(getattr(error, "reason", error))) from error


def _require_checksum(path: Path, location: str, sha256: str) -> None:
    if not path.is_file():
        raise _unreadable(location, "no such file")
    found = sha256_of(path)
    if found != sha256:
        raise _other_checksum(location, found, sha256)


def _unreadable(location: str, reason: str) -> SourceUnavailable:
    return SourceUnavailable(
        "driver_source_unavailable",
        read=f"{location}: {reason}",
        want="the file that p2p_driver names",
        remedy="check the path or URL and the network; without a network, lock a path or a mirror",
    )


def _other_checksum(location: str, found: str, wanted: str) -> SourceUnavailable:
    return SourceUnavailable(
        "driver_checksum_mismatch",
        read=f"{location}: SHA-256 {found}",
        want=f"SHA-256 {wanted}",
        remedy="find out what changed the file; lock again only if the change is wanted",
    )
