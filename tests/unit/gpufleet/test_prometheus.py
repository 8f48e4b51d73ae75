# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The metrics, read back by Prometheus' own parser."""

from __future__ import annotations

from dataclasses import replace

import pytest
from ansible_collections.gpufleet.p2p.plugins.module_utils._p2p.result import AllToAll, NcclUse
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families
from support import sample_results
from support.sample_results import one_way_failure

from gpufleet.prometheus import prometheus_text

Sample = tuple[str, frozenset[tuple[str, str]]]


def parsed(text: str) -> tuple[dict[str, Metric], dict[Sample, float]]:
    """Return the families and the samples; a family or a sample told twice is an error."""
    families: dict[str, Metric] = {}
    samples: dict[Sample, float] = {}
    for family in text_string_to_metric_families(text):
        assert family.name not in families, family.name
        families[family.name] = family
        for sample in family.samples:
            key = (sample.name, frozenset(sample.labels.items()))
            assert key not in samples, key
            assert sample.timestamp is None, "the textfile collector refuses timestamps"
            samples[key] = sample.value
    return families, samples


def value(samples: dict[Sample, float], metric: str, /, **labels: str) -> float | None:
    """Return the one sample whose labels include these; None where there is none."""
    found = [
        number
        for (sample, every), number in samples.items()
        if sample == f"gpufleet_p2p_{metric}" and labels.items() <= dict(every).items()
    ]
    assert len(found) <= 1, (metric, labels)
    return found[0] if found else None


def _unmeasured(source: int, target: int) -> sample_results.Pair:
    return sample_results.pair(source, target, bandwidth=sample_results.Bandwidth())


def test_figures_are_in_base_units() -> None:
    _families, samples = parsed(prometheus_text(sample_results.result(), 1_790_000_000.5))
    ends = {"source": "0", "target": "1"}
    bandwidth = "pair_bandwidth_bytes_per_second"
    on = {**ends, "peer_access": "on", "method": "copy_write"}
    assert value(samples, bandwidth, **on, direction="unidirectional") == pytest.approx(55.225e9)
    assert value(samples, bandwidth, **on, direction="bidirectional") == pytest.approx(108.1e9)
    for number, method in enumerate(("copy_read", "sm_write", "sm_read")):
        by = {**ends, "peer_access": "on", "method": method}
        assert value(samples, bandwidth, **by, direction="unidirectional") == (50 + number) * 1e9
    off = {**ends, "peer_access": "off", "method": "staged"}
    assert value(samples, bandwidth, **off, direction="unidirectional") == pytest.approx(24.6e9)
    ceiling = "pair_bandwidth_ceiling_bytes_per_second"
    assert value(samples, ceiling, **ends) == pytest.approx(57.6e9)
    queued = {**ends, "kind": "queued_copy"}
    assert value(samples, "pair_latency_seconds", **queued, peer_access="on") == pytest.approx(
        0.58e-6
    )
    assert value(samples, "verification_timestamp_seconds") == 1_790_000_000.5
    assert value(samples, "verification_duration_seconds") == 3.5
    assert value(samples, "largest_group_gpus") == 2


def test_gpus_are_named_by_index_and_uuid() -> None:
    _families, samples = parsed(prometheus_text(sample_results.result()))
    assert value(
        samples,
        "pair_verdict",
        source="1",
        target="0",
        source_uuid=sample_results.gpu(1).uuid,
        target_uuid=sample_results.gpu(0).uuid,
        verdict="pass",
    )
    assert value(samples, "gpu_info", gpu="1", bdf="0000:1e:00.0") == 1


def test_a_failure_is_a_state_with_its_reasons_and_no_figure() -> None:
    _families, samples = parsed(prometheus_text(one_way_failure()))
    states = {name: value(samples, "verdict", verdict=name) for name in ("pass", "warn", "fail")}
    assert states == {"pass": 0, "warn": 0, "fail": 1}
    lost, good = {"source": "1", "target": "0"}, {"source": "0", "target": "1"}
    assert value(samples, "pair_verdict", **lost, verdict="fail") == 1
    assert value(samples, "pair_verdict", **good, verdict="fail") == 0
    assert value(samples, "pair_reason", **lost, reason="data_dropped") == 1
    assert value(samples, "pair_check_passed", **lost, check="copy_write") == 0
    assert value(samples, "pair_check_passed", **lost, check="copy_read") == 1
    assert value(samples, "pair_check_passed", **lost, check="sm_write") is None
    on = {**lost, "peer_access": "on", "direction": "unidirectional"}
    assert value(samples, "pair_bandwidth_bytes_per_second", **on) is None
    assert value(samples, "cause", code="iommu_translating") == 1
    assert value(samples, "largest_group_gpus") == 0
    assert value(samples, "verification_timestamp_seconds") is None


