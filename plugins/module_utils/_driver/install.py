# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A build brought to a host: imported into its DKMS, installed as a whole or not at all.

DKMS copies module after module with plain cp and reports success for a part of them. So the
destination's files are written down before (the journal), compared with the manifest after, and put
back on failure; a journal found at the start tells of a run that died, and the new run heals it.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from .._host.errors import GpufleetError
from .._host.files import atomic_write, remove_empty, sha256_of
from .._host.state_file import read_state
from .dkms import DkmsPackage, failure
from .elf import MODULE_SUFFIXES
from .identity import DRIVER_MODULES, modprobe_override, resolved_path
from .initramfs import STATE_DIRECTORY
from .manifest import Manifest, in_archive, recorded
from .source import content_key
from .standby import DESTINATIONS, run_depmod, standby

_INTERRUPTED = "an installation was interrupted"


class InstallRefused(GpufleetError):
    """The modules are not installed; what was installed before is as it was."""


@dataclass(frozen=True)
class Target:
    """A package on one kernel of a host, and where our journal lies."""

    package: DkmsPackage
    kernel: str
    state: Path = STATE_DIRECTORY
    root: Path = Path("/")
    names: tuple[str, ...] = field(default=DRIVER_MODULES)

    @property
    def modules(self) -> Path:
        """The kernel's module directory."""
        return self.package.trees.install / self.kernel

    @property
    def journal(self) -> Path:
        """What the destination held before an installation that has not ended."""
        return self.state / f"installing-{self.kernel}.json"

    @property
    def backup(self) -> Path:
        """Copies of the module files named in the journal."""
        return self.state / f"installing-{self.kernel}"


@dataclass(frozen=True)
class Journal:
    """What there was before: module files below the kernel's directory, and DKMS's active link."""

    files: tuple[str, ...]
    active: str | None


def is_imported(package: DkmsPackage, manifest: Manifest) -> bool:
    """Return whether DKMS holds this build, whole, with the source that it was made of.

    A host may have signed its copy with its own key: build-ids tell, not checksums.
    """
    return (
        package.is_added()
        and manifest.same_build_as(recorded(package, manifest.kernel))
        and content_key(package.source_directory) == manifest.source_key
    )


def manifest_of(package: DkmsPackage, archive: Path, kernel: str) -> Manifest:
    """Return the manifest of the build that ``archive`` holds for the package and kernel.

    Raises:
        BuildRefused: the archive is not one of ours, or not for this kernel and architecture.
        InstallRefused: it is an archive of another package or version.
    """
    manifest = in_archive(archive, kernel, package.arch)
    if (manifest.name, manifest.version) != (package.name, package.version):
        raise InstallRefused(
            "archive_of_another_build",
            read=f"{archive}: {manifest.name}/{manifest.version}",
            want=f"{package.name}/{package.version}",
            remedy="give the archive that belongs to the version, or correct the version",
        )
    return manifest


def import_archive(package: DkmsPackage, archive: Path, manifest: Manifest) -> None:
    """Load an exported archive into DKMS, source and modules; compiles nothing.

    Raises:
        DkmsFailed: DKMS does not hold the archive's build afterwards.
    """
    result = package.ldtarball(archive)
    if not is_imported(package, manifest):
        raise failure(
            "import_failed",
            result,
            want=f"DKMS to hold {package.name}/{package.version} as in {archive}",
            remedy="check free space of /usr/src, /var/lib/dkms and /tmp, then run again",
        )


def differences(target: Target, manifest: Manifest) -> tuple[str, ...]:
    """Return, in words, how what modprobe would load differs from the build; empty: in place."""
    found = []
    for module in manifest.modules:
        path = resolved_path(target.root, target.kernel, module.name)
        if path is None or not path.is_file():
            found.append(f"{module.name}: not installed")
        elif sha256_of(path) != module.sha256:
            found.append(f"{module.name}: {path} is another build, or damaged")
    if not target.package.is_active(target.kernel):
        found.append(f"dkms: {manifest.name}/{manifest.version} is not the installed version")
    if target.journal.exists():
        found.append(_INTERRUPTED)
    return tuple(found)


