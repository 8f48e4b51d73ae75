# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What becomes of a pair whose children die, cannot be killed, or stop halfway."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, cast

import pytest
from ansible_collections.gpufleet.p2p.plugins.module_utils._p2p import pair_run
from ansible_collections.gpufleet.p2p.plugins.module_utils._p2p.child import (
    Child,
    ChildEnd,
    child_environment,
)
from ansible_collections.gpufleet.p2p.plugins.module_utils._p2p.pair_run import PairRun, run_round
from ansible_collections.gpufleet.p2p.plugins.module_utils._p2p.protocol import Job
from ansible_collections.gpufleet.p2p.plugins.module_utils._p2p.subjects import Subject

LIMIT_SECONDS = 30.0
RIGHT = dict.fromkeys(("copy_write", "copy_read", "sm_write", "sm_read", "ping_pong"), "passed")


def told(direction: tuple[int, int], event: str, **content: object) -> str:
    line = {"event": event, "from": direction[0], "to": direction[1], **content}
    return f"print({json.dumps(line)!r}, flush=True)"


def judged(direction: tuple[int, int]) -> str:
    return told(
        direction,
        "judgement",
        **RIGHT,
        ipc="not_run",
        first_bad_offset=None,
        pattern_bytes=1,
        code=None,
        detail="",
        payload_bytes=1,
    )


def rated(direction: tuple[int, int]) -> str:
    return told(direction, "rate", name="on_uni", value=1.0, spread=None)


def pair_of(stuck: dict[int, int], jobs: list[tuple[tuple[int, int], ...]]) -> PairRun:
    """Return a pair of GPUs 3 and 5 that notes the directions of each child it starts."""

    def job_of(directions: Sequence[tuple[int, int]]) -> Job:
        jobs.append(tuple(directions))
        return Job(
            addresses=("0000:01:00.0", "0000:02:00.0"),
            directions=tuple(directions),
            payload_bytes=1,
            copy_bytes=1,
            limit_seconds=1.0,
            quick=True,
            seed=1,
        )

    ends = (SimpleNamespace(index=3), SimpleNamespace(index=5))
    return PairRun(
        cast("tuple[Subject, Subject]", ends),
        job_of=job_of,
        child_timeout=LIMIT_SECONDS,
        environment=child_environment(os.environ),
        stuck=stuck,
        on_load=lambda: None,
        ipc_beside=False,
    )


@pytest.fixture(name="scripts")
def _scripts(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    """Return what the children to come run, by kind, each list in order."""
    scripts: dict[str, list[str]] = {"worker": [], "ipc": []}

    def command(main: Any) -> list[str]:
        kind = main.__module__.rsplit(".", 1)[1]
        return [sys.executable, "-c", "import sys; sys.stdin.readline()\n" + scripts[kind].pop(0)]

    monkeypatch.setattr(pair_run, "child_command", command)
    return scripts


def test_a_gpu_with_a_process_that_cannot_be_killed_is_left_alone() -> None:
    jobs: list[tuple[tuple[int, int], ...]] = []
    pair = pair_of({5: 4711}, jobs)
    run_round([pair], LIMIT_SECONDS)
    assert jobs == []
    for measurement in pair.measured.values():
        assert measurement.trouble == "measurement_hung"
        assert "process 4711 hangs in the kernel" in measurement.detail


def test_a_process_that_cannot_be_killed_is_remembered(
    scripts: dict[str, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = Child.end

    def end(child: Child, **how: Any) -> ChildEnd:
        ended(child, **how)
        return ChildEnd(False, True, True, None, "", 4711)

    monkeypatch.setattr(Child, "end", end)
    scripts["worker"] = [told((0, 1), "step", name="copy_write")]
    stuck: dict[int, int] = {}
    jobs: list[tuple[tuple[int, int], ...]] = []
    pair = pair_of(stuck, jobs)
    run_round([pair], LIMIT_SECONDS)
    assert stuck == {3: 4711, 5: 4711}
    assert jobs == [((0, 1), (1, 0))]
    assert "process 4711 is uninterruptible (state D)" in pair.measured[0, 1].detail
    assert pair.measured[1, 0].trouble == "measurement_hung"


def test_a_direction_that_was_right_is_measured_although_the_other_died(
    scripts: dict[str, list[str]],
) -> None:
    dies = [judged((0, 1)), told((1, 0), "step", name="sm_read"), "sys.exit('gone')"]
    measures = [
        judged((0, 1)),
        told((0, 1), "waiting"),
        "assert sys.stdin.readline().strip() == '[[0, 1]]'",
        rated((0, 1)),
        told((0, 1), "finished"),
    ]
    ipc = [told((0, 1), "ipc", state="passed", code=None, detail="", first_bad_offset=None)]
    scripts["worker"] = ["\n".join(dies), "\n".join(measures)]
    scripts["ipc"] = ["\n".join(ipc)]
    jobs: list[tuple[tuple[int, int], ...]] = []
    pair = pair_of({}, jobs)
    run_round([pair], LIMIT_SECONDS)
    assert jobs[:2] == [((0, 1), (1, 0)), ((0, 1),)]
    assert pair.measured[0, 1].rates == {"on_uni": 1.0}
    died = pair.measured[1, 0]
    assert died.trouble == "measurement_died"
    assert died.detail == "the process ended with status 1 in step sm_read: gone"


def test_an_ipc_check_that_dies_costs_its_direction(scripts: dict[str, list[str]]) -> None:
    ways = ((0, 1), (1, 0))
    scripts["worker"] = [
        "\n".join(
            [
                *(judged(way) for way in ways),
                told(ways[0], "waiting"),
                "sys.stdin.readline()",
                *(rated(way) for way in ways),
                told(ways[1], "finished"),
            ]
        )
    ]
    passed = told((1, 0), "ipc", state="passed", code=None, detail="", first_bad_offset=None)
    scripts["ipc"] = [
        told((0, 1), "step", name="ipc copy") + "\nsys.exit('lost')",
        "assert sys.stdin.readline().strip() == '[[1, 0]]'\n" + passed,
    ]
    pair = pair_of({}, [])
    run_round([pair], LIMIT_SECONDS)
    first, second = (pair.measured[way] for way in ways)
    assert (first.correctness.ipc, first.ipc_code) == ("failed", "ipc_failed")
    assert first.detail == "ipc: the process ended with status 1 in step ipc copy: lost"
    assert (second.correctness.ipc, second.ipc_code) == ("passed", None)
