# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How long to measure, and how sure a figure is: medians with confidence intervals.

Rates of copies are not normally distributed: they have a tail towards slow. So the interval is
that between two order statistics, which holds for any distribution: n ordered values leave out
the median on one side with the probability of a binomial tail (J.-Y. Le Boudec, Performance
Evaluation of Computer and Communication Systems, 2010, theorem 2.1; T. Hoefler and R. Belli,
Scientific Benchmarking of Parallel Computing Systems, SC 2015, rule 6).
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Callable

_OUTSIDE = 0.05
# Between the lowest and the highest of six lies the median with 1 - 2 / 2**6 = 96.9 %; of five
# with 93.8 %, which is not enough.
SAMPLES_AT_LEAST = 6
# Beside 14 s for checks and 5 s for latencies and all at once: 28 pairs stay under a minute.
_ALL_PAIRS_SECONDS = 30.0


@dataclass(frozen=True)
class Effort:
    """How much is measured and how long it may take: the whole budget of a pair is here.

    A figure is one rate of one direction, or of both at once. It takes ``samples_at_least``
    samples, then goes on until ``spread_wanted`` is reached or ``figure_seconds`` are over.

    Attributes:
        every_way: reads and kernels too, not only copies written by copy engines.
        warm_up_seconds: of copying before a direction's first figure, so that the link leaves
            generation 1 and the clocks rise.
        sample_seconds: length that one sample aims at.
        samples_at_least, samples_at_most: of one figure.
        figure_seconds: after which no further sample begins.
        spread_wanted: see spread_of.
        copy_bytes: most that one copy moves; as many copies make one sample as it takes.
        loads: dependent loads of the pointer chase, over all multiprocessors it is run on.
    """

    every_way: bool
    warm_up_seconds: float
    sample_seconds: float
    samples_at_least: int
    samples_at_most: int
    figure_seconds: float
    spread_wanted: float
    copy_bytes: int
    loads: int

    @property
    def figures(self) -> int:
        """Rates of one pair of GPUs: each way in either direction and in both at once."""
        ways = 5 if self.every_way else 2
        return 3 * ways

    def shared_by(self, pairs: int) -> Effort:
        """Return the effort for a run of so many pairs, which are measured one after the other.

        Their rates take 30 s together at most, or what the fewest samples need: figures get less
        time where there are more of them.
        """
        spare = _ALL_PAIRS_SECONDS / pairs - 2 * self.warm_up_seconds
        figure = spare / self.figures - self.sample_seconds
        least = self.samples_at_least * self.sample_seconds
        return replace(self, figure_seconds=min(self.figure_seconds, max(least, figure)))

    @property
    def seconds_at_most(self) -> float:
        """What the rates of one pair of GPUs take at most, where a sample takes what it aims at.

        Latencies come to 0.1 s beside that, and what the checks take is not counted here.
        """
        longest = max(self.figure_seconds, self.samples_at_least * self.sample_seconds)
        return 2 * self.warm_up_seconds + self.figures * (longest + self.sample_seconds)


# Beside 1 to 1.5 s for processes and contexts and 1 to 1.5 s for the checks: 5 s for two GPUs.
THOROUGH = Effort(
    every_way=True,
    warm_up_seconds=0.05,
    sample_seconds=0.006,
    samples_at_least=SAMPLES_AT_LEAST,
    samples_at_most=40,
    figure_seconds=0.1,
    spread_wanted=0.01,
    copy_bytes=512 << 20,
    loads=32_768,
)
# For 2 s with two GPUs.
QUICK = Effort(
    every_way=False,
    warm_up_seconds=0.03,
    sample_seconds=0.004,
    samples_at_least=SAMPLES_AT_LEAST,
    samples_at_most=12,
    figure_seconds=0.04,
    spread_wanted=0.01,
    copy_bytes=256 << 20,
    loads=8_192,
)


@dataclass(frozen=True)
class Estimate:
    """A median, and half the width of its 95 % confidence interval as a share of it.

    ``spread`` is None where there are too few samples to say.
    """

    median: float
    spread: float | None


def interval_ranks(count: int) -> tuple[int, int] | None:
    """Return the ranks, from 1, of the values between which the median lies with 95 %.

    The narrowest symmetrical pair for ``count`` independent samples of any distribution; None
    below six samples.
    """
    below = 0.0
    lower = 0
    for successes in range(count // 2):
        below += math.comb(count, successes) / 2**count
        if 2 * below > _OUTSIDE:
            break
        lower = successes + 1
    return (lower, count + 1 - lower) if lower else None


def estimate_of(samples: Sequence[float]) -> Estimate:
    """Return the median of positive samples with its spread.

    Raises:
        ValueError: there is no sample.
    """
    ordered = sorted(samples)
    if not ordered:
        raise ValueError("an estimate needs at least one sample")
    median = statistics.median(ordered)
    ranks = interval_ranks(len(ordered))
    if ranks is None:
        return Estimate(median, None)
    lower, upper = (ordered[rank - 1] for rank in ranks)
    return Estimate(median, (upper - lower) / 2 / median)


def settle(
    take: Callable[[], float], effort: Effort, clock: Callable[[], float] = time.monotonic
) -> Estimate:
    """Take samples until the effort's spread is reached or its bounds are, and return the estimate.

    Stopping at the first interval that is narrow enough makes its true confidence a little less
    than 95 %; what is wanted is a bound on noise, not a test.
    """
    begin = clock()
    samples: list[float] = []
    while True:
        samples.append(take())
        if len(samples) < effort.samples_at_least:
            continue
        estimate = estimate_of(samples)
        settled = estimate.spread is not None and estimate.spread <= effort.spread_wanted
        over = len(samples) >= effort.samples_at_most or clock() - begin >= effort.figure_seconds
        if settled or over:
            return estimate
