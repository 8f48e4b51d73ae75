# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is recorded of a verification, and what is not worth recording."""

from __future__ import annotations

import json

import pytest
from ansible_collections.gpufleet.p2p.plugins.module_utils._guard.record import (
    GpuState,
    HostState,
    Record,
    RecordUnusable,
    parse,
    record_of,
)
from hypothesis import given
from hypothesis import strategies as st

STATE = HostState(
    kernel="6.1.0-56-amd64",
    parameters=("iommu=pt",),
    driver_version="595.58.03",
    build_id="ab" * 20,
    userspace_version="595.58.03",
    gpus=(GpuState("0000:01:00.0", "identity", 32 << 30),),
)
RESULT = {
    "verdict": "pass",
    "gpus": [{"index": 0, "bdf": "0000:01:00.0"}, {"index": 1, "bdf": "0000:02:00.0"}],
    "groups": [[0, 1]],
}
STATES = st.builds(
    HostState,
    kernel=st.text(),
    parameters=st.lists(st.text()).map(tuple),
    driver_version=st.none() | st.text(),
    build_id=st.none() | st.text(),
    userspace_version=st.none() | st.text(),
    gpus=st.lists(st.builds(GpuState, st.text(), st.text(), st.integers(0, 1 << 40))).map(tuple),
    registry=st.none() | st.lists(st.text()).map(tuple),
)
RECORDS = st.builds(
    Record,
    state=STATES,
    groups=st.lists(st.lists(st.text()).map(tuple)).map(tuple),
    verdict=st.sampled_from(["pass", "warn"]),
    verified_at=st.integers(0, 4_000_000_000).map(float),
)


@given(RECORDS)
def test_what_is_written_is_read_back(record: Record) -> None:
    assert parse(record.as_json().decode()) == record


@given(st.text() | st.from_regex(r"\{\"schema\": 1, \"state\": .*\}", fullmatch=True))
def test_a_damaged_file_is_no_record(text: str) -> None:
    assert parse(text) is None


def test_a_record_of_an_older_release_is_read() -> None:
    fields = json.loads(record_of(RESULT, STATE, 1).as_json())
    del fields["state"]["registry"]
    read = parse(json.dumps(fields))
    assert read is not None
    assert read.state.registry is None


def test_groups_are_told_by_address() -> None:
    record = record_of(RESULT, STATE, 1234.5)
    assert record.groups == (("0000:01:00.0", "0000:02:00.0"),)
    assert record.verified_at == 1234.0


def test_the_same_state_later_is_the_same_record() -> None:
    first, later = record_of(RESULT, STATE, 1000), record_of(RESULT, STATE, 2000)
    assert later.same_as(first)
    assert record_of({**RESULT, "verdict": "warn"}, STATE, 2000).same_as(first)
    assert not record_of({**RESULT, "groups": []}, STATE, 2000).same_as(first)
    assert not first.same_as(None)


@pytest.mark.parametrize("verdict", ["fail", None, "not_applicable"])
def test_only_what_passed_is_recorded(verdict: str | None) -> None:
    with pytest.raises(RecordUnusable):
        record_of({**RESULT, "verdict": verdict}, STATE, 1)
