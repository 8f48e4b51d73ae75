# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""NVIDIA's libraries kept at the module's release: packages pinned and held, upgrades told so.

Three layers, because each is passed by somebody: the pin stands against apt's choice of a version,
dpkg's hold against an explicit upgrade of everything, and unattended-upgrades has a list of its
own. All of it is taken back exactly: only holds that were set here are lifted again.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from .._host.commands import CommandMissing, run
from .._host.errors import GpufleetError
from .._host.files import FileChange, atomic_write, read_bytes, read_text, remove, sha256_of
from .._host.foreign_text import parse_json
from .._host.userspace import userspace_version
from .initramfs import STATE_DIRECTORY
from .install import prune_state

PIN = Path("/etc/apt/preferences.d/gpufleet-nvidia.pref")
UNATTENDED = Path("/etc/apt/apt.conf.d/52gpufleet-nvidia")
RECORD = STATE_DIRECTORY / "userspace.json"
UNINSTALLER = "nvidia-uninstall"

_SCHEMA = 1
_INSTALL_SECONDS = 1800.0
_HOLD = "hold"
# Also what is not installed: a driver that an upgrade would bring in as a new dependency.
_UNATTENDED = """\
// Written by gpufleet: NVIDIA's driver is upgraded together with its kernel modules, by gpufleet.
Unattended-Upgrade::Package-Blacklist {
  "^(lib)?nvidia-";
  "^libcuda1$";
  "^libcudadebugger1$";
  "^linux-(modules|objects|signatures)-nvidia-";
  "^xserver-xorg-video-nvidia";
};
"""


class UserspaceRefused(GpufleetError):
    """The libraries are not, and cannot be made, those of the driver's release."""


@dataclass(frozen=True)
class Package:
    """An installed package: dpkg's name (with :arch where it has one), version, and what is wanted.

    ``want`` is dpkg's selection: install or hold, rarely deinstall or purge.
    """

    name: str
    version: str
    want: str

    @property
    def plain_name(self) -> str:
        """The name without the architecture, as apt's preferences have it."""
        return self.name.partition(":")[0]


@dataclass(frozen=True)
class Held:
    """What was changed here: selections as they were, and whether the libraries are ours."""

    selections: Mapping[str, str] = field(default_factory=dict)
    installed: bool = False

    def as_json(self) -> bytes:
        """Return the record as it stands in its file."""
        fields = {
            "schema": _SCHEMA,
            "selections": dict(self.selections),
            "installed": self.installed,
        }
        return (json.dumps(fields, indent=2, sort_keys=True) + "\n").encode()


@dataclass(frozen=True)
class Outcome:
    """What was done, or in check mode would be."""

    actions: tuple[str, ...]
    packages: tuple[Package, ...]
    version: str | None
    diff: tuple[dict[str, str], ...]


def upstream_version(version: str) -> str:
    """Return a Debian version without epoch and revision (deb-version(7)).

    >>> upstream_version("1:595.58.03-0ubuntu0.24.04.1")
    '595.58.03'
    """
    after_epoch = version.rpartition(":")[2] if version.partition(":")[0].isdigit() else version
    return after_epoch.rpartition("-")[0] if "-" in after_epoch else after_epoch


def parse_packages(text: str, release: str) -> tuple[Package, ...]:
    """Return the installed packages of NVIDIA's driver ``release`` in dpkg-query's output.

    Each line has name, version, selection, status and source package between tabs.
    """
    found = []
    for line in text.splitlines():
        fields = line.split("\t")
        if len(fields) != 5:
            continue
        name, version, want, status, source = fields
        of_nvidia = re.search(r"nvidia|cuda", f"{name} {source}") is not None
        if status == "installed" and of_nvidia and upstream_version(version) == release:
            found.append(Package(name, version, want))
    return tuple(sorted(found, key=lambda package: package.name))


def installed_packages(release: str) -> tuple[Package, ...]:
    """Return this host's packages of the driver release; none where there is no dpkg."""
    fields = ("binary:Package", "Version", "db:Status-Want", "db:Status-Status", "source:Package")
    wanted = "\t".join(f"${{{name}}}" for name in fields) + "\n"
    try:
        return parse_packages(run(["dpkg-query", "-W", "-f", wanted]).stdout, release)
    except CommandMissing:
        return ()


def pin_text(packages: Sequence[Package]) -> str:
    """Return apt preferences that keep each package at its version."""
    lines = ["Explanation: Written by gpufleet: the libraries of the installed kernel modules."]
    for name, version in sorted({(p.plain_name, p.version) for p in packages}):
        lines += [f"Package: {name}", f"Pin: version {version}", "Pin-Priority: 1001", ""]
    return "\n".join(lines)


