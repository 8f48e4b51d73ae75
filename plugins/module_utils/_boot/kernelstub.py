# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""kernelstub of Pop!_OS: its configuration, and the entries of systemd-boot that it makes from it.

The options are changed as ``kernelstub --add-options`` and ``--delete-options`` change them, but
without the tool's copying of kernels over those that boot.
"""

from __future__ import annotations

from pathlib import Path

from .efi_variables import loader_variable
from .interface import BootLoaderUnsupported
from .parameter_file import KERNELSTUB, KernelstubConfiguration
from .systemd_boot import SystemdBoot


def recognise(root: Path, firmware: str, vendor: str | None) -> Kernelstub | None:
    """Return the loader where kernelstub has its configuration, else None.

    Raises:
        BootLoaderUnsupported: kernelstub is there, but something else than systemd-boot starts
            the kernel.
    """
    if not (root / KERNELSTUB).is_file():
        return None
    loader = loader_variable(root, "LoaderInfo")
    if loader is None or not loader.startswith("systemd-boot"):
        raise BootLoaderUnsupported(
            "kernelstub",
            read=f"/{KERNELSTUB}, and a system started by {loader or 'the firmware itself'}",
            remedy="add each parameter with kernelstub --add-options",
        )
    return Kernelstub(root, firmware=firmware, vendor=vendor)


class Kernelstub(SystemdBoot):
    """The entries of systemd-boot and kernelstub's configuration, in the tree at ``root``."""

    name = "kernelstub"
    file = KernelstubConfiguration()
