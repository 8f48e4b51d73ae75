# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The host's PCI tree as sysfs shows it: who sits behind whom, over which link."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from .config_space import (
    CONVENTIONAL_BYTES,
    is_answering,
    largest_resizable_bar,
    max_payload_bytes,
)
from .errors import GpufleetError
from .files import read_text
from .foreign_text import decimal
from .pci_address import BDF

DEFAULT_GPU_MATCH = ("10de:*:03",)
EXTENDED_BYTES = 4096

_SPEED = re.compile(r"(\d+(?:\.\d+)?) GT/s")
_PATTERN_PART = re.compile(r"\*|[0-9a-f]{1,6}")
# Transfer rate in GT/s to PCI Express generation.
_GENERATIONS = {2.5: 1, 5.0: 2, 8.0: 3, 16.0: 4, 32.0: 5, 64.0: 6, 128.0: 7}
_UNKNOWN_WIDTHS = (0, 255)  # not trained; PCIE_LNK_WIDTH_UNKNOWN
_BASE_ADDRESS_REGISTERS = 6
# Flags in sysfs' "resource" (linux/ioport.h).
_RESOURCE_MEMORY = 0x00000200
_RESOURCE_UNSET = 0x20000000


class PciPatternInvalid(GpufleetError):
    """A device pattern is not ``vendor:device:class-prefix``."""


@dataclass(frozen=True)
class Link:
    """A PCI Express link: generation (1 = 2.5 GT/s ...) and lanes; None where unreadable."""

    gen: int | None
    width: int | None


@dataclass(frozen=True)
class PciDevice:
    """One PCI function. Ids are lower-case hexadecimal without ``0x``; sizes are bytes."""

    bdf: str
    vendor: str
    device: str
    pci_class: str
    numa_node: int | None
    link: Link
    max_link: Link
    parent: str | None
    driver: str | None
    bar_bytes: tuple[int, ...]
    max_payload: int | None

    @property
    def is_bridge(self) -> bool:
        """Whether this is a PCI-to-PCI bridge: a root port or a switch's port."""
        return self.pci_class.startswith("0604")


def link_generation(text: str | None) -> int | None:
    """Return the generation that a ``*_link_speed`` attribute names, None where unknown.

    >>> link_generation("32.0 GT/s PCIe")
    5
    """
    match = _SPEED.match(text.strip()) if text else None
    return None if match is None else _GENERATIONS.get(float(match.group(1)))


def link_width(text: str | None) -> int | None:
    """Return the lanes that a ``*_link_width`` attribute names, None where unknown."""
    value = decimal(text.strip()) if text else None
    return None if value in _UNKNOWN_WIDTHS else value


def memory_bar_bytes(resource: str | None) -> tuple[int, ...]:
    """Return the sizes in bytes of the assigned memory BARs in sysfs' ``resource`` text."""
    sizes: list[int] = []
    for line in (resource or "").splitlines()[:_BASE_ADDRESS_REGISTERS]:
        try:
            start, end, flags = (int(word, 16) for word in line.split())
        except ValueError:
            continue
        if flags & _RESOURCE_MEMORY and not flags & _RESOURCE_UNSET and end > start:
            sizes.append(end - start + 1)
    return tuple(sizes)


def read_devices(root: Path = Path("/")) -> dict[str, PciDevice]:
    """Return every PCI function by address, in bus order; empty where there is no PCI."""
    directory = root / "sys/bus/pci/devices"
    try:
        names = sorted(entry.name for entry in directory.iterdir())
    except OSError:
        return {}
    devices = {name: _read_device(directory / name) for name in names if BDF.fullmatch(name)}
    return {bdf: _with_port_link(devices, device) for bdf, device in devices.items()}


def ancestors(devices: Mapping[str, PciDevice], bdf: str) -> tuple[PciDevice, ...]:
    """Return the bridges above a function, the nearest first, the root port last."""
    chain: list[PciDevice] = []
    parent = devices[bdf].parent if bdf in devices else None
    while parent is not None and parent in devices and devices[parent] not in chain:
        chain.append(devices[parent])
        parent = devices[parent].parent
    return tuple(chain)


def matches(device: PciDevice, patterns: Sequence[str]) -> bool:
    """Return whether any ``vendor:device:class-prefix`` pattern names this function.

    ``*`` stands for anything; ``10de:*:03`` is every NVIDIA display controller.

    Raises:
        PciPatternInvalid: a pattern does not have that form.
    """
    return any(_matches(device, pattern) for pattern in patterns)


def read_config(root: Path, bdf: str, limit: int) -> bytes:
    """Return up to ``limit`` bytes of configuration space; empty where unreadable."""
    return _read_start(root / "sys/bus/pci/devices" / bdf / "config", limit)


def read_largest_bar(root: Path, bdf: str) -> int | None:
    """Return the largest size in bytes that the function's BARs support, by its own account.

    None where it has no resizable BAR or extended configuration space is unreadable (it takes
    root); whether the bridges above leave room for that size is another matter.
    """
    return largest_resizable_bar(read_config(root, bdf, EXTENDED_BYTES))


def _matches(device: PciDevice, pattern: str) -> bool:
    parts = pattern.strip().lower().split(":")
    if len(parts) != 3 or not all(_PATTERN_PART.fullmatch(part) for part in parts):
        raise PciPatternInvalid(
            "pci_pattern_invalid",
            read=repr(pattern),
            want="vendor:device:class-prefix in hexadecimal, * for anything, such as 10de:*:03",
            remedy="correct p2p_gpu_match",
        )
    vendor, model, class_prefix = parts
    return (
        vendor in ("*", device.vendor)
        and model in ("*", device.device)
        and (class_prefix == "*" or device.pci_class.startswith(class_prefix))
    )


def _read_device(path: Path) -> PciDevice:
    def attribute(name: str) -> str | None:
        text = read_text(path / name)
        return None if text is None else text.strip()

    def identifier(name: str, digits: int) -> str:
        return (attribute(name) or "").lower().replace("0x", "", 1).zfill(digits)

    numa = attribute("numa_node")
    config = _read_start(path / "config", CONVENTIONAL_BYTES)
    # /sys/bus/pci/devices holds links; the directory they lead to lies inside its bridge's.
    above = path.resolve().parent.name
    driver = path / "driver"
    return PciDevice(
        bdf=path.name,
        vendor=identifier("vendor", 4),
        device=identifier("device", 4),
        pci_class=identifier("class", 6),
        numa_node=decimal(numa),
        link=Link(
            link_generation(attribute("current_link_speed")),
            link_width(attribute("current_link_width")),
        ),
        max_link=Link(
            link_generation(attribute("max_link_speed")),
            link_width(attribute("max_link_width")),
        ),
        parent=above if BDF.fullmatch(above) else None,
        driver=driver.resolve().name if driver.is_symlink() else None,
        bar_bytes=memory_bar_bytes(read_text(path / "resource")),
        max_payload=max_payload_bytes(config) if is_answering(config) else None,
    )


def _with_port_link(devices: Mapping[str, PciDevice], device: PciDevice) -> PciDevice:
    # A function without link attributes of its own (a conventional one behind a PCI Express
    # port, as virtual machines have them) has its port's link: there is no other way to it.
    unknown = Link(None, None)
    port = devices.get(device.parent or "")
    if port is None or device.is_bridge or device.link != unknown or device.max_link != unknown:
        return device
    return replace(device, link=port.link, max_link=port.max_link)


def _read_start(path: Path, limit: int) -> bytes:
    try:
        with path.open("rb", buffering=0) as stream:
            return stream.read(limit)
    except OSError:
        return b""