def hold(release: str, runfile: Path | None, sha256: str | None, *, check: bool) -> Outcome:
    """Have the libraries of ``release``, and keep them.

    Args:
        runfile: NVIDIA's installer, run with --no-kernel-modules where the libraries are of another
            release or missing; None: they have to be there.
        sha256: what the installer's checksum has to be.

    Raises:
        UserspaceRefused: they are of another release, and no fit installer was given.
        CommandFailed: the installer, or dpkg, refused.
    """
    actions = []
    before = _read_held()
    present = userspace_version(Path("/"))
    installing = present != release
    if installing:
        _require_installable(release, present, runfile, sha256)
        actions.append(f"install the libraries of {release} (no kernel modules)")
        if not check and runfile is not None:
            atomic_write(RECORD, Held(before.selections, installed=True).as_json())
            _install(runfile, release)
    packages = installed_packages(release)
    changed = {package.name: package.want for package in packages if package.want != _HOLD}
    after = Held({**before.selections, **changed}, before.installed or installing)
    changes = [change for change in _files(packages, after) if change.is_change]
    actions += [f"write {change.path}" for change in changes]
    actions += [f"hold {name}" for name in sorted(changed)]
    if not check:
        # The record first: a hold that nobody remembers would never be lifted.
        for change in changes:
            change.apply()
        _select(dict.fromkeys(changed, _HOLD))
    diff = tuple(change.as_diff() for change in changes)
    version = release if installing and not check else present
    return Outcome(tuple(actions), packages, version, diff)


def release(*, check: bool) -> Outcome:
    """Lift the holds that were set here, remove pin and drop-in, and libraries installed here.

    Raises:
        CommandFailed: dpkg or the uninstaller refused.
    """
    held = _read_held()
    now = _selections(held.selections)
    back = {name: want for name, want in held.selections.items() if now.get(name) == _HOLD}
    changes = [
        FileChange(path, read_bytes(path), None) for path in (PIN, UNATTENDED) if path.is_file()
    ]
    actions = [f"remove {change.path}" for change in changes]
    actions += [f"let {name} go" for name in sorted(back)]
    if held.installed:
        actions.append("uninstall the libraries that were installed here")
    if RECORD.is_file() and not actions:
        actions.append(f"remove {RECORD}")
    if not check:
        _select(back)
        if held.installed:
            run([UNINSTALLER, "--silent"], timeout=_INSTALL_SECONDS)
        for change in changes:
            change.apply()
        if remove(RECORD):
            prune_state(STATE_DIRECTORY)
    diff = tuple(change.as_diff() for change in changes)
    return Outcome(tuple(actions), (), userspace_version(Path("/")), diff)


def _files(packages: Sequence[Package], held: Held) -> list[FileChange]:
    files: list[tuple[Path, bytes | None]] = []
    if held.selections or held.installed:
        files.append((RECORD, held.as_json()))
    # Without apt there is nobody to tell.
    if PIN.parent.is_dir():
        files.append((PIN, pin_text(packages).encode() if packages else None))
    if UNATTENDED.parent.is_dir():
        files.append((UNATTENDED, _UNATTENDED.encode()))
    return [FileChange(path, read_bytes(path), content) for path, content in files]


def _read_held() -> Held:
    try:
        fields = parse_json(read_text(RECORD) or "{}")
        if fields.get("schema") != _SCHEMA:
            return Held()
        selections = {str(name): str(want) for name, want in fields["selections"].items()}
        return Held(selections, bool(fields["installed"]))
    except (ValueError, KeyError, AttributeError):
        # Written whole or not at all; what is not ours is no record.
        return Held()


def _selections(names: Mapping[str, str]) -> dict[str, str]:
    if not names:
        return {}
    wanted = "${binary:Package}\t${db:Status-Want}\n"
    text = run(["dpkg-query", "-W", "-f", wanted, *names], check=False).stdout
    return dict(line.split("\t") for line in text.splitlines() if line.count("\t") == 1)


def _select(selections: Mapping[str, str]) -> None:
    if selections:
        lines = "".join(f"{name} {want}\n" for name, want in sorted(selections.items()))
        run(["dpkg", "--set-selections"], stdin=lines)


def _require_installable(
    release: str, present: str | None, runfile: Path | None, sha256: str | None
) -> None:
    read = f"libraries of {present}" if present else "no libcuda.so.1 and no libnvidia-ml.so.1"
    if runfile is None:
        raise UserspaceRefused(
            "userspace_version_mismatch",
            read=read,
            want=f"libraries of {release}",
            remedy=f"install NVIDIA's userspace {release}, or give its installer (runfile, sha256)",
        )
    if present is not None and installed_packages(present):
        raise UserspaceRefused(
            "userspace_of_packages",
            read=f"{read}, installed by packages",
            want="no packages that the installer would overwrite",
            remedy=f"upgrade the packages to {release} instead, or remove them first",
        )
    found = sha256_of(runfile)
    if found != sha256:
        raise UserspaceRefused(
            "runfile_checksum_mismatch",
            read=f"{runfile}: sha256 {found}",
            want=f"sha256 {sha256}",
            remedy="fetch the installer again, or correct the checksum after comparing it with"
            " NVIDIA's",
        )


def _install(runfile: Path, release: str) -> None:
    run(["sh", str(runfile), "--silent", "--no-kernel-modules"], timeout=_INSTALL_SECONDS)
    found = userspace_version(Path("/"))
    if found != release:
        raise UserspaceRefused(
            "userspace_version_mismatch",
            read=f"after the installer: libraries of {found or 'no driver'}",
            want=f"libraries of {release}",
            remedy="read /var/log/nvidia-installer.log",
        )
