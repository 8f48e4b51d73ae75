# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A PCI function's directory in sysfs with damaged attributes, and all that reads it."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

from ansible_collections.gpufleet.p2p.plugins.module_utils._host.acs import read_acs
from ansible_collections.gpufleet.p2p.plugins.module_utils._host.console import read_console
from ansible_collections.gpufleet.p2p.plugins.module_utils._host.device_users import device_minors
from ansible_collections.gpufleet.p2p.plugins.module_utils._host.iommu import group_of
from ansible_collections.gpufleet.p2p.plugins.module_utils._host.pci import (
    DEFAULT_GPU_MATCH,
    ancestors,
    matches,
    read_devices,
    read_largest_bar,
)
from fuzz import samples
from fuzz.cases import mutated
from hypothesis import strategies as st

# Many small files: on a disk, the disk would be what is measured.
MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None
_BDF = "0000:01:00.0"
_ATTRIBUTES = {
    "vendor": b"0x10de\n",
    "device": b"0x2684\n",
    "class": b"0x030000\n",
    "numa_node": b"0\n",
    "current_link_speed": b"16.0 GT/s PCIe\n",
    "current_link_width": b"16\n",
    "max_link_speed": b"32.0 GT/s PCIe\n",
    "max_link_width": b"16\n",
    "resource": samples.RESOURCE.encode(),
    "config": samples.config_space(acs=0x1D),
    "boot_vga": b"1\n",
    "graphics/fb0/name": b"EFI VGA\n",
    "drm/card1/card1-DP-1/status": b"connected\n",
}
_ELSEWHERE = {
    "sys/kernel/iommu_groups/7/type": b"DMA-FQ\n",
    "proc/iomem": samples.IOMEM.encode(),
    f"proc/driver/nvidia/gpus/{_BDF}/information": b"Model: \t\t NVIDIA\nDevice Minor: \t 0\n",
}
_FILES = {
    **{f"sys/bus/pci/devices/{_BDF}/{name}": data for name, data in _ATTRIBUTES.items()},
    **_ELSEWHERE,
}
# Most files as they are: a tree of nothing but damage is refused at the first.
TREES: st.SearchStrategy[dict[str, bytes]] = st.fixed_dictionaries(
    {},
    optional={name: st.just(data) | mutated(data) for name, data in _FILES.items()},
)


def read_tree(files: Mapping[str, bytes]) -> object:
    """Write the files below a directory of their own and read them as the product does."""
    with tempfile.TemporaryDirectory(dir=MEMORY) as name:
        root = Path(name)
        for place, data in files.items():
            path = root / place
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        directory = root / "sys/bus/pci/devices" / _BDF
        if directory.is_dir():
            (directory / "iommu_group").symlink_to(root / "sys/kernel/iommu_groups/7")
        devices = read_devices(root)
        return [
            [matches(device, DEFAULT_GPU_MATCH) for device in devices.values()],
            ancestors(devices, _BDF),
            read_acs(root, _BDF),
            read_largest_bar(root, _BDF),
            group_of(root, _BDF),
            read_console(root, _BDF),
            device_minors(root),
        ]