def test_nccls_own_rules_are_told_apart_from_the_verdict() -> None:
    gated = sample_results.pair(0, 1, nccl=NcclUse(False, "PHB is beyond PXB"))
    result = sample_results.result(pairs={(0, 1): gated})
    _families, samples = parsed(prometheus_text(result))
    assert value(samples, "pair_nccl_would_use", source="0", target="1") == 0
    assert value(samples, "pair_verdict", source="0", target="1", verdict="pass") == 1
    unknown = {"source": "1", "target": "0"}
    assert value(samples, "pair_nccl_would_use", **unknown) is None


def test_groups_are_told_all_at_once_and_beside_what_a_pair_reaches_alone() -> None:
    group = AllToAll(
        (0, 1, 2),
        total=120.0,
        per_gpu={0: 40.0, 1: 41.0, 2: 42.0},
        ceiling=150.0,
        bottleneck="0000:40:01.0 up",
        sharing=4,
        data="failed",
    )
    _families, samples = parsed(prometheus_text(sample_results.result(3, all_to_all=(group,))))
    gpus = {"gpus": "0,1,2"}
    assert value(samples, "group_bandwidth_bytes_per_second", **gpus) == 120e9
    pair = "group_pair_bandwidth_bytes_per_second"
    assert value(samples, pair, **gpus, traffic="all_at_once") == 20e9
    # The median of 55.225, 55.325, 56.125, 56.325, 57.125 and 57.225.
    assert value(samples, pair, **gpus, traffic="alone") == pytest.approx(56.225e9)
    second = {"gpu": "1", "uuid": sample_results.gpu(1).uuid}
    assert value(samples, "group_gpu_bandwidth_bytes_per_second", **gpus, **second) == 41e9
    assert value(samples, "group_bandwidth_ceiling_bytes_per_second", **gpus) == 150e9
    assert value(samples, "group_bottleneck_pairs", **gpus, link="0000:40:01.0 up") == 4
    assert value(samples, "group_data_right", **gpus) == 0


def test_a_group_that_was_not_measured_has_no_figure() -> None:
    dead = AllToAll((0, 1), detail="killed after 60 s")
    lost = sample_results.result(all_to_all=(dead,), make=_unmeasured)
    families, _samples = parsed(prometheus_text(lost))
    assert not [name for name in families if name.startswith("gpufleet_p2p_group_")]


def test_notes_are_told_by_code() -> None:
    notes = (sample_results.Cause("nccl_gate", "a", "b"), sample_results.Cause("x", "", ""))
    _families, samples = parsed(prometheus_text(sample_results.result(notes=notes)))
    assert value(samples, "note", code="nccl_gate") == 1
    assert value(samples, "note", code="x") == 1


def test_names_end_in_a_base_unit_and_every_family_says_what_it_is() -> None:
    families, _samples = parsed(prometheus_text(one_way_failure(), 0.0))
    assert families
    for name, family in families.items():
        assert name.startswith("gpufleet_p2p_")
        assert family.documentation
        assert family.type == "gauge"
        assert not name.endswith(("_total", "_us", "_gbps", "_milliseconds"))
        if "bandwidth" in name:
            assert name.endswith("_bytes_per_second")
        if "latency" in name or "duration" in name or "timestamp" in name:
            assert name.endswith("_seconds")


TEXT = st.text(st.characters() | st.characters(categories=["Cs"]), max_size=8)


@given(
    name=TEXT,
    uuid=TEXT,
    reasons=st.lists(TEXT, max_size=3),
    codes=st.lists(TEXT, max_size=3),
    seconds=st.floats(allow_nan=False),
)
def test_whatever_a_host_calls_itself_comes_back(
    name: str, uuid: str, reasons: list[str], codes: list[str], seconds: float
) -> None:
    result = sample_results.result(
        gpus=(sample_results.gpu(0, name=name, uuid=uuid), sample_results.gpu(1, uuid=uuid)),
        pairs={(0, 1): sample_results.pair(0, 1, reasons=tuple(reasons))},
        causes=tuple(sample_results.Cause(code, "", "") for code in codes),
        wall_seconds=seconds,
    )
    _families, samples = parsed(prometheus_text(result))
    encoded = name.encode("utf-8", "replace").decode("utf-8")
    assert value(samples, "gpu_info", gpu="0", name=encoded) == 1
    assert value(samples, "verification_duration_seconds") == seconds


def test_a_pair_told_twice_is_told_once() -> None:
    result = sample_results.result()
    parsed(prometheus_text(replace(result, pairs=(*result.pairs, *result.pairs))))
