# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What GRUB finds on a disk, read by GRUB's own file system drivers.

GRUB does not replay a file system's journal, so after a power loss it may see other files than the
kernel does once it has mounted the disk. Two disks that are the same to GRUB boot the same kernel
with the same parameters: a cheap way to find the crash states that are worth a boot.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.gpufleet.p2p.plugins.module_utils._host.commands import (
    CommandFailed,
    CommandTimedOut,
    run,
)

PARTITION = "(loop0,msdos1)"
DIRECTORY = "/boot/grub"
_SECONDS = 60.0
# The files that an entry loads, by their paths from the root of GRUB's file system.
_LOADED = re.compile(r"^\s*(?:linux|initrd)\s+(\S+)", re.MULTILINE)


@dataclass(frozen=True)
class BootView:
    """Checksums by path of all that the menu needs; None where GRUB cannot read the file."""

    checksums: tuple[tuple[str, str | None], ...]

    @property
    def missing(self) -> tuple[str, ...]:
        """Paths that the menu names, or that make the menu, and that cannot be read."""
        # Nobody writes a custom.cfg but a trial boot.
        return tuple(
            path
            for path, checksum in self.checksums
            if checksum is None and not path.endswith("/custom.cfg")
        )


def boot_view(disk: Path, partition: str = PARTITION) -> BootView:
    """Return what GRUB would find on a raw disk."""
    config = grub(disk, "cat", f"{partition}{DIRECTORY}/grub.cfg")
    paths = [f"{DIRECTORY}/{name}" for name in ("grub.cfg", "grubenv", "custom.cfg")]
    paths += loaded_files(config or "")
    return BootView(
        tuple((path, grub(disk, "crc", f"{partition}{path}")) for path in dict.fromkeys(paths))
    )


def loaded_files(config: str) -> Sequence[str]:
    """Return the paths that a grub.cfg's entries load, in order, each once."""
    return list(dict.fromkeys(_LOADED.findall(config)))


def grub(disk: Path, command: str, path: str) -> str | None:
    """Return what a command of grub-fstest says about a file of the disk; None if it fails."""
    try:
        result = run(["grub-fstest", str(disk), command, path], timeout=_SECONDS)
    except (CommandFailed, CommandTimedOut):
        return None
    return result.stdout.strip()