def require_free_way(target: Target) -> None:
    """Refuse a host where another package owns the destination or modprobe bypasses it.

    Raises:
        InstallRefused: naming the package, the file or the modprobe.d line.
    """
    override = modprobe_override(target.root, target.kernel, "nvidia")
    if override is not None:
        raise InstallRefused(
            "modprobe_redirected",
            read=f"modprobe nvidia runs: {override}",
            want="modprobe nvidia to load the module that depmod resolves",
            remedy="remove the package that put this line into modprobe.d "
            "(Debian: nvidia-kernel-support), or override the line there",
        )
    rivals = competing_packages(target)
    if rivals:
        raise InstallRefused(
            "competing_dkms_package",
            read=f"installed by DKMS under {target.kernel}: {', '.join(rivals)}",
            want="no other DKMS package that installs modules of the same names",
            remedy=f"dkms uninstall {rivals[0]} -k {target.kernel}, or remove its package",
        )
    for path in destination_files(target):
        if not _is_ours(target, path):
            raise InstallRefused(
                "destination_occupied",
                read=f"{path}: not installed by {target.package.name}",
                want="no such module file that another installer put there",
                remedy="uninstall the driver that put it there with its own tool",
            )


def competing_packages(target: Target) -> tuple[str, ...]:
    """Return NAME/VERSION of other DKMS packages that hold one of our modules for this kernel."""
    rivals = []
    for link in target.package.trees.state.glob(f"*/kernel-{target.kernel}-{target.package.arch}"):
        name = link.parent.name
        held = {path.name.partition(".ko")[0] for path in (link / "module").glob("*.ko*")}
        if name != target.package.name and held & set(target.names):
            rivals.append(f"{name}/{link.resolve().parent.parent.name}")
    return tuple(sorted(rivals))


def destination_files(target: Target) -> tuple[Path, ...]:
    """Return the driver's module files in the directories that DKMS installs to."""
    paths = (
        target.modules / directory / f"{name}{suffix}"
        for directory in DESTINATIONS
        for name in target.names
        for suffix in MODULE_SUFFIXES
    )
    return tuple(path for path in paths if path.is_file())


def plan(target: Target, manifest: Manifest) -> tuple[str, ...]:
    """Return what an installation of the build would have to change; empty: it is in place.

    Raises:
        InstallRefused: something has to change and the way is not free.
    """
    found = differences(target, manifest)
    if found:
        require_free_way(target)
    return found


def install(target: Target, manifest: Manifest) -> None:
    """Install the imported build for the kernel, all modules or none.

    Raises:
        InstallRefused: DKMS does not hold the build.
        DkmsFailed: the result is not the build; the destination's previous files are back.
    """
    if recorded(target.package, target.kernel) != manifest:
        raise not_imported(target)
    with _journal(target):
        with standby([target.kernel], target.package.trees.install):
            if target.package.is_active(target.kernel):
                # Later releases of DKMS begin with it when forced; 2.8 takes it for installed.
                target.package.uninstall(target.kernel)
            result = target.package.install(target.kernel)
            if not _has_arrived(target, manifest):
                # Before the standby ends: there is no moment without a whole driver.
                _put_back(target, read_journal(target))
        left = [line for line in differences(target, manifest) if line != _INTERRUPTED]
        if left:
            raise failure(
                "install_incomplete",
                result,
                want="every module of the build in place: " + "; ".join(left),
                remedy="the previous modules are back; mend what DKMS names, then run again",
            )


def _has_arrived(target: Target, manifest: Manifest) -> bool:
    """Return whether every module of the build lies whole where DKMS installs to."""
    found = {sha256_of(path) for path in destination_files(target)}
    return found == {module.sha256 for module in manifest.modules}


def not_imported(target: Target) -> InstallRefused:
    """Return the refusal to install what DKMS does not hold."""
    package = target.package
    return InstallRefused(
        "not_imported",
        read=f"{package.build_directory(target.kernel)}: no whole build, or another one",
        want=f"a build of {package.name}/{package.version} for {target.kernel}",
        remedy="give the archive of the build (archive)",
    )


