# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host's /sys and /proc made of files from a lab host description, for tests without a VM.

The tree is what the product reads (PCI devices in their bridges, links, configuration space with
the PCI Express and ACS capabilities, IOMMU groups, the loaded module's notes, the kernel command
line) and what the simulated driver reads to decide whether transfers arrive.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HOSTS = Path(__file__).resolve().parents[2] / "lab" / "hosts"
BUILD_ID = "8f3d1c5a7b9e02468ace13579bdf02468ace1357"
BOOT_ID = "3c1f6f0e-5a53-4b0e-9a35-0d6c1f3f7f52"
KERNEL = "6.1.0-45-amd64"
COMPILER = "gcc-12 (Debian 12.2.0-14+deb12u1) 12.2.0"

_SPEEDS = {1: "2.5", 2: "5.0", 3: "8.0", 4: "16.0", 5: "32.0", 6: "64.0"}
_CONFIG_BYTES = 4096
_EXPRESS_AT = 0x40
_ACS_AT = 0x100
_ACS_REDIRECT = 0x0004 | 0x0008  # request and completion redirect
_BAR_FLAGS = 0x0014220C  # 64-bit prefetchable memory
_VERSION_LINE = "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  {}  Release Build\n"
_VENDOR_IDS = {"intel": "GenuineIntel", "amd": "AuthenticAMD"}
_NODE_BUS = 0x80  # root bus of NUMA node n is n * 0x80


@dataclass(frozen=True)
class HostTree:
    """A materialised host: where it lies and the addresses that were given to its parts."""

    root: Path
    description_path: Path
    gpus: tuple[str, ...]
    ports: Mapping[str, str]

    def set_iommu_type(self, kind: str, *gpus: int) -> None:
        """Make the groups of these GPUs, or of all, read as ``kind``."""
        for gpu in gpus or range(len(self.gpus)):
            (self._device(gpu) / "iommu_group/type").write_text(f"{kind}\n")

    def train_link(self, gpu: int, gen: int, width: int) -> None:
        """Let a GPU's link read as trained to this at both its ends, whatever they can do."""
        for end in (self._device(gpu), self._device(gpu).parent):
            _write_current_link(end, gen, width)

    def _device(self, gpu: int) -> Path:
        return (self.root / "sys/bus/pci/devices" / self.gpus[gpu]).resolve()


def load_description(name: str) -> dict[str, Any]:
    """Return a host description of the lab by its name, such as ``seven_gpu_rig``."""
    description: dict[str, Any] = json.loads((HOSTS / f"{name}.json").read_text())
    return description


def build_host_tree(
    root: Path,
    description: Mapping[str, Any],
    *,
    patched: bool = True,
    iommu: str | None = "identity",
    build_id: str = BUILD_ID,
    payload_bytes: int | None = None,
    acs_redirect: bool = False,
    kernel_log: bool = False,
    vendor: str = "1b36",
    device: str = "0005",
    pci_class: str = "00ff00",
) -> HostTree:
    """Write the tree under ``root`` and return it.

    Args:
        patched: whether the loaded nvidia.ko is the peer-to-peer build.
        iommu: type of every GPU's group; None for a host without an IOMMU.
        build_id: of the loaded nvidia.ko, 40 hexadecimal digits.
        payload_bytes: DevCtl's maximum payload; the description's by default.
        acs_redirect: whether bridges with ACS redirect requests and completions.
        kernel_log: whether there is a /dev/kmsg, which the simulated libraries then write to as
            the kernel would.
        vendor, device, pci_class: what the GPUs are on the bus.
    """
    builder = _Builder(
        root,
        description,
        payload_bytes or description["link_payload_bytes"],
        acs_redirect,
        (vendor, device, pci_class),
    )
    builder.place_ports()
    gpus = builder.place_gpus(iommu)
    _write_driver(root, description["driver"]["version"], patched, build_id)
    mode = "iommu=pt" if iommu == "identity" else ""
    _write(root / "proc/cmdline", f"BOOT_IMAGE=/vmlinuz-{KERNEL} root=/dev/vda1 ro {mode}\n")
    vendor_id = _VENDOR_IDS[description.get("cpu_vendor", "intel")]
    _write(root / "proc/cpuinfo", f"processor\t: 0\nvendor_id\t: {vendor_id}\n")
    _write(
        root / "proc/version",
        f"Linux version {KERNEL} (debian-kernel@lists.debian.org) ({COMPILER}, GNU ld (GNU"
        " Binutils for Debian) 2.40) #1 SMP PREEMPT_DYNAMIC Debian 6.1.140-1 (2026-05-22)\n",
    )
    _write(root / "proc/sys/kernel/osrelease", f"{KERNEL}\n")
    _write(root / "proc/sys/kernel/random/boot_id", f"{BOOT_ID}\n")
    _write(root / "proc/sys/kernel/hostname", f"{description['name']}\n")
    if kernel_log:
        _write(root / "dev/kmsg", "6,0,0,-;Linux version 6.1.0\n")
    description_path = root / "etc/gpufleet-lab/host.json"
    _write(description_path, json.dumps(description))
    tree = HostTree(root, description_path, tuple(gpus), builder.ports)
    for number, gpu in enumerate(description["gpus"]):
        gen, width = builder.link_below(gpu["port"])
        tree.train_link(number, min(gpu["gen"], gen), min(gpu["width"], width))
    return tree


