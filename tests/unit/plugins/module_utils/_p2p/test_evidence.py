# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The pattern is a bijection that can be undone, and wrong words tell how they went wrong."""

from __future__ import annotations

import pytest
from ansible_collections.gpufleet.p2p.plugins.module_utils._p2p.evidence import (
    WrongWord,
    classify,
    gravest,
)
from ansible_collections.gpufleet.p2p.plugins.module_utils._p2p.pattern import (
    POISON_WORD,
    DevicePattern,
    HostPattern,
    Pattern,
    mix64,
    seed_of,
    unmix64,
)
from hypothesis import given
from hypothesis import strategies as st

WORD = st.integers(0, 2**64 - 1)
WORDS = 1 << 20
ALIAS = (2 << 20) // 8
SEED, EARLIER = seed_of(5), seed_of(99)


@given(WORD)
def test_mixing_can_be_undone(value: int) -> None:
    assert unmix64(mix64(value)) == value


def test_mix64_is_the_splitmix64_of_the_literature() -> None:
    # First outputs of splitmix64 seeded with 0 (Vigna's splitmix64.c).
    golden = 0x9E3779B97F4A7C15
    assert [mix64(golden * step % 2**64) for step in range(3)] == [
        0xE220A8397B1DCDAF,
        0x6E789E6AA1B965F4,
        0x06C45D188009454F,
    ]


@given(WORD, st.integers(0, WORDS - 1))
def test_a_word_is_traced_back_to_its_place(seed: int, index: int) -> None:
    pattern = DevicePattern(seed)
    assert pattern.index_of(pattern.word(index), WORDS) == index


def test_the_host_pattern_is_traced_back_too() -> None:
    pattern = HostPattern(7)
    assert [pattern.index_of(pattern.word(index), 512) for index in (0, 17, 511)] == [0, 17, 511]
    assert pattern.index_of(HostPattern(8).word(3), 512) is None
    assert pattern.data(64)[:16] == pattern.data(16)


@given(st.lists(WORD, min_size=1, max_size=4), st.lists(WORD, min_size=1, max_size=4))
def test_different_transfers_have_different_seeds(first: list[int], second: list[int]) -> None:
    if first != second and len(first) == len(second):
        assert seed_of(*first) != seed_of(*second)


def wrong(pattern: Pattern, index: int, seen: int) -> WrongWord:
    return WrongWord(index, seen, pattern.word(index))


def code_of(
    sample: list[WrongWord], pattern: Pattern, *, right: bool | None = None, earlier: int = EARLIER
) -> str:
    return classify(
        sample,
        pattern=pattern,
        earlier=[type(pattern)(earlier)],
        words=1024,
        initiator_sees_right=right,
    ).code


@pytest.mark.parametrize("pattern", [DevicePattern(SEED), HostPattern(SEED)])
class TestClassify:
    def test_poison_or_zeros_left_is_dropped(self, pattern: Pattern) -> None:
        assert code_of([wrong(pattern, 3, POISON_WORD)], pattern) == "data_dropped"
        assert code_of([wrong(pattern, 3, 0)], pattern, right=False) == "data_dropped"

    def test_dropped_but_read_back_right_is_mirrored(self, pattern: Pattern) -> None:
        assert code_of([wrong(pattern, 3, 0)], pattern, right=True) == "data_mirrored"

    def test_the_words_of_an_earlier_transfer_are_stale(self, pattern: Pattern) -> None:
        earlier = type(pattern)(EARLIER)
        assert code_of([wrong(pattern, 3, earlier.word(3))], pattern) == "data_stale"

    def test_a_flipped_bit(self, pattern: Pattern) -> None:
        finding = classify(
            [wrong(pattern, 3, pattern.word(3) ^ (1 << 20))],
            pattern=pattern,
            earlier=[],
            words=1024,
            initiator_sees_right=None,
        )
        assert finding.code == "data_bit_flip"
        assert finding.first_bad_offset == 3 * 8 + 2

    def test_anything_else_is_corrupted(self, pattern: Pattern) -> None:
        assert code_of([wrong(pattern, 3, 0x0123456789ABCDEF)], pattern) == "data_corrupted"

    def test_aliasing_outranks_what_was_left_behind(self, pattern: Pattern) -> None:
        sample = [wrong(pattern, 3, pattern.word(515)), wrong(pattern, 600, POISON_WORD)]
        assert code_of(sample, pattern) == "data_aliased"


@given(WORD, st.integers(1, 6), st.lists(st.integers(0, ALIAS - 1), min_size=1, max_size=20))
def test_the_stride_of_an_alias_is_named(seed: int, factor: int, indices: list[int]) -> None:
    pattern = DevicePattern(seed)
    sample = [wrong(pattern, i, pattern.word(i + ALIAS * (1 + i % factor))) for i in indices]
    sample.append(wrong(pattern, ALIAS, pattern.word(0)))
    finding = classify(
        sample, pattern=pattern, earlier=[], words=8 * ALIAS, initiator_sees_right=None
    )
    assert finding.code == "data_aliased"
    assert "2097152 bytes from their place" in finding.detail


def test_the_most_telling_code_names_the_pair() -> None:
    assert gravest(["data_dropped", "data_mirrored"]) == "data_mirrored"
    assert gravest(["data_dropped", "data_stale"]) == "data_stale"
