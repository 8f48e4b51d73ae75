# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is done for several GPUs is done at the same time, and fails as if it were not."""

from __future__ import annotations

import threading

import pytest
from ansible_collections.gpufleet.p2p.plugins.module_utils._p2p.at_once import at_once
from hypothesis import given
from hypothesis import strategies as st

PATIENCE_SECONDS = 20.0


@given(st.lists(st.integers(), max_size=8))
def test_results_are_in_the_order_of_the_items(items: list[int]) -> None:
    assert at_once(lambda item: -item, items) == [-item for item in items]


def test_all_are_at_work_at_the_same_time() -> None:
    everyone = threading.Barrier(4)
    # Who is alone waits in vain, and the barrier breaks.
    assert sorted(at_once(lambda _item: everyone.wait(PATIENCE_SECONDS), range(4))) == [0, 1, 2, 3]


def test_the_first_item_is_that_of_the_calling_thread() -> None:
    assert at_once(lambda _item: threading.current_thread(), [0]) == [threading.current_thread()]


@pytest.mark.parametrize(("failing", "told"), [((2,), 2), ((3, 1), 1), ((0, 1, 2, 3), 0)])
def test_the_failure_of_the_first_item_is_told_when_all_have_ended(
    failing: tuple[int, ...], told: int
) -> None:
    ended: list[int] = []

    def work(item: int) -> None:
        ended.append(item)
        if item in failing:
            raise LookupError(item)

    with pytest.raises(LookupError, match=str(told)):
        at_once(work, range(4))
    assert sorted(ended) == [0, 1, 2, 3]
