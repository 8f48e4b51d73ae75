# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One record per GPU: what PCI shows of it, completed by what NVML tells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from .._gpu.generation import generation_of
from .._gpu.nvml import NvmlDevice
from .._host.device_users import DeviceUser
from .._host.iommu import group_of
from .._host.pci import Link, PciDevice, ancestors, matches, read_largest_bar
from .device_generation import generation_of_device

Record = dict[str, Any]


def matching_gpus(
    devices: Mapping[str, PciDevice], patterns: Sequence[str]
) -> tuple[PciDevice, ...]:
    """Return the functions that are GPUs by ``patterns``, ordered by address.

    The order is CUDA's under CUDA_DEVICE_ORDER=PCI_BUS_ID, so a position here is an index there.
    """
    return tuple(devices[bdf] for bdf in sorted(devices) if matches(devices[bdf], patterns))


def gpu_records(
    root: Path,
    devices: Mapping[str, PciDevice],
    gpus: Sequence[PciDevice],
    nvml: Mapping[str, NvmlDevice],
    users: Mapping[str, Sequence[DeviceUser]],
) -> list[Record]:
    """Return the facts' ``gpus``: one record per GPU, sizes in bytes, None where unknown.

    Args:
        root: where the host's file system begins.
        devices: the whole PCI tree, to find the bridges above.
        gpus: the functions to tell of, in order.
        nvml: what NVML told, by address; empty where it is unavailable.
        users: processes with a GPU's device file open, by address; used where NVML is silent.
    """
    return [
        {
            "index": index,
            **_pci_part(root, devices, gpu),
            **_nvml_part(gpu, nvml.get(gpu.bdf), users.get(gpu.bdf, ())),
        }
        for index, gpu in enumerate(gpus)
    ]


def _pci_part(root: Path, devices: Mapping[str, PciDevice], gpu: PciDevice) -> Record:
    group = group_of(root, gpu.bdf)
    return {
        "bdf": gpu.bdf,
        "vendor": gpu.vendor,
        "device": gpu.device,
        "numa_node": gpu.numa_node,
        "kernel_driver": gpu.driver,
        "iommu_group": None if group is None else asdict(group),
        "upstream": [bridge.bdf for bridge in ancestors(devices, gpu.bdf)],
        "bar1_max_bytes": read_largest_bar(root, gpu.bdf),
    }


def _nvml_part(gpu: PciDevice, told: NvmlDevice | None, users: Sequence[DeviceUser]) -> Record:
    # BAR1 is the largest memory BAR of every NVIDIA GPU.
    bar1_bytes = max(gpu.bar_bytes, default=None)
    if told is None:
        return {
            "name": None,
            "uuid": None,
            "compute_capability": None,
            "generation": generation_of_device(gpu.vendor, gpu.device),
            "memory_bytes": None,
            "bar1_bytes": bar1_bytes,
            "link": asdict(gpu.link),
            "max_link": asdict(gpu.max_link),
            "display": None,
            "mig": None,
            "nvlinks_active": None,
            "processes": [
                {"pid": user.pid, "name": user.name, "memory_bytes": None} for user in users
            ],
        }
    major, minor = told.compute_capability
    return {
        "name": told.name,
        "uuid": told.uuid,
        "compute_capability": f"{major}.{minor}",
        "generation": generation_of((major, minor)),
        "memory_bytes": told.memory_bytes,
        "bar1_bytes": told.bar1_bytes or bar1_bytes,
        "link": asdict(_first_known(gpu.link, told.link)),
        "max_link": asdict(_first_known(gpu.max_link, told.max_link)),
        "display": told.has_display(gpu.pci_class),
        "mig": told.mig,
        "nvlinks_active": sum(link.active for link in told.nvlinks),
        "processes": [
            {"pid": process.pid, "name": process.name, "memory_bytes": process.memory_bytes}
            for process in told.processes
        ],
    }


def _first_known(first: Link, second: Link) -> Link:
    return Link(
        second.gen if first.gen is None else first.gen,
        second.width if first.width is None else first.width,
    )
