# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who has NVIDIA device files open: the answer where NVML cannot be asked."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from .files import read_text

_DEVICE_FILE = re.compile(r"/dev/nvidia([0-9]{1,9})")
_MINOR = re.compile(r"(?m)^Device Minor:\s*([0-9]{1,9})\s*$")
# They hold every GPU open by profession and do no work on it.
_KEEPERS = frozenset({"nvidia-persiste", "nvidia-powerd", "nv-fabricmanage", "nv-hostengine"})


@dataclass(frozen=True)
class DeviceUser:
    """A process that has the device file of one GPU open; ``name`` is at most 15 characters."""

    minor: int
    pid: int
    name: str


def device_minors(root: Path = Path("/")) -> dict[str, int]:
    """Return the minor number of each GPU the NVIDIA driver has, by PCI address."""
    minors: dict[str, int] = {}
    for path in _entries(root / "proc/driver/nvidia/gpus"):
        match = _MINOR.search(read_text(path / "information") or "")
        if match:
            minors[path.name.lower()] = int(match.group(1))
    return minors


def device_users(root: Path = Path("/")) -> tuple[DeviceUser, ...]:
    """Return who uses GPUs, ordered by process; processes of other users need root to be seen.

    The driver's own daemons are left out: they keep every GPU open without using it.
    """
    found: set[tuple[int, int, str]] = set()
    for process in _entries(root / "proc"):
        if not (process.name.isascii() and process.name.isdigit()):
            continue
        minors = {minor for link in _links(process / "fd") for minor in _minor_of(link)}
        if not minors:
            continue
        name = (read_text(process / "comm") or "").strip()
        if name not in _KEEPERS:
            found.update((int(process.name), minor, name) for minor in minors)
    return tuple(DeviceUser(minor, pid, name) for pid, minor, name in sorted(found))


def _minor_of(target: str) -> Iterator[int]:
    match = _DEVICE_FILE.fullmatch(target)
    if match:
        yield int(match.group(1))


def _links(directory: Path) -> Iterator[str]:
    for entry in _entries(directory):
        try:
            yield str(entry.readlink())
        except OSError:
            continue  # closed meanwhile


def _entries(directory: Path) -> list[Path]:
    try:
        return list(directory.iterdir())
    except OSError:
        return []  # gone meanwhile, or another user's
