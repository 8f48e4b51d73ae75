# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Medians, their confidence intervals, and when sampling ends."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
from ansible_collections.gpufleet.p2p.plugins.module_utils._p2p.sampling import (
    QUICK,
    SAMPLES_AT_LEAST,
    THOROUGH,
    Effort,
    estimate_of,
    interval_ranks,
    settle,
)
from hypothesis import given
from hypothesis import strategies as st

RATE = st.floats(0.1, 2000.0)
RATES = st.lists(RATE, min_size=SAMPLES_AT_LEAST, max_size=60)


def coverage(count: int, lower: int) -> float:
    """Return the probability that the median lies between the lower-th and its mirror image."""
    return 1 - 2 * sum(math.comb(count, k) for k in range(lower)) / 2**count


@pytest.mark.parametrize("count", range(SAMPLES_AT_LEAST, 101))
def test_the_interval_is_the_narrowest_that_covers_95_percent(count: int) -> None:
    ranks = interval_ranks(count)
    assert ranks is not None
    lower, upper = ranks
    assert lower + upper == count + 1
    assert coverage(count, lower) >= 0.95
    assert lower + 1 > (count + 1) // 2 or coverage(count, lower + 1) < 0.95


# Le Boudec, appendix A, table of confidence intervals for the median at 95 %.
@pytest.mark.parametrize(
    ("count", "ranks"),
    [(6, (1, 6)), (8, (1, 8)), (9, (2, 8)), (12, (3, 10)), (20, (6, 15)), (30, (10, 21))],
)
def test_published_ranks(count: int, ranks: tuple[int, int]) -> None:
    assert interval_ranks(count) == ranks


@pytest.mark.parametrize("count", range(SAMPLES_AT_LEAST))
def test_fewer_than_six_samples_say_nothing_about_the_spread(count: int) -> None:
    assert interval_ranks(count) is None
    if count:
        assert estimate_of([1.0] * count).spread is None


def test_the_interval_covers_the_median_of_a_skewed_distribution_as_often_as_it_says() -> None:
    rng = random.Random(20)
    covered = 0
    for _trial in range(2000):
        ordered = sorted(rng.expovariate(1.0) for _n in range(12))
        ranks = interval_ranks(12)
        assert ranks is not None
        covered += ordered[ranks[0] - 1] <= math.log(2) <= ordered[ranks[1] - 1]
    # 96.1 % in theory; four standard deviations of 2000 trials are 1.7 points.
    assert 0.944 <= covered / 2000 <= 0.979


@given(RATES, st.floats(0.01, 100.0), st.randoms(use_true_random=False))
def test_order_and_unit_do_not_matter(
    samples: list[float], factor: float, rng: random.Random
) -> None:
    estimate = estimate_of(samples)
    shuffled = [factor * sample for sample in samples]
    rng.shuffle(shuffled)
    other = estimate_of(shuffled)
    assert other.median == pytest.approx(factor * estimate.median)
    assert other.spread == pytest.approx(estimate.spread, abs=1e-9)


@given(RATES)
def test_the_median_lies_within_and_the_spread_within_the_range(samples: list[float]) -> None:
    estimate = estimate_of(samples)
    assert min(samples) <= estimate.median <= max(samples)
    assert estimate.spread is not None
    whole = (max(samples) - min(samples)) / 2 / estimate.median
    assert 0 <= estimate.spread <= whole * (1 + 1e-9)


@given(st.lists(st.floats(99.5, 100.5), min_size=11, max_size=40), st.floats(0.001, 50.0))
def test_one_slow_sample_does_not_show(samples: list[float], slow: float) -> None:
    estimate = estimate_of([*samples, slow])
    assert 99.5 <= estimate.median <= 100.5
    assert estimate.spread is not None and estimate.spread <= 0.0101


def test_without_samples_there_is_no_estimate() -> None:
    with pytest.raises(ValueError, match="at least one"):
        estimate_of([])


def taken(samples: Iterator[float]) -> tuple[Callable[[], float], list[int]]:
    """Return a source of samples, and a list whose length is how many were taken."""
    count: list[int] = []

    def take() -> float:
        count.append(1)
        return next(samples)

    return take, count


def ticking(seconds: float) -> Callable[[], float]:
    clock = itertools.count()
    return lambda: next(clock) * seconds


EFFORT = replace(THOROUGH, samples_at_most=15, figure_seconds=1.0)


def test_a_quiet_link_takes_as_few_samples_as_can_be() -> None:
    take, count = taken(itertools.cycle([100.0, 100.3]))
    estimate = settle(take, EFFORT, ticking(0.0))
    assert len(count) == EFFORT.samples_at_least
    assert estimate.spread is not None and estimate.spread < EFFORT.spread_wanted


def test_one_disturbed_sample_costs_three_more() -> None:
    take, count = taken(itertools.chain([50.0], itertools.repeat(100.0)))
    assert settle(take, EFFORT, ticking(0.0)) == estimate_of([50.0] + [100.0] * 8)
    assert len(count) == 9


@pytest.mark.parametrize(("tick", "expected"), [(0.0, 15), (0.25, 9)])
def test_a_noisy_link_ends_at_a_bound(tick: float, expected: int) -> None:
    take, count = taken(itertools.cycle([80.0, 120.0, 100.0]))
    estimate = settle(take, EFFORT, ticking(tick))
    assert len(count) == expected
    assert estimate.spread is not None and estimate.spread > EFFORT.spread_wanted


@given(st.lists(RATE, min_size=60, max_size=60), st.floats(0, 0.5))
def test_sampling_always_ends_within_its_bounds(samples: list[float], tick: float) -> None:
    take, count = taken(iter(samples))
    estimate = settle(take, EFFORT, ticking(tick))
    assert EFFORT.samples_at_least <= len(count) <= EFFORT.samples_at_most
    assert estimate == estimate_of(samples[: len(count)])


@pytest.mark.parametrize(("effort", "figures", "seconds"), [(THOROUGH, 15, 2.0), (QUICK, 6, 0.5)])
def test_what_two_gpus_cost_is_bounded(effort: Effort, figures: int, seconds: float) -> None:
    assert effort.figures == figures
    assert effort.seconds_at_most < seconds
    assert effort.samples_at_least >= SAMPLES_AT_LEAST


@given(st.integers(1, 500))
def test_many_pairs_share_the_time_and_keep_their_samples(pairs: int) -> None:
    effort = THOROUGH.shared_by(pairs)
    least = replace(THOROUGH, figure_seconds=0.0).seconds_at_most
    assert pairs * effort.seconds_at_most <= max(30.0, pairs * least) * (1 + 1e-9)
    assert least <= effort.seconds_at_most <= THOROUGH.seconds_at_most * (1 + 1e-9)


def test_a_few_pairs_have_all_the_time() -> None:
    assert THOROUGH.shared_by(1) == THOROUGH
    assert QUICK.shared_by(28) == QUICK
