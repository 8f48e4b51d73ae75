# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How long a pattern is, and which pieces of it are compared on the host."""

from __future__ import annotations

import itertools

from ansible_collections.gpufleet.p2p.plugins.module_utils._p2p.correctness import Extent
from ansible_collections.gpufleet.p2p.plugins.module_utils._p2p.payload import pieces_of
from hypothesis import given
from hypothesis import strategies as st

MIB = 1 << 20
GIB = 1 << 30
USUAL = 256 * MIB
WORDS = st.integers(1, 2048)


@given(size=WORDS, piece=WORDS, factor=st.integers(2, 20))
def test_pieces_are_in_order_apart_and_within(size: int, piece: int, factor: int) -> None:
    size, piece = 8 * size, 8 * piece
    most = factor * piece
    pieces = pieces_of(size, piece, most)
    assert pieces[0][0] == 0
    assert pieces[-1][0] + pieces[-1][1] == size
    assert all(0 < count <= piece and offset % 8 == 0 for offset, count in pieces)
    assert all(a + n <= b for (a, n), (b, _) in itertools.pairwise(pieces))
    assert sum(count for _, count in pieces) == min(size, most)


def test_a_long_payload_is_sampled_from_its_start_to_its_end() -> None:
    pieces = pieces_of(4 * GIB, 4 * MIB, 64 * MIB)
    assert len(pieces) == 16
    gaps = [b - a for (a, _), (b, _) in itertools.pairwise(pieces)]
    assert max(gaps) - min(gaps) <= 8


@given(
    rate=st.floats(1e6, 1e12),
    free=st.integers(0, 200 * GIB),
    most=st.integers(0, 8 * GIB),
    seconds=st.floats(0, 1),
)
def test_the_length_is_bounded_by_time_memory_and_its_most(
    rate: float, free: int, most: int, seconds: float
) -> None:
    size = Extent(most, seconds).bytes_at(rate, USUAL, free)
    assert size >= USUAL
    if size > USUAL:
        assert size % MIB == 0
        assert size <= most and size <= free // 8 and size <= rate * seconds


def test_figures_of_the_docs() -> None:
    extent = Extent(4 * GIB, 0.06)
    card = 24 * GIB
    assert extent.bytes_at(390e9, USUAL, 140 * GIB) == 4 * GIB
    assert round(extent.bytes_at(13.2e9, USUAL, card) / 1e9, 1) == 0.8
    assert round(extent.bytes_at(56.6e9, USUAL, 32 * GIB) / 1e9, 1) == 3.4
    assert extent.bytes_at(56.6e9, USUAL, 8 * GIB) == GIB
    assert Extent().bytes_at(390e9, USUAL, 140 * GIB) == USUAL
