# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What one ordered pair's figures amount to: pass, warn, fail or not applicable, and why.

docs/verification.md has the table of the reason codes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from .ceiling import Ceiling
from .ipc_codes import IPC_FAILED, IPC_UNSUPPORTED
from .path import FAR, is_downtrained, is_nvlink
from .protocol import Measurement
from .result import (
    COPIES,
    DIRECT_WAYS,
    FAIL,
    FAILED,
    NOT_APPLICABLE,
    NOT_RUN,
    PASS,
    WARN,
    Bandwidth,
    Hop,
    Latency,
    Pair,
    Rates,
)

ASYMMETRIC = "asymmetric"
CEILING_UNKNOWN = "ceiling_unknown"
GENERATION_UNSUPPORTED = "generation_unsupported"
LINK_DOWNTRAINED = "link_downtrained"
MEASUREMENT_DIED = "measurement_died"
MEASUREMENT_HUNG = "measurement_hung"
MIXED_GENERATIONS = "mixed_generations"
ONE_WAY = "one_way"
P2P_UNSUPPORTED = "p2p_unsupported"
SLOW = "slow"
SLOWER_THAN_OFF = "slower_than_off"
SM_SLOW = "sm_slow"
TOO_FAST = "too_fast"

# Across host bridges and sockets good hosts reach 68 to 88 % of the link, not 91 to 98 %.
_FAR_FACTOR = 0.7
# The sum of the link speeds leaves out NVLink's own packets: two H200 reach 396.5 of 478 GB/s
# (83 %) in nvbandwidth, two RTX 3090 52 of 56.
_NVLINK_FACTOR = 0.9
_ASYMMETRY = 0.15
# Kernels reach 0.93 to 0.95 of the copy engine over NVLink, written and read (two H200). Over PCIe
# reads reach less, 0.66 on H100 (NVIDIA/nvbandwidth#24): below half is no longer usual.
_SM_SHARE = 0.5
_SEVERITY = (PASS, WARN, FAIL)


@dataclass(frozen=True)
class Thresholds:
    """Fractions of the ceiling: from ``pass_from`` on good, from ``warn_from`` on a warning.

    Above ``too_fast`` the data cannot have gone where it should.
    """

    pass_from: float = 0.85
    warn_from: float = 0.60
    too_fast: float = 1.03

    def for_level(self, level: str) -> Thresholds:
        """Return the thresholds of a path level: relaxed far from each other and over NVLink."""
        factor = _FAR_FACTOR if level in FAR else _NVLINK_FACTOR if is_nvlink(level) else 1.0
        return replace(self, pass_from=self.pass_from * factor, warn_from=self.warn_from * factor)


@dataclass(frozen=True)
class Judged:
    """A verdict, its reason codes (the gravest first), and a line on what was seen."""

    verdict: str
    reasons: tuple[str, ...]
    detail: str


def judge(
    measurement: Measurement,
    *,
    obstacles: Sequence[str],
    bandwidth: Bandwidth,
    latency: Latency,
    level: str,
    hops: Sequence[Hop],
    thresholds: Thresholds,
) -> Judged:
    """Return the verdict of one ordered pair, without looking at its opposite.

    Args:
        obstacles: codes why the pair is not expected to work (mixed generations …). Data decides:
            a pair that works in spite of them is judged like any other.
        hops: the links walked, read while the pair was copying. The ceiling is theirs as they
            run, so one that trained low passes by it and has to be told for itself.
    """
    stopped = _stopped_by(measurement)
    if obstacles and not measurement.is_right and measurement.trouble != MEASUREMENT_DIED:
        return Judged(NOT_APPLICABLE, (*obstacles, *stopped), measurement.detail)
    if stopped:
        return Judged(FAIL, stopped, measurement.detail)
    fails, warnings = _performance(bandwidth, latency, thresholds.for_level(level))
    if bandwidth.on.uni is not None and not is_nvlink(level) and any(map(is_downtrained, hops)):
        warnings.append(LINK_DOWNTRAINED)
    if measurement.no_kernels:
        warnings.append(measurement.no_kernels)
    if measurement.ipc_code == IPC_UNSUPPORTED:
        warnings.append(IPC_UNSUPPORTED)
    verdict = FAIL if fails else WARN if warnings else PASS
    return Judged(verdict, tuple(fails + warnings), measurement.detail)


def bandwidth_of(measurement: Measurement, ceiling: Ceiling | None) -> Bandwidth:
    """Return the pair's bandwidth with its yardstick."""
    limit = None if ceiling is None else ceiling.gigabytes_per_second
    on = measurement.rates.get("on_uni")
    return Bandwidth(
        off=_rates_of(measurement, "off"),
        on=_rates_of(measurement, "on"),
        copy_read=_rates_of(measurement, "copy_read"),
        sm_write=_rates_of(measurement, "sm_write"),
        sm_read=_rates_of(measurement, "sm_read"),
        ceiling=limit,
        fraction=None if on is None or not limit else on / limit,
        payload_bytes=None if ceiling is None else ceiling.payload_bytes,
        payload_assumed=ceiling is not None and ceiling.payload_assumed,
    )


