# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The result survives the way through JSON, and what is not one is refused by its place."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from ansible_collections.gpufleet.p2p.plugins.module_utils._p2p import result as schema
from ansible_collections.gpufleet.p2p.plugins.module_utils._p2p.decode import (
    MalformedResult,
    Reader,
)
from ansible_collections.gpufleet.p2p.plugins.module_utils._p2p.result import Result
from hypothesis import given
from hypothesis import strategies as st

TEXT = st.text(max_size=12)
MAYBE_TEXT = st.none() | TEXT
AMOUNT = st.none() | st.floats(0, 1e6)
NUMBER = st.none() | st.floats(0, 1e6, allow_nan=False)
COUNT = st.none() | st.integers(0, 2**40)
SMALL = st.none() | st.integers(0, 64)
STATE = st.sampled_from(schema.CHECK_STATES)
INDEX = st.integers(0, 3)

PROCESS = st.builds(schema.GpuProcess, st.integers(1, 99999), TEXT, COUNT)
LINK = st.builds(schema.GpuLink, SMALL, SMALL, st.booleans(), SMALL, SMALL)
HOP = st.builds(schema.Hop, TEXT, SMALL, SMALL, SMALL, SMALL, st.lists(TEXT).map(tuple))
TEXTS = st.lists(TEXT, max_size=2).map(tuple)
STATE_OF_GPU = st.builds(
    schema.GpuState,
    TEXT,
    st.booleans(),
    st.none() | st.booleans(),
    st.booleans(),
    TEXTS,
    TEXTS,
    st.integers(0, 18),
    st.integers(0, 18),
)
RATE = st.floats(0, 1e6)
SPREAD = st.none() | st.floats(0, 1)
RATES = st.one_of(
    st.builds(schema.Rates, RATE, RATE, SPREAD, SPREAD),
    st.builds(schema.Rates, RATE, st.none(), SPREAD, st.none()),
    st.just(schema.Rates()),
)
PAIR = st.builds(
    schema.Pair,
    source=INDEX,
    target=INDEX,
    path=TEXT,
    hops=st.lists(HOP, max_size=3).map(tuple),
    capability=st.builds(schema.Capability, st.none() | st.booleans(), MAYBE_TEXT, MAYBE_TEXT),
    correctness=st.builds(
        schema.Correctness, STATE, STATE, STATE, STATE, STATE, COUNT, STATE, COUNT
    ),
    bandwidth=st.builds(
        schema.Bandwidth,
        *(RATES for _way in schema.WAYS),
        ceiling=NUMBER,
        fraction=NUMBER,
        payload_bytes=COUNT,
        payload_assumed=st.booleans(),
    ),
    latency=st.builds(schema.Latency, NUMBER, NUMBER, NUMBER, NUMBER),
    verdict=st.sampled_from(schema.PAIR_VERDICTS),
    reasons=st.lists(TEXT, max_size=3).map(tuple),
    detail=TEXT,
    nccl=st.builds(schema.NcclUse, st.none() | st.booleans(), TEXT),
)
RESULT = st.builds(
    Result,
    host=TEXT,
    driver=st.builds(schema.Driver, MAYBE_TEXT, MAYBE_TEXT, st.none() | st.booleans()),
    kernel=TEXT,
    cmdline=TEXT,
    iommu_groups=st.dictionaries(TEXT, TEXT, max_size=3),
    gpus=st.tuples(
        *(
            st.builds(
                schema.Gpu,
                index=st.just(index),
                uuid=TEXT,
                bdf=TEXT,
                name=TEXT,
                compute_capability=MAYBE_TEXT,
                generation=MAYBE_TEXT,
                memory_bytes=COUNT,
                bar1_bytes=COUNT,
                link=LINK,
                numa_node=SMALL,
                display=st.booleans(),
                processes=st.lists(PROCESS, max_size=2).map(tuple),
                state=STATE_OF_GPU,
                counters=st.builds(schema.GpuCounters, COUNT, COUNT, COUNT),
            )
            for index in range(4)
        )
    ),
    pairs=st.lists(PAIR, max_size=3).map(tuple),
    groups=st.lists(st.lists(INDEX, max_size=4).map(tuple), max_size=2).map(tuple),
    causes=st.lists(st.builds(schema.Cause, TEXT, TEXT, TEXT), max_size=2).map(tuple),
    verdict=st.sampled_from(schema.HOST_VERDICTS),
    buffer_bytes=st.integers(0, 2**40),
    wall_seconds=st.floats(0, 1e6, allow_nan=False),
    notes=st.lists(st.builds(schema.Cause, TEXT, TEXT, TEXT), max_size=2).map(tuple),
    all_to_all=st.lists(
        st.builds(
            schema.AllToAll,
            gpus=st.just((0, 1, 3)),
            total=AMOUNT,
            spread=AMOUNT,
            per_gpu=st.dictionaries(st.sampled_from((0, 1, 3)), st.floats(0, 1e6)),
            ceiling=AMOUNT,
            fraction=AMOUNT,
            bottleneck=MAYBE_TEXT,
            sharing=SMALL,
            data=STATE,
            detail=TEXT,
        ),
        max_size=2,
    ).map(tuple),
)