class _Builder:
    def __init__(
        self,
        root: Path,
        description: Mapping[str, Any],
        payload_bytes: int,
        acs_redirect: bool,
        gpu_identity: tuple[str, str, str],
    ) -> None:
        self._root = root
        self._description = description
        self._payload_bytes = payload_bytes
        self._acs_redirect = acs_redirect
        self._gpu_identity = gpu_identity
        self._directories: dict[str, Path] = {}
        self._next_slot: dict[int, int] = {}
        self._next_bus: dict[int, int] = {}
        self._bus_below: dict[str, int] = {}
        self.ports: dict[str, str] = {}

    def place_ports(self) -> None:
        """Give addresses depth first, so that the order of buses is the order of the ports."""
        for port in self._description["ports"]:
            if port["kind"] == "root_port":
                self._place_root_port(port)

    def place_gpus(self, iommu: str | None) -> list[str]:
        """Place the GPUs in the description's order; they must then be in bus order too."""
        addresses = []
        vendor, device, pci_class = self._gpu_identity
        for number, gpu in enumerate(self._description["gpus"]):
            parent = self.ports[gpu["port"]]
            bdf = f"0000:{self._bus_below[parent]:02x}:00.0"
            directory = self._directories[parent] / bdf
            self._write_function(
                directory, vendor, device, pci_class, gpu, bar_bytes=gpu["bar1_bytes"]
            )
            if iommu is not None:
                self._join_group(directory, number, iommu)
            addresses.append(bdf)
        if addresses != sorted(addresses):
            raise ValueError(f"GPUs are not described in bus order: {addresses}")
        return addresses

    def link_below(self, port: str) -> tuple[int, int]:
        """Return generation and lanes that a root port or a switch's downstream port offers."""
        return next(
            (described["gen"], described["width"])
            for described in self._description["ports"]
            if port == described["id"] or port in described.get("downstream", ())
        )

    def _place_root_port(self, port: Mapping[str, Any]) -> None:
        node = port.get("numa_node") or 0
        root_bus = node * _NODE_BUS
        slot = self._next_slot.get(root_bus, 1)
        self._next_slot[root_bus] = slot + 1
        bdf = f"0000:{root_bus:02x}:{slot:02x}.0"
        directory = self._root / f"sys/devices/pci0000:{root_bus:02x}" / bdf
        self._write_bridge(port["id"], bdf, directory, port)
        below = self._take_bus(root_bus)
        self._bus_below[bdf] = below
        for switch in self._description["ports"]:
            if switch["kind"] == "switch" and switch.get("parent") == port["id"]:
                self._place_switch(switch, directory, below, root_bus)

    def _place_switch(
        self, switch: Mapping[str, Any], above: Path, bus: int, root_bus: int
    ) -> None:
        upstream = f"0000:{bus:02x}:00.0"
        directory = above / upstream
        self._write_bridge(switch["id"], upstream, directory, {**switch, "acs": False})
        inner_bus = self._take_bus(root_bus)
        for slot, name in enumerate(switch["downstream"]):
            bdf = f"0000:{inner_bus:02x}:{slot:02x}.0"
            self._write_bridge(name, bdf, directory / bdf, switch)
            below = self._take_bus(root_bus)
            self._bus_below[bdf] = below
            for nested in self._description["ports"]:
                if nested["kind"] == "switch" and nested.get("parent") == name:
                    self._place_switch(nested, directory / bdf, below, root_bus)

    def _take_bus(self, root_bus: int) -> int:
        number = self._next_bus.get(root_bus, root_bus + 1)
        self._next_bus[root_bus] = number + 1
        return number

    def _write_bridge(self, name: str, bdf: str, directory: Path, port: Mapping[str, Any]) -> None:
        self.ports[name] = bdf
        self._directories[bdf] = directory
        self._write_function(directory, "1b36", "000c", "060400", port, acs=port.get("acs", False))

    def _write_function(
        self,
        directory: Path,
        vendor: str,
        device: str,
        pci_class: str,
        link: Mapping[str, Any],
        *,
        bar_bytes: int = 0,
        acs: bool = False,
    ) -> None:
        node = link.get("numa_node")
        for name, text in {
            "vendor": f"0x{vendor}\n",
            "device": f"0x{device}\n",
            "class": f"0x{pci_class}\n",
            "numa_node": f"{-1 if node is None else node}\n",
            "max_link_speed": _speed(link["gen"]),
            "max_link_width": f"{link['width']}\n",
            "resource": _resource(bar_bytes),
        }.items():
            _write(directory / name, text)
        _write_current_link(directory, link["gen"], link["width"])
        config = _config_space(vendor, device, self._payload_bytes, acs, self._acs_redirect)
        (directory / "config").write_bytes(config)
        entry = self._root / "sys/bus/pci/devices" / directory.name
        entry.parent.mkdir(parents=True, exist_ok=True)
        entry.symlink_to(directory)

    def _join_group(self, directory: Path, number: int, kind: str) -> None:
        group = self._root / f"sys/kernel/iommu_groups/{number}"
        _write(group / "type", f"{kind}\n")
        (directory / "iommu_group").symlink_to(group)


