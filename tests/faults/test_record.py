# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The record grows, is read back whole, and counts as it says."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from faults.record import Outcome, Record, RecordInvalid, read_record, table

KEPT = Outcome(
    id="a/product/bookworm/1",
    kind="a",
    subject="product",
    release="bookworm",
    where={"step": "stage", "entry": 1},
    reached=True,
    driver="old",
    detail="",
    seconds=61.5,
    judged="disk",
)
UNREACHED = replace(KEPT, id="a/update_grub/bookworm/1", subject="update_grub", reached=False)
BARE = replace(KEPT, id="b/product/trixie/1", kind="b", release="trixie", driver="none")


@pytest.mark.parametrize(
    ("reached", "driver", "lost"),
    [
        *((True, "old", False), (True, "new", False)),
        *((True, "mixed", True), (True, "none", True), (False, "", True)),
    ],
)
def test_lost_is_unreachable_or_without_either_driver(
    reached: bool, driver: str, lost: bool
) -> None:
    assert replace(KEPT, reached=reached, driver=driver).lost is lost


def test_the_summary_counts_product_and_controls_apart() -> None:
    record = Record([KEPT, UNREACHED, BARE, replace(KEPT, id="x", judged="boot", healed=False)])
    assert record.summary() == {
        "faults": 3,
        "kinds": 2,
        "releases": ["bookworm", "trixie"],
        "hosts_lost": 1,
        "reruns": 1,
        "reruns_that_did_not_heal": 1,
        "control_faults": 1,
        "controls_lost": 1,
        "booted": 1,
    }


def test_what_another_product_did_on_a_release_is_forgotten() -> None:
    record = Record([KEPT, BARE], [{"release": "bookworm", "product": "one"}])
    record.begin("bookworm", "one")
    assert record.outcomes == [KEPT, BARE]
    record.begin("bookworm", "two")
    assert record.outcomes == [BARE]
    assert record.runs == [{"release": "bookworm", "product": "two"}]


def test_a_record_is_read_back_and_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    assert read_record(path) == Record()
    record = Record([KEPT, UNREACHED], [{"release": "bookworm", "product": "one"}])
    record.write(path)
    again = read_record(path)
    assert again == record
    again.add(replace(KEPT, healed=True))
    again.add(BARE)
    assert len(again.outcomes) == 3
    assert again.ids() == {KEPT.id, UNREACHED.id, BARE.id}
    again.write(path)
    document = json.loads(path.read_text())
    assert document["summary"]["hosts_lost"] == 1
    assert [fault["lost"] for fault in document["faults"]] == [False, True, True]


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"schema": 2}', '{"schema": 1, "faults": [{}]}'])
def test_another_file_is_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    path.write_text(text)
    with pytest.raises(RecordInvalid):
        read_record(path)


def test_the_table_has_a_line_for_each_kind() -> None:
    assert table([KEPT, UNREACHED, BARE]).splitlines() == [
        "hosts lost of hosts faulted",
        "kind  product  update_grub",
        "a      0 of 1       1 of 1",
        "b      1 of 1            -",
        "all    1 of 2       1 of 1",
    ]