@contextlib.contextmanager
def _journal(target: Target) -> Iterator[None]:
    """Write down what the destination holds; put it back if the block raises."""
    if not target.journal.exists():
        _write_journal(target)
    try:
        yield
    except GpufleetError:
        roll_back(target)
        raise
    end_journal(target)


def _write_journal(target: Target) -> None:
    shutil.rmtree(target.backup, ignore_errors=True)
    target.backup.mkdir(parents=True, mode=0o755)
    files = []
    for index, path in enumerate(destination_files(target)):
        shutil.copy2(path, target.backup / str(index))
        files.append(str(path.relative_to(target.modules)))
    link = target.package.active_link(target.kernel)
    active = str(link.readlink()) if link.is_symlink() else None
    os.sync()
    content = {"files": files, "active": active, "package": target.package.name}
    atomic_write(target.journal, json.dumps(content).encode())


def roll_back(target: Target) -> None:
    """Put the destination back to what the journal says, and end the journal.

    Raises:
        StateUnreadable: the journal is damaged; nothing was touched.
    """
    _put_back(target, read_journal(target))
    run_depmod(target.kernel)
    os.sync()
    end_journal(target)


def _put_back(target: Target, journal: Journal) -> None:
    before = [target.modules / name for name in journal.files]
    for path in destination_files(target):
        if path not in before:
            path.unlink()
    for index, path in enumerate(before):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.gpufleet")
        shutil.copy2(target.backup / str(index), temporary)
        temporary.replace(path)
    link = target.package.active_link(target.kernel)
    link.unlink(missing_ok=True)
    if journal.active:
        link.symlink_to(journal.active)
    prune(target.modules, DESTINATIONS)


def read_journal(target: Target) -> Journal:
    """Return the journal of the installation that has not ended; an empty one where there is none.

    Raises:
        StateUnreadable: it is damaged.
    """
    found = read_state(
        target.journal,
        parse_journal,
        want="the journal of an installation that was interrupted",
        remedy=f"look which modules lie in {target.modules}/updates/dkms, remove the journal and"
        f" {target.backup}, then run again",
    )
    return found or Journal((), None)


def parse_journal(fields: Any) -> Journal:
    """Return the journal that a file's JSON describes.

    Raises:
        ValueError, KeyError, TypeError: it is none, or names files that DKMS does not install.
    """
    files = tuple(PurePosixPath(name) for name in fields["files"])
    if not all(str(path.parent) in DESTINATIONS for path in files):
        raise ValueError("files outside of the directories that DKMS installs to")
    active = fields["active"]
    if active is not None and not isinstance(active, str):
        raise ValueError("active is no link")
    return Journal(tuple(map(str, files)), active)


def end_journal(target: Target) -> None:
    """Forget the journal; the file goes last, so that a crash in between only repeats this."""
    shutil.rmtree(target.backup, ignore_errors=True)
    target.journal.unlink(missing_ok=True)
    prune_state(target.state)


def prune_state(state: Path) -> None:
    """Remove our state directory, and the one above it, where they are empty."""
    for directory in (state, state.parent):
        remove_empty(directory)


def prune(base: Path, directories: tuple[str, ...]) -> None:
    """Remove those of the directories below ``base`` that are empty, as DKMS does."""
    for name in directories:
        remove_empty(base / name)


def _is_ours(target: Target, path: Path) -> bool:
    # DKMS's own link, or a journal of a run that died, covers damaged copies too.
    if target.journal.exists() or target.package.active_link(target.kernel).is_symlink():
        return True
    checksum = sha256_of(path)
    versions = (target.package.trees.state / target.package.name).glob("*")
    for version in versions:
        build = DkmsPackage(
            target.package.name, version.name, target.package.trees, target.package.arch
        )
        manifest = recorded(build, target.kernel)
        if manifest and checksum in {module.sha256 for module in manifest.modules}:
            return True
    return False
