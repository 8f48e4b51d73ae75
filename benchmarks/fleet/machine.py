# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a simulated host's kernel shows: the files of its /proc and /sys, before and after a boot.

GPUs, bridges and links come from a host description of the lab. Whether the driver is the patched
one, which build it is, and whether the IOMMU passes addresses through follow from what the host
would boot: its grub.cfg and the module that DKMS installed.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible_collections.gpufleet.p2p.plugins.module_utils._boot import grub_script
from ansible_collections.gpufleet.p2p.plugins.module_utils._boot.cmdline import (
    format_line,
    from_arguments,
)
from ansible_collections.gpufleet.p2p.plugins.module_utils._driver.elf import (
    build_id_of,
    module_bytes,
)
from ansible_collections.gpufleet.p2p.plugins.module_utils._host.compiler import headers_compiler
from support.host_tree import build_host_tree

#: As the lab's inventory has it: the simulated driver binds to QEMU's test device.
GPU_MATCH = "1b36:0005:*"
DESCRIPTION = "etc/gpufleet-lab/host.json"


def build_machine(machine: Path, system: Path, kernel: str, description: Mapping[str, Any]) -> str:
    """Write proc/ and sys/ of a host as installed, never booted with our driver.

    Args:
        machine: the directory to make.
        system: the root of the host's system, for the compiler that its kernel was built with.
        kernel: release of the kernel that runs.
        description: of the lab's form.

    Returns:
        The description as the simulated libraries are to find it at DESCRIPTION.
    """
    tree = build_host_tree(machine, description, patched=False, iommu="DMA-FQ")
    _make_links_relative_to_root(machine)
    build = system / "lib/modules" / kernel / "build"
    headers = system / build.readlink().relative_to("/") if build.is_symlink() else build
    compiler = headers_compiler(headers)
    if compiler is None:
        raise ValueError(f"{headers} does not name the compiler of {kernel}")
    (machine / "proc/version").write_text(
        f"Linux version {kernel} (debian-kernel@lists.debian.org) ({compiler.text}, GNU ld (GNU"
        " Binutils for Debian) 2.40) #1 SMP PREEMPT_DYNAMIC Debian\n"
    )
    (machine / "proc/sys/kernel/osrelease").write_text(f"{kernel}\n")
    described = tree.description_path.read_text()
    tree.description_path.unlink()
    return described


def boot_machine(machine: Path, grub_config: str, nvidia: Path) -> None:
    """Let a host come up with the default entry of its grub.cfg and the module it would load."""
    script = grub_script.parse(grub_config)
    entry = grub_script.find_entry(script, grub_script.default_selector(script, None))
    if entry.linux is None:
        raise ValueError("the default entry of grub.cfg boots no kernel")
    line = format_line(from_arguments(word.text for word in entry.linux.arguments[1:]))
    proc = machine / "proc"
    (proc / "cmdline").write_text(f"BOOT_IMAGE={entry.files[0]} {line}\n")
    (proc / "sys/kernel/random/boot_id").write_text(f"{uuid.uuid4()}\n")
    kind = "identity" if "iommu=pt" in line.split() else "DMA-FQ"
    for group in (machine / "sys/kernel/iommu_groups").iterdir():
        (group / "type").write_text(f"{kind}\n")
    image = module_bytes(nvidia)
    build_id = build_id_of(image, str(nvidia))
    if build_id is None:
        raise ValueError(f"{nvidia} has no build-id")
    note = machine / "sys/module/nvidia/notes/.note.gnu.build-id"
    note.write_bytes(note.read_bytes()[:16] + bytes.fromhex(build_id))
    # Only the patched build comes by DKMS; the distribution's lies in the kernel's own directory.
    patched = "dkms" in nvidia.parts
    (proc / "driver/nvidia/lab_peer_to_peer").write_text("bar1\n" if patched else "none\n")


def describe_disk(machine: Path, device: int) -> None:
    """Let /sys show a plain partition for the device number that /boot is on."""
    node = machine / "sys/devices/virtio2/block/vda/vda1"
    node.mkdir(parents=True, exist_ok=True)
    (node / "partition").write_text("1\n")
    numbers = machine / "sys/dev/block"
    numbers.mkdir(parents=True, exist_ok=True)
    for stale in numbers.iterdir():
        stale.unlink()
    major, minor = device >> 8 & 0xFFF, device & 0xFF | device >> 12 & 0xFFF00
    (numbers / f"{major}:{minor}").symlink_to("../../devices/virtio2/block/vda/vda1")


def read_description(path: Path) -> dict[str, Any]:
    """Return a host description of the lab."""
    described: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return described


def _make_links_relative_to_root(machine: Path) -> None:
    """Let links that lead into the tree lead where they do once it is the host's own /sys."""
    for link in [path for path in machine.rglob("*") if path.is_symlink()]:
        target = link.readlink()
        if target.is_absolute():
            link.unlink()
            link.symlink_to("/" / target.relative_to(machine))
