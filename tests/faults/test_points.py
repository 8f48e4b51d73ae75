# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the power fails follows from the trace and the seed, and every step gets its share."""

from __future__ import annotations

import random
from collections import Counter

from faults.crash_states import CrashState, Timeline
from faults.points import (
    AT_FLUSH,
    CACHE_LOST,
    IN_FLIGHT,
    Mark,
    around,
    at_random,
    by_step,
    changes_of_view,
    step_at,
)
from faults.write_log import Entry


def timeline(kinds: str) -> Timeline:
    """Return a log of writes (w) and flushes (f) of a sector each, in this order."""
    return Timeline(
        [
            Entry((number + 1) * 1024, number, int(kind == "w"), kind == "f", False, number * 1024)
            for number, kind in enumerate(kinds)
        ]
    )


LOG = timeline("wwfwww" + "wfwf" + "" + "wwwwwwwwwwwwwwwwwwww")
MARKS = (Mark("stage", 2), Mark("look", 6), Mark("idle", 10), Mark("restart", 10))


def test_a_flush_makes_what_came_before_it_durable() -> None:
    assert [LOG.durable(until) for until in (0, 2, 3, 4, 7, 8, 9, 10, 30)] == [
        *(0, 0, 3, 3, 3, 8, 8, 10, 10)
    ]


def test_a_byte_of_the_log_is_found_in_the_order_of_entries() -> None:
    assert [LOG.at(position) for position in (0, 1023, 1024, 5000, 1 << 20)] == [0, 0, 1, 4, 30]


def test_the_step_that_ran_is_the_last_to_have_begun() -> None:
    assert [step_at(MARKS, entries) for entries in (0, 2, 5, 6, 10, 29)] == [
        *("", "stage", "stage", "look", "restart", "restart")
    ]


def test_steps_share_the_faults_however_long_they_ran() -> None:
    points = by_step(LOG, MARKS, 90, random.Random(1))
    assert Counter(point.step for point in points) == {"stage": 30, "look": 30, "restart": 30}
    assert {point.kind for point in points} == {AT_FLUSH, IN_FLIGHT, CACHE_LOST}
    spans = {"stage": range(2, 7), "look": range(7, 11), "restart": range(11, 31)}
    for point in points:
        assert point.state.until in spans[point.step] or point.kind == AT_FLUSH
        assert (point.state.shuffle is not None) == (point.kind == CACHE_LOST)
        if point.kind == AT_FLUSH:
            assert LOG.entries[point.state.until - 1].flush


def test_the_seed_decides() -> None:
    first, again, other = (by_step(LOG, MARKS, 20, random.Random(seed)) for seed in (3, 3, 4))
    assert first == again != other


def test_a_random_point_lies_within_the_run_and_names_its_step() -> None:
    draw = random.Random(5)
    for _ in range(200):
        point = at_random(LOG, MARKS, draw)
        assert 2 < point.state.until <= 30
        assert point.step == step_at(MARKS, point.state.until - 1)


class Letters:
    """Shows a letter that depends on the entries only, and counts how often it was looked at."""

    def __init__(self, letters: str) -> None:
        self.letters = letters
        self.looks = 0
        self.settled = 0

    def view(self, until: int) -> str:
        assert until >= self.settled
        self.looks += 1
        return self.letters[until]

    def settle(self, until: int) -> None:
        self.settled = until


def test_changes_of_view_are_found_at_their_entry() -> None:
    letters = "aaaab" + "bbbb" + "cc" + "c" * 19 + "d"
    assert len(letters) == len(LOG.entries) + 1
    viewer = Letters(letters)
    assert changes_of_view(LOG, 0, viewer) == [(4, "b"), (9, "c"), (30, "d")]


def test_a_span_without_a_change_is_looked_at_once() -> None:
    viewer = Letters("a" * 31)
    assert changes_of_view(LOG, 0, viewer) == []
    # The begin, and the end of what are fewer flushes than a span holds.
    assert len(LOG.flushes) < 8
    assert viewer.looks == 2


def test_a_change_after_a_whole_span_of_flushes_is_found() -> None:
    log = timeline("wf" * 20)
    viewer = Letters("a" * 37 + "b" * 4)
    assert changes_of_view(log, 0, viewer) == [(37, "b")]
    # Begin, two whole spans and the last, which is looked into: two flushes more, two entries.
    assert viewer.looks == 1 + 3 + 4 + 2


def test_a_point_around_a_change_lies_at_it_or_just_behind() -> None:
    draw = random.Random(2)
    points = [around(29, LOG, MARKS, draw) for _ in range(40)]
    assert {point.state.until for point in points} == {29, 30}
    assert {point.state.shuffle is None for point in points} == {True, False}
    assert around(30, LOG, MARKS, draw).state.until == 30
    assert CrashState(5).shuffle is None
