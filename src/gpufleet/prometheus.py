# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A result as Prometheus metrics, for node_exporter's textfile collector.

Names and units follow Prometheus' conventions: base units (bytes per second, seconds), states as
one series per state that is 0 or 1. No label names the host, since node_exporter's target does. A
figure that was not measured has no series, so that an alert on its absence can be written and no
zero is taken for a measurement.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from statistics import median

from .results import (
    CHECKS,
    HOST_VERDICTS,
    NOT_RUN,
    PAIR_VERDICTS,
    PASSED,
    WAYS,
    AllToAll,
    Gpu,
    Pair,
    Result,
)

PREFIX = "gpufleet_p2p_"

# How the data moved, where the result names it by peer access.
_METHODS = {"off": "staged", "on": "copy_write"}
_GIGA = 1e9
_MICRO = 1e-6

Labels = Mapping[str, str]


@dataclass
class _Metric:
    """One metric family; the same labels twice keep the first value, as the format demands."""

    name: str
    help: str
    samples: dict[tuple[tuple[str, str], ...], float] = field(default_factory=dict)

    def add(self, value: float | None, labels: Labels | None = None) -> None:
        """Add a sample; None adds nothing."""
        if value is not None:
            key = tuple((name, _unicode(text)) for name, text in (labels or {}).items())
            self.samples.setdefault(key, float(value))

    def lines(self) -> Iterator[str]:
        """Yield the lines of the exposition; none for a family without samples."""
        if not self.samples:
            return
        name = PREFIX + self.name
        yield f"# HELP {name} {self.help}"
        yield f"# TYPE {name} gauge"
        for labels, value in self.samples.items():
            inner = ",".join(f'{label}="{_escaped(text)}"' for label, text in labels)
            yield f"{name}{{{inner}}} {_number(value)}" if inner else f"{name} {_number(value)}"


def prometheus_text(result: Result, verified_at: float | None = None) -> str:
    """Return the result in Prometheus' text exposition format, version 0.0.4.

    Args:
        verified_at: when it was measured, in seconds since the epoch; None where that is not known.
    """
    gpus = {gpu.index: gpu for gpu in reversed(result.gpus)}
    metrics = [
        *_host_metrics(result, verified_at),
        *_pair_metrics(result.pairs, gpus),
        *_group_metrics(result, gpus),
    ]
    return "".join(f"{line}\n" for metric in metrics for line in metric.lines())


def _host_metrics(result: Result, verified_at: float | None) -> list[_Metric]:
    verdict = _Metric("verdict", "Verdict of the host: 1 for the one that holds.")
    for name in HOST_VERDICTS:
        verdict.add(name == result.verdict, {"verdict": name})
    when = _Metric(
        "verification_timestamp_seconds", "When peer-to-peer was last verified, since the epoch."
    )
    when.add(verified_at)
    duration = _Metric("verification_duration_seconds", "How long the verification took.")
    duration.add(result.wall_seconds)
    driver = _Metric("driver_info", "The loaded NVIDIA driver; always 1.")
    driver.add(
        1,
        {"version": result.driver.version or "", "build_id": result.driver.build_id or ""},
    )
    gpu_info = _Metric("gpu_info", "A GPU that was looked at; always 1.")
    for gpu in result.gpus:
        labels = {"gpu": str(gpu.index), "uuid": gpu.uuid, "bdf": gpu.bdf, "name": gpu.name}
        gpu_info.add(1, labels)
    largest = _Metric(
        "largest_group_gpus", "GPUs in the largest set in which every pair passed or warned."
    )
    largest.add(max((len(group) for group in result.groups), default=0))
    causes = _Metric("cause", "A cause of what is not a pass, by its code; always 1.")
    for cause in result.causes:
        causes.add(1, {"code": cause.code})
    notes = _Metric("note", "What is worth knowing and changes no verdict, by its code; always 1.")
    for note in result.notes:
        notes.add(1, {"code": note.code})
    return [verdict, when, duration, driver, gpu_info, largest, causes, notes]