def _write_current_link(directory: Path, gen: int, width: int) -> None:
    _write(directory / "current_link_speed", _speed(gen))
    _write(directory / "current_link_width", f"{width}\n")


def _speed(gen: int) -> str:
    return f"{_SPEEDS[gen]} GT/s PCIe\n"


def _resource(bar_bytes: int) -> str:
    unused = "0x0000000000000000 0x0000000000000000 0x0000000000000000\n"
    if not bar_bytes:
        return unused * 6
    start = 0x4000000000
    used = f"0x{start:016x} 0x{start + bar_bytes - 1:016x} 0x{_BAR_FLAGS:016x}\n"
    return unused + used + unused * 4


def _config_space(vendor: str, device: str, payload_bytes: int, acs: bool, redirect: bool) -> bytes:
    config = bytearray(_CONFIG_BYTES)
    struct.pack_into("<HH", config, 0x00, int(vendor, 16), int(device, 16))
    struct.pack_into("<H", config, 0x06, 0x0010)  # status: has a capability list
    config[0x34] = _EXPRESS_AT
    struct.pack_into("<BB", config, _EXPRESS_AT, 0x10, 0x00)
    exponent = (payload_bytes // 128).bit_length() - 1
    struct.pack_into("<H", config, _EXPRESS_AT + 0x08, exponent << 5)
    if acs:
        struct.pack_into("<I", config, _ACS_AT, 0x000D | 1 << 16)
        struct.pack_into("<H", config, _ACS_AT + 6, _ACS_REDIRECT if redirect else 0)
    return bytes(config)


def _write_driver(root: Path, version: str, patched: bool, build_id: str) -> None:
    _write(root / "proc/driver/nvidia/version", _VERSION_LINE.format(version))
    # Read by the simulated libraries only.
    _write(root / "proc/driver/nvidia/lab_peer_to_peer", "bar1\n" if patched else "none\n")
    module = root / "sys/module/nvidia"
    _write(module / "version", f"{version}\n")
    note = struct.pack("<III", 4, len(build_id) // 2, 3) + b"GNU\0" + bytes.fromhex(build_id)
    (module / "notes").mkdir(parents=True)
    (module / "notes/.note.gnu.build-id").write_bytes(note)


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
