# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether GRUB can write to where /boot/grub lives: a one-shot boot depends on it.

GRUB clears ``next_entry`` itself while booting. Where it cannot, the trial entry would stay the
default for good: on LVM and MD RAID (no write support in diskfilter), on btrfs, zfs and the other
file systems that 00_header's check_writable() lists.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from .._host.files import read_text

# What GRUB writes in place and reads without a journal of its own; others are refused.
_WRITABLE = frozenset({"ext2", "ext3", "ext4", "xfs", "vfat"})
_MAPPED = {"LVM": "LVM", "CRYPT": "an encrypted volume", "mpath": "a multipath device"}


@dataclass(frozen=True)
class Mount:
    """A line of /proc/self/mountinfo: where, of what type, on which device ("major:minor").

    ``is_writable`` is false where the mount or its file system is read-only.
    """

    point: str
    filesystem: str
    device: str
    is_writable: bool = True


def parse_mountinfo(text: str) -> list[Mount]:
    """Return the mounts in order, with octal escapes in mount points resolved (proc(5))."""
    mounts = []
    for line in text.splitlines():
        left, separator, right = line.partition(" - ")
        fields = left.split()
        if separator and len(fields) >= 6 and right.split():
            point = re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), fields[4])
            options = [*fields[5].split(","), *right.split()[-1].split(",")]
            mounts.append(Mount(point, right.split()[0], fields[2], "ro" not in options))
    return mounts


def mount_of(mounts: list[Mount], path: str) -> Mount | None:
    """Return the mount that holds ``path``: the longest mount point, the last of equal ones."""
    holding = [
        mount
        for mount in mounts
        if mount.point in {"/", path} or path.startswith(mount.point + "/")
    ]
    best: Mount | None = None
    for mount in holding:
        if best is None or len(mount.point) >= len(best.point):
            best = mount
    return best


def one_shot_obstacle(root: Path, path: str = "/boot/grub") -> str | None:
    """Return why GRUB could not clear its one-shot entry under ``path``, or None if it can."""
    mount = mount_of(parse_mountinfo(read_text(root / "proc/self/mountinfo") or ""), path)
    if mount is None:
        return f"/proc/self/mountinfo does not tell where {path} is"
    if mount.filesystem not in _WRITABLE:
        return f"{path} is on {mount.filesystem}, to which GRUB cannot write"
    device = root / "sys/dev/block" / mount.device
    if not device.exists():
        return f"{path} is on device {mount.device}, which /sys/dev/block does not describe"
    return _device_obstacle(device.resolve(), path)


def _device_obstacle(device: Path, path: str) -> str | None:
    disks = [device, device.parent] if (device / "partition").exists() else [device]
    for disk in disks:
        if (disk / "md").is_dir():
            return f"{path} is on MD RAID ({disk.name}), to which GRUB cannot write"
        if (disk / "dm").is_dir():
            kind = (read_text(disk / "dm/uuid") or "").partition("-")[0]
            what = _MAPPED.get(kind, "a device-mapper volume")
            return f"{path} is on {what} ({disk.name}), to which GRUB cannot write safely"
    return None
