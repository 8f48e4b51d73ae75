# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The pci_resize_resource() gate, on declarations and calls as kernels and drivers write them."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.gpufleet.p2p.plugins.module_utils._driver import kernel_interface as gate
from hypothesis import given
from hypothesis import strategies as st

# include/linux/pci.h of Linux 6.1.0 and of Debian's 6.1.192.
HEADER_THREE = "int __must_check pci_resize_resource(struct pci_dev *dev, int i, int size);\n"
HEADER_FOUR = """\
int __must_check pci_resize_resource(struct pci_dev *dev, int i, int size,
                             int exclude_bars);
"""
# The call of the drivers up to 575, and both forms as an adapted driver holds them.
CALL_THREE = "    r = pci_resize_resource(pci_dev, NV_GPU_BAR1, requested_size);\n"
CALL_BOTH = """\
#if defined(NV_PCI_RESIZE_RESOURCE_HAS_EXCLUDE_BARS_ARG)
    r = pci_resize_resource(pci_dev, NV_GPU_BAR1, requested_size, 0);
#else
    r = pci_resize_resource(pci_dev, NV_GPU_BAR1, requested_size);
#endif
"""


@pytest.mark.parametrize(
    ("header", "source", "fits"),
    [
        (HEADER_THREE, CALL_THREE, True),
        (HEADER_FOUR, CALL_THREE, False),
        (HEADER_THREE, CALL_BOTH, True),
        (HEADER_FOUR, CALL_BOTH, True),
        (HEADER_FOUR, "/* pci_resize_resource(a, b, c) */\n", True),
        ("", CALL_THREE, True),
    ],
)
def test_header_against_source(tmp_path: Path, header: str, source: str, fits: bool) -> None:
    (tmp_path / "headers/include/linux").mkdir(parents=True)
    (tmp_path / "headers/include/linux/pci.h").write_text(header)
    (tmp_path / "tree/kernel-open/nvidia").mkdir(parents=True)
    (tmp_path / "tree/kernel-open/nvidia/nv-pci.c").write_text(source)
    signature = gate.read_signature(tmp_path / "tree", tmp_path / "headers")
    assert signature.fits is fits
    if not fits:
        with pytest.raises(gate.KernelSignatureMismatch) as refusal:
            gate.require_signature(tmp_path / "tree", tmp_path / "headers", "6.1.0-56-amd64")
        assert refusal.value.code == "kernel_signature_mismatch"
        assert "takes 4 arguments" in refusal.value.read


def test_nested_calls_and_similar_names_are_counted_right() -> None:
    text = "my_pci_resize_resource(a); pci_resize_resource(dev, order(1, 2), (a, b)[0]);"
    assert gate.called_arguments(text) == {3}


@given(st.text(alphabet="pci_resize_resource(),; /*\n", max_size=200))
def test_any_text_is_counted_without_raising(text: str) -> None:
    assert all(count > 0 for count in gate.called_arguments(text))
