# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which boot loader a host uses, told from evidence in a fixed order and never guessed."""

from __future__ import annotations

import re
from pathlib import Path

from .._host.files import read_text
from . import grub_bls, grub_mkconfig, kernelstub, proxmox_boot, systemd_boot
from .efi_variables import loader_variable
from .grub_debian import GrubDebian
from .interface import BootLoader, BootLoaderUnsupported

# Each is asked in this order; the first that finds its evidence is it.
_RECOGNISERS = (
    proxmox_boot.recognise,
    kernelstub.recognise,
    systemd_boot.recognise,
    grub_bls.recognise,
    grub_mkconfig.recognise,
)


def firmware_of(root: Path = Path("/")) -> str:
    """Return "efi" or "bios", as the running kernel was started."""
    return "efi" if (root / "sys/firmware/efi").is_dir() else "bios"


def processor_vendor(root: Path = Path("/")) -> str | None:
    """Return "intel" or "amd" from /proc/cpuinfo, or None for others."""
    text = read_text(root / "proc/cpuinfo") or ""
    found = re.search(r"^vendor_id\s*:\s*(\S+)$", text, re.MULTILINE)
    vendors = {"GenuineIntel": "intel", "AuthenticAMD": "amd", "HygonGenuine": "amd"}
    return vendors.get(found[1]) if found else None


def detect(root: Path = Path("/")) -> BootLoader:
    """Return the host's boot loader.

    The more specific evidence comes first: a Proxmox or ostree host also has GRUB's files.

    Raises:
        BootLoaderUnsupported: names what was found and what to do instead.
    """
    _refuse_image_based(root)
    firmware, vendor = firmware_of(root), processor_vendor(root)
    for recognise in _RECOGNISERS:
        loader = recognise(root, firmware, vendor)
        if loader is not None:
            return loader
    missing = [
        name
        for name in ("usr/sbin/update-grub", "etc/default/grub", "boot/grub/grub.cfg")
        if not (root / name).is_file()
    ]
    if missing:
        raise BootLoaderUnsupported(
            None,
            read="no /" + ", no /".join(missing),
            remedy="set the kernel parameters by this host's own means and run with --skip-tags"
            " iommu, or install GRUB with its generator (update-grub or grub-mkconfig)",
        )
    return GrubDebian(root, firmware=firmware, vendor=vendor)


def _refuse_image_based(root: Path) -> None:
    if (root / "run/ostree-booted").exists() or (root / "ostree").is_dir():
        raise BootLoaderUnsupported(
            "ostree",
            read="an ostree deployment (/run/ostree-booted or /ostree)",
            remedy="use rpm-ostree kargs or the image's own configuration",
        )
    stub = loader_variable(root, "StubInfo")
    if stub is not None:
        raise BootLoaderUnsupported(
            "unified_kernel_image",
            read=f"a unified kernel image, started by {stub}",
            remedy="build the parameters into the image, whose command line is signed with it",
        )