def _pair_metrics(pairs: Iterable[Pair], gpus: Mapping[int, Gpu]) -> list[_Metric]:
    verdict = _Metric("pair_verdict", "Verdict of an ordered pair: 1 for the one that holds.")
    reason = _Metric("pair_reason", "A reason for a pair's verdict, by its code; always 1.")
    check = _Metric("pair_check_passed", "Whether a check of the data passed; none if not run.")
    rate = _Metric("pair_bandwidth_bytes_per_second", "Bandwidth of a pair, by how it was moved.")
    ceiling = _Metric(
        "pair_bandwidth_ceiling_bytes_per_second",
        "What the slowest link of the pair's path can carry in one direction.",
    )
    nccl = _Metric("pair_nccl_would_use", "Whether NCCL's own rules let it use the pair directly.")
    latency = _Metric("pair_latency_seconds", "Latency of a pair, by how it was measured.")
    for pair in _first_of_each(pairs):
        ends = _ends(pair, gpus)
        for name in PAIR_VERDICTS:
            verdict.add(name == pair.verdict, {**ends, "verdict": name})
        for code in pair.reasons:
            reason.add(1, {**ends, "reason": code})
        states = pair.correctness.states()
        for name in CHECKS:
            if states[name] != NOT_RUN:
                check.add(states[name] == PASSED, {**ends, "check": name})
        for way in WAYS:
            rates = getattr(pair.bandwidth, way)
            for direction, value in (("unidirectional", rates.uni), ("bidirectional", rates.bidi)):
                rate.add(
                    _scaled(value, _GIGA),
                    {
                        **ends,
                        "peer_access": "off" if way == "off" else "on",
                        "method": _METHODS.get(way, way),
                        "direction": direction,
                    },
                )
        nccl.add(pair.nccl.would_use, ends)
        ceiling.add(_scaled(pair.bandwidth.ceiling, _GIGA), ends)
        for kind, access, value in (
            ("queued_copy", "off", pair.latency.off),
            ("queued_copy", "on", pair.latency.on),
            ("pointer_chase", "on", pair.latency.pointer_chase),
            ("ping_pong", "on", pair.latency.ping_pong),
        ):
            latency.add(_scaled(value, _MICRO), {**ends, "kind": kind, "peer_access": access})
    return [verdict, reason, check, nccl, rate, ceiling, latency]


def _group_metrics(result: Result, gpus: Mapping[int, Gpu]) -> list[_Metric]:
    """Return what groups move with every GPU writing to every other at once."""
    total = _Metric(
        "group_bandwidth_bytes_per_second", "What all pairs of a group move together, all at once."
    )
    each = _Metric(
        "group_gpu_bandwidth_bytes_per_second", "What a GPU writes to all others, all at once."
    )
    pair = _Metric(
        "group_pair_bandwidth_bytes_per_second",
        "What a pair of a group moves one way: while all do, and alone (the median of its pairs).",
    )
    ceiling = _Metric(
        "group_bandwidth_ceiling_bytes_per_second", "What the group's links carry, all at once."
    )
    sharing = _Metric(
        "group_bottleneck_pairs", "How many ordered pairs cross the link that sets the ceiling."
    )
    right = _Metric(
        "group_data_right", "Whether what all wrote at once was right; none if not run."
    )
    for group in result.all_to_all:
        labels = {"gpus": ",".join(str(gpu) for gpu in group.gpus)}
        total.add(_scaled(group.total, _GIGA), labels)
        for index, rate in group.per_gpu.items():
            each.add(rate * _GIGA, {**labels, "gpu": str(index), "uuid": gpus[index].uuid})
        pair.add(_scaled(group.per_pair, _GIGA), {**labels, "traffic": "all_at_once"})
        pair.add(_scaled(_alone(result, group), _GIGA), {**labels, "traffic": "alone"})
        ceiling.add(_scaled(group.ceiling, _GIGA), labels)
        if group.bottleneck is not None and group.sharing is not None:
            sharing.add(group.sharing, {**labels, "link": group.bottleneck})
        if group.data != NOT_RUN:
            right.add(group.data == PASSED, labels)
    return [total, each, pair, ceiling, sharing, right]


def _alone(result: Result, group: AllToAll) -> float | None:
    rates = [
        pair.bandwidth.on.uni
        for pair in result.pairs
        if {pair.source, pair.target} <= set(group.gpus) and pair.bandwidth.on.uni is not None
    ]
    return median(rates) if rates else None


def _first_of_each(pairs: Iterable[Pair]) -> Iterator[Pair]:
    seen = set()
    for pair in pairs:
        if (pair.source, pair.target) not in seen:
            seen.add((pair.source, pair.target))
            yield pair


def _ends(pair: Pair, gpus: Mapping[int, Gpu]) -> dict[str, str]:
    return {
        "source": str(pair.source),
        "target": str(pair.target),
        "source_uuid": gpus[pair.source].uuid,
        "target_uuid": gpus[pair.target].uuid,
    }


def _scaled(value: float | None, factor: float) -> float | None:
    return None if value is None else value * factor


def _number(value: float) -> str:
    """Return a value as the format spells it, which is not C's way for infinity."""
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return "NaN" if math.isnan(value) else repr(value)


def _unicode(text: str) -> str:
    """Return text that has a UTF-8: a lone surrogate can come out of a JSON file."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
