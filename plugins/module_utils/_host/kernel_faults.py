# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Faults of devices in the kernel's messages, and which devices they name.

Formats, each in its older and newer forms: Linux drivers/iommu/intel/dmar.c (dmar_fault_do_one),
drivers/iommu/amd/iommu.c (iommu_print_event), drivers/pci/pcie/aer.c and dpc.c; NVIDIA's open
kernel modules, src/nvidia/src/kernel/gpu/rc/kernel_rc.c (Xid).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

IOMMU_FAULT = "iommu_fault"
PCIE_ERROR = "pcie_error"
XID = "xid"
DRIVER_MESSAGE = "driver_message"

_BDF = r"(?:([0-9a-f]{4,8}):)?([0-9a-f]{2}):([0-9a-f]{2})\.([0-7])"
_DMAR = re.compile(
    # The Intel driver prints no PCI domain; some releases wrote "0x" before each number.
    r"DMAR: ?\[(?:DMA Read|DMA Write|INTR-REMAP)[^\]]*\] Request device "
    r"\[(?:0x)?([0-9a-f]{2}):(?:0x)?([0-9a-f]{2})\.([0-7])\]"
)
_AMD_EVENT = re.compile(r"AMD-Vi: Event logged \[[A-Z_]+ ")
_DEVICE = re.compile(r"\bdevice=" + _BDF)
# What dev_printk puts first: the driver's or bus's name and the device's.
_OWNER = re.compile(r"[A-Za-z0-9_.-]+ " + _BDF + r": ")
_AER = re.compile(
    r"(?:AER: )?PCIe Bus Error: "
    r"|AER: (?:Multiple )?(?:Correct|Uncorrect)\w* (?:\([A-Za-z-]+\) )?error "
    r"|AER: aer_status: "
    r"|DPC: containment event"
)
_AER_SOURCE = re.compile(r"error (?:message )?received(?: from|:) " + _BDF)
# "   [ 6] BadTLP                 (First)" below a bus error.
_AER_BIT = re.compile(r"(?:AER: ?)? +\[ ?[0-9]{1,2}\] \w+")
_XID = re.compile(
    r"NVRM: Xid \((?:PCI:)?(?:([0-9a-f]{4,8}):)?([0-9a-f]{2}):([0-9a-f]{2})(?:\.([0-7]))?"
    r"(?: [^)]*)?\): ?([0-9]{1,4})\b",
    re.IGNORECASE,
)
_NVRM = re.compile(r"(?:nvidia [0-9a-f:.]+: )?NVRM: ")
_NVRM_DEVICE = re.compile(
    r"\b(?:PCI:)?([0-9a-f]{4,8}):([0-9a-f]{2}):([0-9a-f]{2})(?:\.([0-7]))?\b", re.IGNORECASE
)


@dataclass(frozen=True)
class DeviceName:
    """A PCI device as a message names it; ``domain`` or ``function`` is None where it does not."""

    domain: int | None
    bus: int
    device: int
    function: int | None

    def means(self, bdf: str) -> bool:
        """Return whether ``bdf`` (``0000:01:00.0``) is the device, as far as the name tells."""
        domain, bus, rest = bdf.split(":")
        device, function = rest.split(".")
        return (
            self.domain in (None, int(domain, 16))
            and (self.bus, self.device) == (int(bus, 16), int(device, 16))
            and self.function in (None, int(function, 16))
        )


@dataclass(frozen=True)
class Fault:
    """One message: ``kind`` is iommu_fault, pcie_error, xid or driver_message (of NVRM).

    ``number`` is the Xid's; ``devices`` may be empty for a driver_message.
    """

    kind: str
    devices: tuple[DeviceName, ...]
    text: str
    number: int | None = None

    def concerns(self, bdfs: Iterable[str]) -> bool:
        """Return whether the message names any of these functions."""
        return any(device.means(bdf) for bdf in bdfs for device in self.devices)


def parse_fault(message: str) -> Fault | None:
    """Return the fault that a kernel message tells of; None for any other message."""
    return (
        _iommu_fault(message) or _pcie_error(message) or _xid(message) or _driver_message(message)
    )


def faults_in(messages: Iterable[str]) -> tuple[Fault, ...]:
    """Return the faults among the messages, in order."""
    return tuple(fault for fault in map(parse_fault, messages) if fault is not None)


def _iommu_fault(message: str) -> Fault | None:
    intel = _DMAR.search(message)
    if intel is not None:
        bus, device, function = intel.groups()
        return Fault(IOMMU_FAULT, (_device(None, bus, device, function),), message)
    if _AMD_EVENT.search(message) is None:
        return None
    # With "device=" the owner of the line is the IOMMU, without it is the device itself.
    named = _DEVICE.search(message) or _OWNER.match(message)
    return None if named is None else Fault(IOMMU_FAULT, (_device(*named.groups()),), message)


def _pcie_error(message: str) -> Fault | None:
    owner = _OWNER.match(message)
    if owner is None:
        return None
    rest = message[owner.end() :]
    if not (_AER.match(rest) or _AER_BIT.match(rest)):
        return None
    devices = [_device(*owner.groups())]
    source = _AER_SOURCE.search(rest)
    if source is not None:
        devices.append(_device(*source.groups()))
    return Fault(PCIE_ERROR, tuple(devices), message)


def _xid(message: str) -> Fault | None:
    match = _XID.search(message)
    if match is None:
        return None
    *address, number = match.groups()
    return Fault(XID, (_device(*address),), message, int(number))


def _driver_message(message: str) -> Fault | None:
    match = _NVRM.match(message)
    if match is None:
        return None
    named = _NVRM_DEVICE.findall(message)
    return Fault(DRIVER_MESSAGE, tuple(_device(*address) for address in named), message)


def _device(domain: str | None, bus: str, device: str, function: str | None) -> DeviceName:
    return DeviceName(
        int(domain, 16) if domain else None,
        int(bus, 16),
        int(device, 16),
        int(function, 16) if function else None,
    )
