# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""NVIDIA's libraries kept at the module's release: packages pinned and held, upgrades told so.

Three layers, because each is passed by somebody: the pin stands against apt's choice of a version,
dpkg's hold against an explicit upgrade of everything, and unattended-upgrades has a list of its
own. All of it is taken back exactly: only holds that were set here are lifted again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from .._host.commands import run
from .._host.files import FileChange, read_bytes, remove
from .._host.userspace import userspace_version
from .initramfs import STATE_DIRECTORY
from .install import prune_state
from .userspace_change import (
    INSTALL_SECONDS,
    Means,
    bring_by_installer,
    bring_packages,
    moved,
)
from .userspace_packages import (
    HOLD,
    Package,
    held_by_host,
    install,
    installed_packages,
    obtainable,
)
from .userspace_record import RECORD, Held, read_held

PIN = Path("/etc/apt/preferences.d/gpufleet-nvidia.pref")
UNATTENDED = Path("/etc/apt/apt.conf.d/52gpufleet-nvidia")
UNINSTALLER = "nvidia-uninstall"

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


@dataclass(frozen=True)
class Outcome:
    """What was done, or in check mode would be."""

    actions: tuple[str, ...]
    packages: tuple[Package, ...]
    version: str | None
    diff: tuple[dict[str, str], ...]


def pin_text(packages: Sequence[Package]) -> str:
    """Return apt preferences that keep each package at its version."""
    lines = ["Explanation: Written by gpufleet: the libraries of the installed kernel modules."]
    for name, version in sorted({(p.plain_name, p.version) for p in packages}):
        lines += [f"Package: {name}", f"Pin: version {version}", "Pin-Priority: 1001", ""]
    return "\n".join(lines)


def hold(release: str, means: Means, *, check: bool) -> Outcome:
    """Have the libraries of ``release``, and keep them.

    Raises:
        UserspaceRefused: they are of another release, and cannot be replaced by these means.
        CommandFailed: the installer, apt or dpkg refused.
    """
    before = read_held()
    present = userspace_version(Path("/"))
    actions: list[str] = []
    planned: tuple[Package, ...] = ()
    if present != release and means.packages:
        planned, before = bring_packages(release, present, before, check=check)
        actions = [f"bring {package.name} to {package.version}" for package in planned]
    elif present != release:
        before = bring_by_installer(release, present, means, before, check=check)
        actions = [f"install the libraries of {release} (no kernel modules)"]
    packages = planned if check and planned else installed_packages(release)
    changed = {package.name: package.want for package in packages if package.want != HOLD}
    after = replace(before, selections={**before.selections, **changed})
    changes = [change for change in _files(packages, after) if change.is_change]
    actions += [f"write {change.path}" for change in changes]
    actions += [f"hold {name}" for name in sorted(changed)]
    if not check:
        # The record first: a hold that nobody remembers would never be lifted.
        for change in changes:
            change.apply()
        _select(dict.fromkeys(changed, HOLD))
    diff = tuple(change.as_diff() for change in changes)
    version = present if check else release
    return Outcome(tuple(actions), packages, version, diff)


def release(*, check: bool) -> Outcome:
    """Take back what hold() did: holds, pin, drop-in, libraries that it installed or moved.

    Raises:
        UserspaceRefused: packages that were moved cannot be had in their version of before.
        CommandFailed: apt, dpkg or the uninstaller refused.
    """
    held = read_held()
    now = _selections(held.selections)
    back = {name: want for name, want in held.selections.items() if now.get(name) == HOLD}
    going_back = moved(held)
    changes = [
        FileChange(path, read_bytes(path), None) for path in (PIN, UNATTENDED) if path.is_file()
    ]
    actions = [f"remove {change.path}" for change in changes]
    actions += [f"let {name} go" for name in sorted(back)]
    actions += [f"bring {name} back to {going_back[name]}" for name in sorted(going_back)]
    if held.installed:
        actions.append("uninstall the libraries that were installed here")
    if RECORD.is_file() and not actions:
        actions.append(f"remove {RECORD}")
    if not check:
        _select(back)
        if held.installed:
            run([UNINSTALLER, "--silent"], timeout=INSTALL_SECONDS)
        for change in changes:
            change.apply()
        if going_back:
            install(going_back)
        if remove(RECORD):
            prune_state(STATE_DIRECTORY)
    diff = tuple(change.as_diff() for change in changes)
    return Outcome(tuple(actions), (), userspace_version(Path("/")), diff)


def archive_state() -> dict[str, Any]:
    """Return to what apt could bring the libraries' packages.

    ``releases`` has the packages of each release that it has for all of them, the present one
    included; ``held`` the packages on hold that somebody else than us holds.
    """
    present = userspace_version(Path("/"))
    packages = installed_packages(present) if present else ()
    releases = {release: sorted(versions) for release, versions in obtainable(packages).items()}
    return {
        "releases": releases,
        "held": list(held_by_host(packages, read_held().selections)),
    }


def _files(packages: Sequence[Package], held: Held) -> list[FileChange]:
    files: list[tuple[Path, bytes | None]] = []
    if held.selections or held.installed or held.versions:
        files.append((RECORD, held.as_json()))
    # Without apt there is nobody to tell.
    if PIN.parent.is_dir():
        files.append((PIN, pin_text(packages).encode() if packages else None))
    if UNATTENDED.parent.is_dir():
        files.append((UNATTENDED, _UNATTENDED.encode()))
    return [FileChange(path, read_bytes(path), content) for path, content in files]


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
