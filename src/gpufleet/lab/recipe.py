# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What each kind of guest is installed from, and the keys of the layers that come of it."""

from __future__ import annotations

from pathlib import Path

from .content_key import content_key
from .kind import GuestKind
from .paths import EFI_GUEST_FILES, GUEST_FILES

# Raise one when the code changes what it makes of the same inputs: of the root file system and its
# disk, and of what EFI guests have instead.
_RECIPE = 1
_EFI_RECIPE = 1
DRIVER_PARTS = ("kernel", "userspace")
PACKAGES = (
    # One kernel for both machines, hence one driver build; the cloud kernel has no AMD IOMMU.
    "linux-image-amd64",
    "linux-headers-amd64",
    "initramfs-tools",
    "zstd",
    "systemd-sysv",
    "udev",
    "dbus",  # ansible.builtin.reboot asks systemd by it
    "kmod",
    "openssh-server",
    "python3",
    "iproute2",
    "pciutils",
    "mokutil",
    "grub-pc",
    "dkms",
    "g++",  # forks link their RM object with it
    "libc6-dev",
    "patch",
    "xz-utils",
)
# Debian's installer merges /usr from 10 on, mmdebstrap only where a package asks for it. The hook
# that it brings for that installs a package which bullseye does not have.
_MERGE_USR = (
    'for name in bin sbin lib lib32 lib64 libx32; do mkdir -p "$1/usr/$name"; '
    'ln -s "usr/$name" "$1/$name"; done'
)
_BOOTSTRAP_HOOKS = {"bullseye": (f"--setup-hook={_MERGE_USR}",)}
# An EFI guest gets its partition for it formatted, and its entry made, by its own tools.
_EFI_PACKAGES = {
    "grub": ("grub-efi-amd64", "efibootmgr", "dosfstools"),
    "systemd-boot": ("systemd-boot", "efibootmgr", "dosfstools"),
}
# What goes where systemd-boot comes: a host with both is no host of either.
_EFI_REMOVED = {
    "grub": ("grub-pc", "grub-pc-bin"),
    "systemd-boot": ("grub-pc", "grub-pc-bin", "grub2-common", "grub-common"),
}


def bootstrap_hooks(release: str) -> tuple[str, ...]:
    """Return the options that mmdebstrap needs for this release alone."""
    return _BOOTSTRAP_HOOKS.get(release, ())


def efi_packages(boot_loader: str) -> list[str]:
    """Return apt-get's words for an EFI guest: what is installed, and with a minus what goes."""
    return [*_EFI_PACKAGES[boot_loader], *(f"{name}-" for name in _EFI_REMOVED[boot_loader])]


def base_key(release: str) -> str:
    """Return the key of a release's root file system and of the disk that boots it by BIOS."""
    return content_key(GUEST_FILES, (str(_RECIPE), release, *PACKAGES, *bootstrap_hooks(release)))


def boot_key(kind: GuestKind) -> str:
    """Return the key of the disk that boots a kind; a BIOS guest's is that of its base."""
    base = base_key(kind.release)
    if kind.firmware == "bios":
        return base
    words = (base, str(_EFI_RECIPE), kind.boot_loader, *efi_packages(kind.boot_loader))
    return content_key(EFI_GUEST_FILES, words, (".",))


def golden_key(kind: GuestKind, driver_sources: Path) -> str:
    """Return the key of a kind's disk with the driver made from the sources."""
    return content_key(driver_sources, (boot_key(kind),), DRIVER_PARTS)
