# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Records go to JSON and come back the same; what is malformed is refused by its place."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpufleet.results import (
    OUTCOMES,
    DriverWork,
    Failure,
    Gate,
    HostRecord,
    MalformedResult,
    Reboots,
    Result,
)

FIXTURES = Path(__file__).parents[1] / "roles/report/fixtures"
SAMPLES = [
    record
    for path in sorted(FIXTURES.glob("*.json"))
    for record in json.loads(path.read_text(encoding="utf-8"))
]
VERIFICATIONS = [Result.from_dict(record["verify"]) for record in SAMPLES if record.get("verify")]

WORDS = st.text(max_size=12)
MAYBE_WORDS = st.none() | WORDS
RECORDS = st.builds(
    HostRecord,
    host=WORDS,
    outcome=st.sampled_from(OUTCOMES),
    started=MAYBE_WORDS,
    finished=MAYBE_WORDS,
    gates=st.lists(st.builds(Gate, WORDS, st.booleans(), WORDS, WORDS, WORDS), max_size=3).map(
        tuple
    ),
    facts=st.dictionaries(WORDS, st.integers() | WORDS, max_size=3),
    driver=st.builds(
        DriverWork,
        st.booleans(),
        st.booleans(),
        MAYBE_WORDS,
        MAYBE_WORDS,
        st.none() | st.dictionaries(WORDS, WORDS, max_size=2),
    ),
    reboot=st.builds(Reboots, st.integers(0, 9), st.lists(WORDS, max_size=2).map(tuple)),
    verify=st.none() | st.sampled_from(VERIFICATIONS),
    failure=st.none() | st.builds(Failure, WORDS, WORDS, WORDS, WORDS),
)


@given(RECORDS)
def test_round_trip(record: HostRecord) -> None:
    assert HostRecord.from_dict(json.loads(json.dumps(record.to_dict()))) == record


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: str(sample["host"]))
def test_samples_are_read(sample: dict[str, Any]) -> None:
    record = HostRecord.from_dict(sample)
    assert (record.host, record.outcome) == (sample["host"], sample["outcome"])
    assert (record.verify is None) == (sample.get("verify") is None)


def test_parts_that_a_host_never_came_to_may_be_missing() -> None:
    record = HostRecord.from_dict({"schema": 1, "host": "a", "outcome": "unreachable"})
    assert record == HostRecord("a", "unreachable")


@pytest.mark.parametrize(
    ("damage", "place"),
    [
        ({"schema": 2}, "schema"),
        ({"outcome": "splendid"}, "outcome"),
        ({"host": 7}, "host"),
        ({"gates": [{"name": "x"}]}, "gates[0]"),
        ({"facts": []}, "facts"),
        ({"reboot": {"count": "one"}}, "count"),
        ({"failure": {"code": "x"}}, "failure"),
        ({"verify": {"schema": 1}}, "the record"),
    ],
)
def test_malformed_record_is_refused_by_its_place(damage: dict[str, Any], place: str) -> None:
    good = {"schema": 1, "host": "a", "outcome": "verified"}
    with pytest.raises(MalformedResult) as refusal:
        HostRecord.from_dict({**good, **damage})
    assert place in refusal.value.read


def test_file_that_is_no_json_is_refused_by_its_path(tmp_path: Path) -> None:
    path = tmp_path / "alpha.json"
    path.write_text("{", encoding="utf-8")
    with pytest.raises(MalformedResult) as refusal:
        HostRecord.from_file(path)
    assert "alpha.json" in refusal.value.read
