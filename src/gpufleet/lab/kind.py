# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which system a lab machine runs: the Debian release, the firmware and the boot loader."""

from __future__ import annotations

from dataclasses import dataclass, fields

from .section import Section, invalid

RELEASES = ("bullseye", "bookworm", "trixie")
FIRMWARES = ("bios", "efi")
BOOT_LOADERS = ("grub", "systemd-boot")
# Debian has systemd-boot's kernel hooks, without which no new kernel gets an entry, from 12 on.
_WITHOUT_SYSTEMD_BOOT = ("bullseye",)


@dataclass(frozen=True)
class GuestKind:
    """What of the image differs between machines; the defaults are the lab's own two machines'."""

    release: str = "bookworm"
    firmware: str = "bios"
    boot_loader: str = "grub"

    def as_data(self) -> dict[str, str]:
        """Return the description's keys whose values differ from the defaults."""
        return {
            field.name: getattr(self, field.name)
            for field in fields(self)
            if getattr(self, field.name) != field.default
        }

    def __str__(self) -> str:
        """Return the kind in words, as steps and errors call it."""
        return f"{self.release}, {self.firmware.upper()}, {self.boot_loader}"


def parse_kind(document: Section, source: str) -> GuestKind:
    """Return the kind that a host description asks for; each of its keys may be left out.

    Args:
        document: the description; `release`, `firmware` and `boot_loader` are taken from it.
        source: what errors call the description.

    Raises:
        DescriptionInvalid: a value is not known, or Debian does not have the combination.
    """
    default = GuestKind()
    kind = GuestKind(
        document.one_of("release", RELEASES, default=default.release),
        document.one_of("firmware", FIRMWARES, default=default.firmware),
        document.one_of("boot_loader", BOOT_LOADERS, default=default.boot_loader),
    )
    if kind.boot_loader == "systemd-boot" and kind.firmware != "efi":
        raise invalid(
            f"{source}: boot_loader",
            f"systemd-boot with firmware {kind.firmware}",
            "firmware efi, the only one that systemd-boot is started by",
            'add "firmware": "efi", or use grub',
        )
    if kind.boot_loader == "systemd-boot" and kind.release in _WITHOUT_SYSTEMD_BOOT:
        raise invalid(
            f"{source}: boot_loader",
            f"systemd-boot on {kind.release}",
            "a release with a package systemd-boot, which brings the hooks for new kernels",
            "use bookworm or later, or grub",
        )
    return kind
