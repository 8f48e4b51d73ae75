# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which installed kernel systemd-boot starts by default, and holding it to one that works.

As kernel_default.py has it for GRUB. A marked block at the end of loader.conf names the entry: of
several defaults there the last one counts. The EFI variable that ``bootctl set-default`` writes
counts more; where somebody has set it, it is theirs.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from .._host.files import mode_of, read_bytes
from .boot_entry import BootEntry
from .boot_menu import LOADER_CONF, Menu, read_menu
from .efi_variables import loader_variable
from .interface import BootConfigurationRefused, Step, WriteFile
from .systemd_boot import SystemdBoot

_BEGIN = b"""
# BEGIN gpufleet: the driver could not be built for a newer kernel, so the host keeps booting
# the one that works. Taken away by gpufleet once the newer kernel has its driver.
"""
_END = b"# END gpufleet\n"
_DEFAULT = "LoaderEntryDefault"


def _block_in(conf: bytes) -> bytes | None:
    start = conf.find(_BEGIN)
    end = conf.find(_END, start)
    return conf[start : end + len(_END)] if 0 <= start < end else None


class SystemdBootKernel:
    """The kernel that a host with systemd-boot and kernel-install boots by default."""

    def __init__(self, loader: SystemdBoot) -> None:
        self._loader = loader

    def _conf(self) -> Path:
        """Return loader.conf beside the default entry."""
        return self._menu().default().partition / LOADER_CONF

    def _menu(self) -> Menu:
        return read_menu(self._loader.root)

    def _pinned_identity(self) -> str | None:
        block = _block_in(read_bytes(self._conf()) or b"")
        if block is None:
            return None
        name = block[len(_BEGIN) : -len(_END)].decode("utf-8", "surrogateescape")
        return name.removeprefix("default ").strip()

    def pinned(self) -> bool:
        """Return whether our block holds the default."""
        return self._pinned_identity() is not None

    def present(self) -> str | None:
        """Return the release that boots by default now.

        Raises:
            BootConfigurationRefused: the menu does not tell.
        """
        return self._menu().default().value("version")

    def unpinned(self) -> str | None:
        """Return the release that would boot by default without our block.

        Raises:
            BootConfigurationRefused: the menu does not tell.
        """
        menu, pinned = self._menu(), self._pinned_identity()
        patterns = list(menu.patterns)
        if pinned in patterns:
            patterns.remove(pinned)
        return replace(menu, patterns=tuple(patterns)).default().value("version")

    def steps_to_pin(self, release: str) -> list[Step]:
        """Return what makes ``release`` the default until it is unpinned; nothing where it is.

        Raises:
            BootConfigurationRefused: that kernel has no entry, or somebody has chosen a default
                in the firmware's variables.
        """
        if self.pinned() and self.present() == release:
            return []
        chosen = loader_variable(self._loader.root, _DEFAULT)
        if chosen:
            raise BootConfigurationRefused(
                "kernel_default_taken",
                read=f"{_DEFAULT} is {chosen}, which counts more than loader.conf",
                want=f"the host to keep booting kernel {release}",
                remedy="take the choice back: bootctl set-default ''; or choose that entry",
            )
        entry = self._entry_of(release)
        return self._write(f"keep booting {release}", f"default {entry.identity}\n".encode())

    def steps_to_unpin(self) -> list[Step]:
        """Return what gives the default back to the host's own configuration."""
        return self._write("release the kernel", None) if self.pinned() else []

    def _entry_of(self, release: str) -> BootEntry:
        menu = self._menu()
        default = menu.default()
        for entry in menu.ordered():
            if entry.value("version") == release and entry.belongs_with(default):
                return entry
        raise BootConfigurationRefused(
            "kernel_without_entry",
            read=f"no boot entry of kernel {release}",
            want="an entry as kernel-install writes it",
            remedy=f"run kernel-install add {release} /boot/vmlinuz-{release}",
        )

    def _write(self, name: str, line: bytes | None) -> list[Step]:
        path = self._conf()
        before = read_bytes(path)
        block = _block_in(before or b"")
        kept = (before or b"").replace(block, b"") if block else before or b""
        after = kept if line is None else kept + _BEGIN + line + _END
        return [WriteFile(name, path, before, after, mode_of(path, 0o644))]
