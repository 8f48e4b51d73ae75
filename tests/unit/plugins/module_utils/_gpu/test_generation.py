# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compute capabilities and the architectures they belong to."""

from __future__ import annotations

import pytest
from ansible_collections.gpufleet.p2p.plugins.module_utils._gpu.generation import (
    generation_of,
    is_supported,
)


@pytest.mark.parametrize(
    ("capability", "name"),
    [
        ((6, 1), "pascal"),
        ((7, 0), "volta"),
        ((7, 5), "turing"),
        ((8, 0), "ampere"),
        ((8, 6), "ampere"),
        ((8, 7), "ampere"),
        ((8, 9), "ada"),
        ((9, 0), "hopper"),
        ((10, 0), "blackwell"),
        ((10, 3), "blackwell"),
        ((12, 0), "blackwell"),
        ((12, 1), "blackwell"),
        ((13, 0), "unknown"),
        ((3, 5), "unknown"),
    ],
)
def test_generation(capability: tuple[int, int], name: str) -> None:
    assert generation_of(capability) == name


def test_older_than_ampere_is_unsupported_and_unknown_is_left_to_the_measurement() -> None:
    assert not is_supported("turing")
    assert not is_supported("pascal")
    assert is_supported("ampere")
    assert is_supported("unknown")