@given(RESULT)
def test_round_trip_through_json(result: Result) -> None:
    assert Result.from_dict(json.loads(json.dumps(result.to_dict()))) == result


SAMPLE: dict[str, Any] = {
    "schema": 1,
    "host": "gpu07",
    "driver": {"version": "595.58.03", "build_id": None, "patched": None},
    "kernel": "6.1.0",
    "cmdline": "ro",
    "iommu": {"gpu_groups": {}},
    "gpus": [],
    "pairs": [],
    "groups": [],
    "causes": [],
    "verdict": "fail",
    "buffer_bytes": 0,
    "wall_seconds": 0.5,
    "notes": [],
    "all_to_all": [],
}
TOGETHER: dict[str, Any] = {
    "gpus": [0, 1],
    "unit": "GB/s",
    "total": 100.0,
    "spread": None,
    "per_gpu": {"0": 50.0, "1": 50.0},
    "ceiling": None,
    "fraction": None,
    "bottleneck": None,
    "sharing": None,
    "data": "not_run",
    "detail": "",
}


def changed(**changes: object) -> dict[str, Any]:
    return {**copy.deepcopy(SAMPLE), **changes}


def test_the_sample_is_one() -> None:
    assert Result.from_dict(SAMPLE).to_dict() == SAMPLE


def test_a_record_from_before_notes_were_added_has_none() -> None:
    record = changed()
    del record["notes"]
    assert Result.from_dict(record).notes == ()


@pytest.mark.parametrize(
    ("record", "place"),
    [
        (changed(schema=2), "schema"),
        (changed(schema=True), "schema"),
        (changed(verdict="good"), "verdict"),
        (changed(pairs={}), "pairs"),
        (changed(pairs=[1]), "pairs[0]"),
        (changed(groups=[[0, 1]]), "group [0, 1]"),
        (changed(groups=[["a"]]), "groups[0].group[0]"),
        (changed(driver={"version": 5, "build_id": None, "patched": None}), "driver.version"),
        (changed(iommu={"gpu_groups": {"0000:01:00.0": None}}), "iommu.gpu_groups.0000:01:00.0"),
        (changed(wall_seconds="1"), "wall_seconds"),
        (changed(notes=[{"code": "a", "evidence": "b"}]), "notes[0]"),
        (changed(all_to_all=[TOGETHER]), "all_to_all [0, 1]"),
        (changed(all_to_all=[{**TOGETHER, "total": -1.0}]), "all_to_all[0].total"),
        (changed(all_to_all=[{**TOGETHER, "per_gpu": {"2": 1.0}}]), "all_to_all[0].per_gpu"),
        (changed(all_to_all=[{**TOGETHER, "per_gpu": [1.0]}]), "all_to_all[0].per_gpu"),
        (changed(all_to_all=[{**TOGETHER, "data": "good"}]), "all_to_all[0].data"),
        ([], "the record"),
        ({}, "the record"),
    ],
)
def test_what_is_wrong_is_named_by_its_place(record: object, place: str) -> None:
    with pytest.raises(MalformedResult) as caught:
        Result.from_dict(record)
    assert caught.value.read.startswith(f"{place}:")


RATES_SAMPLE: dict[str, Any] = {"uni": 1.0, "bidi": 2, "uni_spread": 0.1, "bidi_spread": None}


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"uni": "1"}, "sm_read.uni"),
        ({"uni": -1}, "sm_read.uni"),
        ({"bidi": float("nan")}, "sm_read.bidi"),
        ({"uni_spread": -0.01}, "sm_read.uni_spread"),
        ({"uni_spread": float("inf")}, "sm_read.uni_spread"),
        ({"bidi_spread": True}, "sm_read.bidi_spread"),
        ({"uni": None}, "sm_read.uni_spread"),
    ],
)
def test_rates_that_cannot_be_are_refused(change: dict[str, Any], place: str) -> None:
    assert schema.Rates.read(Reader(RATES_SAMPLE, "")).to_dict() == RATES_SAMPLE
    with pytest.raises(MalformedResult) as caught:
        schema.Rates.read(Reader({**RATES_SAMPLE, **change}, "sm_read"))
    assert caught.value.read.startswith(f"{place}:")


def test_every_way_of_moving_data_is_wanted() -> None:
    for way in schema.WAYS:
        lacking = schema.Bandwidth().to_dict()
        del lacking[way]
        with pytest.raises(MalformedResult, match=f"key {way}"):
            schema.Bandwidth.read(Reader(lacking, "bandwidth"))


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from([*SAMPLE, "from"]), inner),
    )
)
def test_any_json_is_read_or_refused(data: object) -> None:
    record = {**SAMPLE, **data} if isinstance(data, dict) else data
    try:
        Result.from_dict(record)
    except MalformedResult as error:
        assert error.remedy
