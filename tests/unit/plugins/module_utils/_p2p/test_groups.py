# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Groups are the maximal sets in which everybody reaches everybody."""

from __future__ import annotations

import itertools

from ansible_collections.gpufleet.p2p.plugins.module_utils._p2p.groups import groups_of
from hypothesis import given
from hypothesis import strategies as st

ARROWS = st.sets(st.tuples(st.integers(0, 7), st.integers(0, 7)), max_size=56)


def both_ways(*sets: tuple[int, ...]) -> set[tuple[int, int]]:
    return {pair for members in sets for pair in itertools.permutations(members, 2)}


def reaches_all(group: tuple[int, ...], arrows: set[tuple[int, int]]) -> bool:
    return all(pair in arrows for pair in itertools.permutations(group, 2))


def test_the_reference_rig() -> None:
    passed = both_ways((0, 1), (2, 3), (4, 5, 6))
    assert groups_of(passed) == ((4, 5, 6), (0, 1), (2, 3))


def test_one_direction_is_not_enough() -> None:
    assert groups_of({(0, 1), (1, 2), (2, 1)}) == ((1, 2),)


def test_overlapping_sets_are_both_told() -> None:
    assert groups_of(both_ways((0, 1, 2), (1, 2, 3))) == ((0, 1, 2), (1, 2, 3))


def test_nobody_reaches_anybody() -> None:
    assert groups_of(()) == ()


@given(ARROWS)
def test_groups_are_complete_maximal_and_all_of_them(arrows: set[tuple[int, int]]) -> None:
    groups = groups_of(arrows)
    expected = {
        members
        for size in range(2, 9)
        for members in itertools.combinations(range(8), size)
        if reaches_all(members, arrows)
        and not any(
            reaches_all((*members, other), arrows) for other in range(8) if other not in members
        )
    }
    assert set(groups) == expected
    assert len(groups) == len(expected)


@given(ARROWS)
def test_the_order_is_that_of_size_then_members(arrows: set[tuple[int, int]]) -> None:
    groups = groups_of(arrows)
    assert list(groups) == sorted(groups, key=lambda group: (-len(group), group))
    assert groups == groups_of(sorted(arrows, reverse=True))
