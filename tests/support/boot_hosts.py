# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every kind of host that a boot loader of the product is tried on, by name.

A new boot loader's host goes in here; the suite of crashes then runs on it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from support.bls_host import LAYOUTS, BlsHost
from support.boot_host import BootHost
from support.file_tree_host import FileTreeHost
from support.plain_grub_hosts import ArchHost, OpenSuseHost
from support.proxmox_host import ProxmoxGrubHost, ProxmoxHost
from support.systemd_boot_host import KernelstubHost, SystemdBootHost

HOSTS: dict[str, Callable[[Path], FileTreeHost]] = {
    "debian_12": BootHost,
    "arch": ArchHost,
    "opensuse_leap": OpenSuseHost,
    **{name: partial(BlsHost, name=name) for name in LAYOUTS},
    "systemd_boot": SystemdBootHost,
    "systemd_boot_without_file": partial(SystemdBootHost, has_parameter_file=False),
    "kernelstub": KernelstubHost,
    "proxmox_systemd_boot": ProxmoxHost,
    "proxmox_grub": ProxmoxGrubHost,
}


def _can_try(kind: Any) -> bool:
    made: Any = kind.func if isinstance(kind, partial) else kind
    return bool(made.can_try)


#: Those whose boot loader can try an entry once.
HOSTS_WITH_TRIALS = [name for name, kind in HOSTS.items() if _can_try(kind)]
