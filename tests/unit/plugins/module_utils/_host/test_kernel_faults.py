# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Faults are recognised in the words of many kernels, and belong to the devices they name."""

from __future__ import annotations

import pytest
from ansible_collections.gpufleet.p2p.plugins.module_utils._host.kernel_faults import (
    DRIVER_MESSAGE,
    IOMMU_FAULT,
    PCIE_ERROR,
    XID,
    DeviceName,
    faults_in,
    parse_fault,
)
from hypothesis import given
from hypothesis import strategies as st

GPU = "0000:41:00.0"
PORT = "0000:40:01.1"
OTHER = "0000:42:00.0"

DMAR = [
    "DMAR: [DMA Write] Request device [41:00.0] fault addr 6df084000 [fault reason 05] PTE Write",
    "DMAR:[DMA Read] Request device [41:00.0] fault addr 6df084000 ",
    "DMAR: [DMA Write] Request device [41:00.0] PASID ffffffff fault addr fe00 [fault reason 05] x",
    "DMAR: [DMA Read NO_PASID] Request device [0x41:0x00.0] fault addr 0x38 [fault reason 0x06] x",
    "DMAR: [DMA Write NO_PASID] Request device [41:00.0] fault addr 0xf0 [fault reason 0x05] PTE",
    "DMAR: [DMA Write PASID 0x1] Request device [41:00.0] fault addr 0x0 [fault reason 0x59] SM",
    "DMAR: [INTR-REMAP] Request device [41:00.0] fault index 0x0 [fault reason 0x25] Blocked",
]
AMD = [
    "AMD-Vi: Event logged [IO_PAGE_FAULT device=41:00.0 domain=0x001d address=0x637c000 flags=0x0]",
    "AMD-Vi: Event logged [IO_PAGE_FAULT device=0000:41:00.0 domain=0x000e address=0x1 flags=0x20]",
    "nvidia 0000:41:00.0: AMD-Vi: Event logged [IO_PAGE_FAULT domain=0x000e address=0x1 flags=0x0]",
    "pci 0000:00:00.2: AMD-Vi: Event logged [ILLEGAL_DEV_TABLE_ENTRY device=0000:41:00.0 pasid=0x0",
]
AER = [
    "nvidia 0000:41:00.0: AER: PCIe Bus Error: severity=Correctable, type=Physical Layer, (Receive",
    "nvidia 0000:41:00.0: PCIe Bus Error: severity=Corrected, type=Data Link Layer, (Transmitter I",
    "pcieport 0000:40:01.1: AER: Correctable error message received from 0000:41:00.0",
    "pcieport 0000:40:01.1: AER: Multiple Uncorrectable (Non-Fatal) error message received from 00"
    "00:41:00.0 (no details found",
    "pcieport 0000:40:01.1: AER: Corrected error received: 0000:41:00.0",
    "pcieport 0000:40:01.1: AER: Uncorrected (Fatal) error received: 0000:41:00.0",
    "nvidia 0000:41:00.0: AER: aer_status: 0x00000001, aer_mask: 0x0000e000",
    "nvidia 0000:41:00.0:    [ 6] BadTLP                (First)",
    "nvidia 0000:41:00.0: AER:    [12] Timeout               ",
]
XIDS = [
    ("NVRM: Xid (PCI:0000:41:00): 31, pid=4242, name=python3, Ch 00000008, intr 00000000.", 31),
    ("NVRM: Xid (PCI:0000:41:00): 79, GPU has fallen off the bus.", 79),
    ("NVRM: Xid (PCI:0000:41:00 GPU-I:01 GPU-CI:00): 94, pid=7, name=a, Contained", 94),
    ("NVRM: Xid (0000:41:00): 13, Graphics Exception", 13),
    ("NVRM: Xid (PCI:0000:41:00.0): 119, pid=1, name=x, Timeout", 119),
]


@pytest.mark.parametrize("line", DMAR + AMD)
def test_iommu_faults_of_both_makers(line: str) -> None:
    fault = parse_fault(line)
    assert fault is not None and fault.kind == IOMMU_FAULT
    assert fault.concerns([GPU]) and not fault.concerns([OTHER, PORT])


@pytest.mark.parametrize("line", AER)
def test_pcie_errors(line: str) -> None:
    fault = parse_fault(line)
    assert fault is not None and fault.kind == PCIE_ERROR
    assert fault.concerns([GPU]) and not fault.concerns([OTHER])


def test_a_port_that_was_contained_is_named_itself() -> None:
    fault = parse_fault(f"pcieport {PORT}: DPC: containment event, status:0x1f01 source:0x0000")
    assert fault is not None and fault.kind == PCIE_ERROR
    assert fault.concerns([PORT]) and not fault.concerns([GPU])


@pytest.mark.parametrize(("line", "number"), XIDS)
def test_xids_with_their_number(line: str, number: int) -> None:
    fault = parse_fault(line)
    assert fault is not None and (fault.kind, fault.number) == (XID, number)
    assert fault.concerns([GPU]) and not fault.concerns([OTHER])


def test_other_words_of_the_driver() -> None:
    with_device, without = faults_in(
        [
            "NVRM: GPU 0000:41:00.0: RmInitAdapter failed! (0x22:0x56:742)",
            "NVRM: API mismatch: the client has the version 570.86.16, but",
        ]
    )
    assert (with_device.kind, without.kind) == (DRIVER_MESSAGE, DRIVER_MESSAGE)
    assert with_device.concerns([GPU]) and not with_device.concerns([OTHER])
    assert without.devices == ()


@pytest.mark.parametrize(
    "line",
    [
        "DMAR: DRHD: handling fault status reg 2",
        "AMD-Vi: Interrupt remapping enabled",
        "pcieport 0000:40:01.1: AER: enabled with IRQ 26",
        "nvidia 0000:41:00.0: enabling device (0140 -> 0142)",
        "python3: NVRM: Xid is what a program said",
        "",
    ],
)
def test_other_messages_are_none(line: str) -> None:
    assert parse_fault(line) is None


def test_a_name_without_a_domain_means_any_domain() -> None:
    name = DeviceName(None, 0x41, 0, None)
    assert name.means("0001:41:00.1")
    assert not DeviceName(0, 0x41, 0, 0).means("0001:41:00.0")


ADDRESSES = st.tuples(st.integers(0, 0xFFFF), st.integers(0, 0xFF), st.integers(0, 31))


@given(ADDRESSES, st.integers(0, 7), st.text(max_size=40))
def test_every_address_is_attributed_to_its_device_alone(
    address: tuple[int, int, int], function: int, tail: str
) -> None:
    domain, bus, device = address
    bdf = f"{domain:04x}:{bus:02x}:{device:02x}.{function}"
    near = f"{domain:04x}:{bus:02x}:{device ^ 1:02x}.{function}"
    lines = [
        f"DMAR: [DMA Write NO_PASID] Request device [{bdf[5:]}] fault addr 0x0 {tail}",
        f"AMD-Vi: Event logged [IO_PAGE_FAULT device={bdf} domain=0x0 {tail}",
        f"nvidia {bdf}: AER: PCIe Bus Error: {tail}",
        f"NVRM: Xid (PCI:{bdf[:-2]}): 79, {tail}",
    ]
    for line in lines:
        fault = parse_fault(line)
        assert fault is not None
        assert fault.concerns([bdf]) and not fault.concerns([near])


@given(st.text())
def test_any_text_is_a_fault_or_none(text: str) -> None:
    for line in (text, f"NVRM: {text}", f"DMAR: {text}", f"nvidia {GPU}: {text}"):
        fault = parse_fault(line)
        assert fault is None or fault.text == line
