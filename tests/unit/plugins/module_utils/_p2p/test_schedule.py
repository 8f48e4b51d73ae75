# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rounds hold every pair once, and no two that share a GPU or a link."""

from __future__ import annotations

import itertools

import pytest
from ansible_collections.gpufleet.p2p.plugins.module_utils._p2p.schedule import rounds_of
from hypothesis import given
from hypothesis import strategies as st

USES = st.dictionaries(
    st.integers(0, 40), st.sets(st.sampled_from("abcdefghij"), min_size=1, max_size=5), max_size=24
)
AT_ONCE = st.integers(1, 6)


def pairs_of(gpus: int) -> dict[tuple[int, int], set[str]]:
    return {
        pair: {f"gpu {pair[0]}", f"gpu {pair[1]}"}
        for pair in itertools.combinations(range(gpus), 2)
    }


@given(USES, AT_ONCE)
def test_every_pair_has_its_turn_once(uses: dict[int, set[str]], at_once: int) -> None:
    rounds = rounds_of(uses, at_once)
    assert sorted(key for together in rounds for key in together) == sorted(uses)
    assert all(0 < len(together) <= at_once for together in rounds)


@given(USES, AT_ONCE)
def test_nothing_is_used_twice_at_once(uses: dict[int, set[str]], at_once: int) -> None:
    for together in rounds_of(uses, at_once):
        for first, second in itertools.combinations(together, 2):
            assert not uses[first] & uses[second]


@given(USES, AT_ONCE)
def test_a_round_is_full_or_nothing_left_fits(uses: dict[int, set[str]], at_once: int) -> None:
    rounds = rounds_of(uses, at_once)
    for number, together in enumerate(rounds):
        taken = {thing for key in together for thing in uses[key]}
        later = [key for following in rounds[number + 1 :] for key in following]
        assert len(together) == at_once or all(uses[key] & taken for key in later)


@pytest.mark.parametrize(("gpus", "rounds"), [(2, 1), (4, 3), (8, 7), (16, 15)])
def test_as_few_rounds_as_can_be(gpus: int, rounds: int) -> None:
    assert len(rounds_of(pairs_of(gpus), gpus)) == rounds


def test_pairs_behind_one_uplink_wait_for_each_other() -> None:
    uses = {"a": {"0", "1", "uplink"}, "b": {"2", "3", "uplink"}, "c": {"4", "5"}}
    assert rounds_of(uses, 8) == (("a", "c"), ("b",))


def test_one_at_a_time_at_least() -> None:
    assert rounds_of({1: {"a"}, 2: {"b"}}, 0) == ((1,), (2,))
