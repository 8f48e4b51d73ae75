# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which tool makes a host's initial RAM disks.

A stale driver in an image is loaded before ours can be. The images of initramfs-tools are looked
into and refreshed; those of others have other names, lie unseen, and would keep the old driver.
"""

from __future__ import annotations

from pathlib import Path

from .initramfs import InitramfsRefused

SUPPORTED = "initramfs-tools"
# In this order: Debian's dracut brings update-initramfs and Debian's names of images along.
_PROGRAMS = {
    SUPPORTED: ("usr/sbin/update-initramfs",),
    "dracut": ("usr/bin/dracut", "usr/sbin/dracut"),
    "mkinitcpio": ("usr/bin/mkinitcpio",),
}


def generator_of(root: Path = Path("/")) -> str | None:
    """Return "initramfs-tools", "dracut" or "mkinitcpio"; None where none of them is installed."""
    for name, programs in _PROGRAMS.items():
        if any((root / program).is_file() for program in programs):
            return name
    return None


def require_supported(root: Path = Path("/")) -> None:
    """Refuse to install a driver where its copy in the initial RAM disk would not be seen.

    Raises:
        InitramfsRefused: names the tool that makes the images.
    """
    generator = generator_of(root)
    if generator not in {SUPPORTED, None}:
        raise InitramfsRefused(
            "initramfs_generator_unsupported",
            read=f"initial RAM disks made by {generator}",
            want=f"{SUPPORTED}, or none",
            remedy="set the kernel parameters only, and install the driver by this host's own means"
            " (leave p2p_driver empty)",
        )