def fastest(bandwidth: Bandwidth) -> tuple[str, float]:
    """Return the direct way that is fastest, and its GB/s in one direction.

    Both directions at once count by halves. Without any rate it is 0.
    """
    found = ("on", 0.0)
    for way in DIRECT_WAYS:
        rates: Rates = getattr(bandwidth, way)
        rate = max(rates.uni or 0.0, (rates.bidi or 0.0) / 2)
        if rate > found[1]:
            found = (way, rate)
    return found


def sm_slow_ways(bandwidth: Bandwidth) -> tuple[str, ...]:
    """Return the ways of kernels that reach less than half of what the copy engine does."""
    beside = (
        ("sm_write", bandwidth.sm_write.uni, bandwidth.on.uni),
        ("sm_read", bandwidth.sm_read.uni, bandwidth.copy_read.uni),
    )
    return tuple(
        way
        for way, rate, engine in beside
        if rate is not None and engine is not None and rate < _SM_SHARE * engine
    )


def latency_of(measurement: Measurement) -> Latency:
    """Return the pair's latency."""
    times = measurement.times
    return Latency(
        times.get("off"), times.get("on"), times.get("pointer_chase"), times.get("ping_pong")
    )


def with_opposites(pairs: Iterable[Pair]) -> tuple[Pair, ...]:
    """Return the pairs, each judged beside its opposite: one-way failures and asymmetry."""
    by_ends = {(pair.source, pair.target): pair for pair in pairs}
    return tuple(
        _beside(pair, by_ends.get((pair.target, pair.source))) for pair in by_ends.values()
    )


def host_verdict(pairs: Sequence[Pair]) -> str:
    """Return fail if a pair failed or none is applicable, warn if one warned, else pass."""
    applicable = [pair.verdict for pair in pairs if pair.verdict != NOT_APPLICABLE]
    return max(applicable, key=_SEVERITY.index) if applicable else FAIL


def _rates_of(measurement: Measurement, way: str) -> Rates:
    rates, spreads = measurement.rates, measurement.spreads
    uni, bidi = f"{way}_uni", f"{way}_bidi"
    return Rates(rates.get(uni), rates.get(bidi), spreads.get(uni), spreads.get(bidi))


def _stopped_by(measurement: Measurement) -> tuple[str, ...]:
    if measurement.cuda_capability is False:
        return (P2P_UNSUPPORTED,)
    ipc = IPC_FAILED if measurement.ipc_code == IPC_FAILED else None
    codes = (measurement.data_code, measurement.trouble, ipc)
    return tuple(code for code in codes if code is not None)


def _performance(
    bandwidth: Bandwidth, latency: Latency, thresholds: Thresholds
) -> tuple[list[str], list[str]]:
    fails: list[str] = []
    warnings: list[str] = []
    on, off, ceiling = bandwidth.on, bandwidth.off, bandwidth.ceiling
    if ceiling is None or bandwidth.fraction is None:
        warnings.append(CEILING_UNKNOWN)
    elif fastest(bandwidth)[1] > thresholds.too_fast * ceiling:
        fails.append(TOO_FAST)
    elif bandwidth.fraction < thresholds.warn_from:
        fails.append(SLOW)
    elif bandwidth.fraction < thresholds.pass_from:
        warnings.append(SLOW)
    if latency.on is not None and latency.off is not None and latency.on >= latency.off:
        fails.append(SLOWER_THAN_OFF)
    elif on.uni is not None and off.uni is not None and on.uni < off.uni:
        warnings.append(SLOWER_THAN_OFF)
    if sm_slow_ways(bandwidth):
        warnings.append(SM_SLOW)
    return fails, warnings


def _beside(pair: Pair, opposite: Pair | None) -> Pair:
    if opposite is None:
        return pair
    copies, opposite_copies = _copies_right(pair), _copies_right(opposite)
    if pair.verdict == FAIL and None not in (copies, opposite_copies) and copies != opposite_copies:
        # Also where the copies of this direction are right: its ping-pong needs the other's.
        return replace(pair, reasons=(ONE_WAY, *pair.reasons))
    rate, other = pair.bandwidth.on.uni, opposite.bandwidth.on.uni
    if pair.verdict not in (PASS, WARN) or not rate or not other:
        return pair
    if min(rate, other) >= (1 - _ASYMMETRY) * max(rate, other):
        return pair
    return replace(pair, verdict=WARN, reasons=(*pair.reasons, ASYMMETRIC))


def _copies_right(pair: Pair) -> bool | None:
    """Return whether all copies that were checked were right; None where none was."""
    states = pair.correctness.states()
    ran = {states[name] for name in COPIES} - {NOT_RUN}
    return FAILED not in ran if ran else None
