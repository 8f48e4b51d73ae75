# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The fleet benchmark: what a run costs, whole, and what the figures say of it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.fleet import figures
from benchmarks.fleet.controller import Run, recap_of
from benchmarks.fleet.figures import BUILTIN, OURS

MEASURED = Path(__file__).parents[3] / "benchmarks/fleet/measured.py"
BURN = "import time\nwhile time.process_time() < {seconds}: pass\n"
RECAP = """\
TASK [Somebody prints node9 : ok=1 changed=1 unreachable=0 failed=0 skipped=0] ***

PLAY RECAP *********************************************************************
node1                      : ok=33   changed=0    unreachable=0    failed=0    skipped=9  rescued=0
node2                      : ok=2    changed=1    unreachable=1    failed=0    skipped=0  rescued=0
"""


def measure(folder: Path, program: str) -> dict[str, Any]:
    report = folder / "costs.json"
    command = [sys.executable, MEASURED, report, sys.executable, "-c", program]
    ended = subprocess.run(command, timeout=120, check=False)
    costs: dict[str, Any] = json.loads(report.read_text())
    assert ended.returncode == costs["status"]
    return costs


def test_what_outlives_the_command_is_counted_and_ended(tmp_path: Path) -> None:
    # As ssh's persistent connection does: a child that leaves its parent, works, and stays.
    started = tmp_path / "worked"
    child = BURN.format(seconds=0.3) + f"open({str(started)!r}, 'w').close()\ntime.sleep(600)\n"
    program = (
        "import os, subprocess, sys, time\n"
        f"subprocess.Popen([sys.executable, '-c', {child!r}], start_new_session=True)\n"
        f"while not os.path.exists({str(started)!r}): time.sleep(0.01)\n"
        "sys.exit(3)\n"
    )
    costs = measure(tmp_path, program)
    assert costs["status"] == 3
    assert costs["outlived"] == 1
    assert costs["user_seconds"] + costs["system_seconds"] >= 0.3


def test_the_command_itself_and_its_children_are_counted(tmp_path: Path) -> None:
    child = BURN.format(seconds=0.2)
    program = f"import subprocess, sys\nsubprocess.run([sys.executable, '-c', {child!r}])\n{child}"
    costs = measure(tmp_path, program)
    assert costs["outlived"] == 0
    assert costs["user_seconds"] + costs["system_seconds"] >= 0.4
    assert costs["wall_seconds"] >= 0.4


def test_the_recap_is_read_and_nothing_that_looks_like_it() -> None:
    recap = recap_of(RECAP)
    assert set(recap) == {"node1", "node2"}
    assert recap["node1"] == {"ok": 33, "changed": 0, "unreachable": 0, "failed": 0, "skipped": 9}
    assert recap_of("nothing ran") == {}


def test_a_run_that_changes_or_loses_a_host_is_in_trouble() -> None:
    run = Run(4, 1.0, 1.0, 0.5, recap_of(RECAP))
    assert run.cpu_seconds == 1.5
    assert run.troubles(3) == [
        "ansible-playbook ended with 4",
        "2 hosts in the recap instead of 3",
        "node2: changed=1",
        "node2: unreachable=1",
    ]
    clean = {"node1": run.recap["node1"]}
    assert Run(0, 1.0, 1.0, 0.5, clean).troubles(1) == []


def a_run(playbook: str, hosts: int, cpu_seconds: float, **more: Any) -> dict[str, Any]:
    return {
        "playbook": playbook,
        "hosts": hosts,
        "cpu_seconds": cpu_seconds,
        "wall_seconds": 60.0,
        "sessions": 6 * hosts,
        "hosts_cpu_seconds": 4.0 * hosts,
        "troubles": [],
        **more,
    }


def test_costs_are_compared_for_each_host_of_a_fleet_of_the_same_size() -> None:
    runs = [
        a_run(OURS, 50, 20.0),
        a_run(BUILTIN, 50, 80.0),
        a_run(OURS, 200, 100.0),
        a_run(BUILTIN, 200, 250.0),
    ]
    assert figures.cost_per_host(runs[0]) == pytest.approx(0.4)
    assert figures.share(runs, 50) == pytest.approx(0.25)
    assert figures.share(runs, 200) == pytest.approx(0.4)
    assert figures.growth(runs, OURS) == pytest.approx(1.25)
    assert list(figures.verdicts(runs).values()) == [True, False, False]
    lines = figures.table_lines({"runs": runs})
    assert [line.split()[:4] for line in lines[1:5]] == [
        ["site.yml", "50", "0.400", "0.250"],
        ["builtin", "tasks", "50", "1.600"],
        ["site.yml", "200", "0.500", "0.400"],
        ["builtin", "tasks", "200", "1.250"],
    ]
    assert [line[:3] for line in lines[5:]] == ["yes", "NO:", "NO:"]


def test_nothing_is_claimed_of_what_was_not_run() -> None:
    alone = [a_run(OURS, 50, 20.0, troubles=["node1: changed=1"])]
    assert figures.verdicts(alone) == {}
    assert figures.growth(alone, OURS) is None
    lines = figures.table_lines({"runs": alone}, markdown=True)
    assert lines[2].startswith("| site.yml | 50 | 0.400 |  |")
    assert lines[-1] == "site.yml, 50 hosts: node1: changed=1"
