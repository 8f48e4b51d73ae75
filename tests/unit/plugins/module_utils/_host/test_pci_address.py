# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""PCI addresses take one form, whoever wrote them."""

from __future__ import annotations

import pytest
from ansible_collections.gpufleet.p2p.plugins.module_utils._host import pci_address
from hypothesis import given
from hypothesis import strategies as st


@pytest.mark.parametrize(
    ("text", "bdf"),
    [
        ("0000:01:00.0", "0000:01:00.0"),
        ("00000000:0A:00.0", "0000:0a:00.0"),
        ("1:2.3", "0000:01:02.3"),
        (" 10000:E1:00.0\n", "10000:e1:00.0"),
    ],
)
def test_addresses_take_one_form(text: str, bdf: str) -> None:
    assert pci_address.normalise_bdf(text) == bdf


@pytest.mark.parametrize("text", ["", "01:00", "0000:01:00.8", "GPU-1", "0000:01:00.0x"])
def test_other_texts_are_no_addresses(text: str) -> None:
    with pytest.raises(pci_address.PciAddressInvalid):
        pci_address.normalise_bdf(text)


@given(st.integers(0, 0xFFFFFFFF), st.integers(0, 0xFF), st.integers(0, 0x1F), st.integers(0, 7))
def test_every_address_is_read_back_whoever_wrote_it(
    domain: int, bus: int, device: int, function: int
) -> None:
    sysfs = f"{domain:04x}:{bus:02x}:{device:02x}.{function}"
    for text in (sysfs, sysfs.upper(), f"{domain:08X}:{bus:02X}:{device:02X}.{function}"):
        assert pci_address.normalise_bdf(text) == sysfs
