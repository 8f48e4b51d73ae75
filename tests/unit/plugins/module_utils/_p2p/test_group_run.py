# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What becomes of groups whose children die or cannot be killed."""

from __future__ import annotations

import json
import os
import sys
from typing import Any

import pytest
from ansible_collections.gpufleet.p2p.plugins.module_utils._p2p import group_run
from ansible_collections.gpufleet.p2p.plugins.module_utils._p2p.all_to_all_record import AllToAll
from ansible_collections.gpufleet.p2p.plugins.module_utils._p2p.child import (
    Child,
    ChildEnd,
    child_environment,
)
from ansible_collections.gpufleet.p2p.plugins.module_utils._p2p.group_run import (
    measure_groups,
    notes_on,
    verdict_with_groups,
)

OVERLAPPING = ((0, 1, 2), (1, 2, 3))
TOLD = json.dumps(
    {
        "event": "all_to_all",
        "total": 60.0,
        "spread": 0.002,
        "per_gpu": [20.0, 20.0, 20.0],
        "data": "failed",
    }
)


def measured(
    monkeypatch: pytest.MonkeyPatch, script: str, stuck: dict[int, int]
) -> tuple[tuple[AllToAll, ...], list[str]]:
    """Return the records of two groups, and the script of each child that was started."""
    started: list[str] = []

    def command(_main: Any) -> list[str]:
        started.append(script)
        return [sys.executable, "-c", "import sys; sys.stdin.readline()\n" + script]

    monkeypatch.setattr(group_run, "child_command", command)
    ends = [(one, other) for one in range(4) for other in range(4) if one != other]
    records = measure_groups(
        OVERLAPPING,
        {},
        {pair: {} for pair in ends},
        {gpu: f"0000:0{gpu + 1}:00.0" for gpu in range(4)},
        quick=False,
        copy_bytes=None,
        child_timeout=30.0,
        limit_seconds=10.0,
        seed=1,
        environment=child_environment(os.environ),
        stuck=stuck,
    )
    return records, started


def test_a_group_that_cannot_be_killed_keeps_others_from_its_gpus(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ended = Child.end

    def end(child: Child, **how: Any) -> ChildEnd:
        ended(child, **how)
        return ChildEnd(False, True, True, None, "", 4711)

    monkeypatch.setattr(Child, "end", end)
    stuck: dict[int, int] = {}
    (record,), started = measured(monkeypatch, "pass", stuck)
    assert len(started) == 1
    assert stuck == {0: 4711, 1: 4711, 2: 4711}
    assert (
        record.detail == "killed after 30 s; process 4711 is uninterruptible (state D) and was left"
    )
    assert [note.code for note in notes_on([record])] == ["all_to_all_unmeasured"]


def test_a_group_is_not_tried_where_a_pair_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    assert measured(monkeypatch, "pass", {2: 4711}) == ((), [])


def test_a_group_that_dies_costs_its_figures_only(monkeypatch: pytest.MonkeyPatch) -> None:
    records, started = measured(monkeypatch, "sys.exit('gone')", {})
    assert len(started) == 2
    assert {record.detail for record in records} == {"the process ended with status 1: gone"}
    assert verdict_with_groups("pass", records) == "pass"


def test_wrong_data_of_a_group_fails_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    records, _started = measured(monkeypatch, f"print({TOLD!r})", {})
    assert {record.total for record in records} == {60.0}
    assert verdict_with_groups("pass", records) == "fail"
    assert [note.code for note in notes_on(records)] == ["all_to_all_wrong"] * 2
