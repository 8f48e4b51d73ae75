# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The EFI variables by which boot loader and system talk, and the one that selects a boot once.

Described in https://systemd.io/BOOT_LOADER_INTERFACE. Reading is done here; writing is left to
bootctl, which knows that the kernel marks these files immutable and that a variable is written by
one system call or not at all.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from .._host.commands import run
from .._host.files import read_bytes, read_text
from .boot_device import mount_of, parse_mountinfo

LOADER_GUID = "4a67b082-0a4c-41cf-b6c7-440b29bb8c4f"
EFIVARS = Path("sys/firmware/efi/efivars")
ONE_SHOT = "LoaderEntryOneShot"
# Bits of LoaderFeatures.
FEATURE_ONE_SHOT = 1 << 3
FEATURE_SORT_KEY = 1 << 8
# efivarfs shows a variable's attributes before its data.
_ATTRIBUTE_BYTES = 4


def _data(root: Path, name: str) -> bytes | None:
    data = read_bytes(root / EFIVARS / f"{name}-{LOADER_GUID}")
    return None if data is None else data[_ATTRIBUTE_BYTES:]


def loader_variable(root: Path, name: str) -> str | None:
    """Return a boot loader interface variable's text, e.g. "systemd-boot 252.39-1", or None."""
    data = _data(root, name)
    return None if data is None else data.decode("utf-16-le", "replace").rstrip("\0")


def loader_features(root: Path) -> int:
    """Return the bits of LoaderFeatures, 0 where the boot loader does not tell."""
    return int.from_bytes(_data(root, "LoaderFeatures") or b"", "little")


def writing_obstacle(root: Path) -> str | None:
    """Return why EFI variables cannot be written, or None if they can."""
    text = read_text(root / "proc/self/mountinfo") or ""
    mount = mount_of(parse_mountinfo(text), f"/{EFIVARS}")
    if mount is None or mount.filesystem != "efivarfs":
        return f"efivarfs is not mounted at /{EFIVARS}"
    return None if mount.is_writable else f"/{EFIVARS} is mounted read-only"


class OneShotTool(Protocol):
    """What changes the selection of the next boot."""

    def select(self, identity: str | None) -> None:
        """Select an entry for the next boot alone; None takes a selection back."""


class Bootctl:
    """systemd's own bootctl of this host."""

    def select(self, identity: str | None) -> None:
        """Run ``bootctl set-oneshot``; an empty name removes the variable.

        Raises:
            CommandFailed, CommandMissing, CommandTimedOut.
        """
        run(["bootctl", "set-oneshot", identity or ""])


@dataclass(frozen=True)
class SelectOnce:
    """A step: what the next boot, and only it, takes. None is the default entry."""

    name: str
    root: Path
    tool: OneShotTool
    before: str | None
    after: str | None

    def apply(self) -> bool:
        """Write or remove the variable; return whether it was another before.

        Raises:
            CommandFailed, CommandMissing, CommandTimedOut: the variable is as it was.
        """
        return self._select(self.after)

    def undo(self) -> None:
        """Put the former selection back."""
        self._select(self.before)

    def _select(self, identity: str | None) -> bool:
        if (loader_variable(self.root, ONE_SHOT) or None) == identity:
            return False
        self.tool.select(identity)
        return True

    def as_diff(self) -> dict[str, str]:
        """Return Ansible's diff record."""
        path = str(self.root / EFIVARS / f"{ONE_SHOT}-{LOADER_GUID}")
        return {
            "before_header": path,
            "after_header": path,
            "before": f"{self.before}\n" if self.before else "",
            "after": f"{self.after}\n" if self.after else "",
        }
