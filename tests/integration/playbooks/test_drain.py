# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hosts are drained where something is interrupted, restored where they are healthy, else not.

site.yml and rollback.yml run with their roles on doubles of hosts (support/staged_fleet); the
modules that drain and what they note are the product's own, scontrol is a double.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.staged_fleet import StagedFleet

SLURM = {"method": "slurm", "timeout": 60}
JOB = [{"pid": 4711, "name": "train"}]
WORKING = {"drained": False, "reason": "", "jobs": 2}

#: By host: how it begins, what is done to its node, and the standing that its record has.
HOSTS: dict[str, tuple[dict[str, Any], list[str], str | None]] = {
    "idle": ({}, ["drained", "resumed"], "restored"),
    "working": ({"processes": JOB, "scheduler": WORKING}, ["drained", "resumed"], "restored"),
    "theirs": ({"scheduler": {**WORKING, "drained": True, "reason": "fan"}}, [], "other"),
    "unhealthy": ({"fault": "stock driver"}, ["drained"], "drained"),
    "wrong": ({"fault": "verdict"}, ["drained"], "drained"),
    "broken": ({"fault": "driver installed"}, [], None),
    "stubborn": ({"processes": JOB}, ["drained", "resumed"], "restored"),
}


def node_changes(fleet: StagedFleet, host: str) -> list[str]:
    """Return what was done to the host's node."""
    return [entry for entry in fleet.host(host)["journal"] if entry in ("drained", "resumed")]


def note(fleet: StagedFleet, host: str) -> bool:
    """Return whether the host has the note that gpufleet drained it."""
    return (fleet.root(host) / "var/lib/gpufleet/drain.json").exists()


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> StagedFleet:
    """Return a fleet of one batch that site.yml was run on."""
    folder = tmp_path_factory.mktemp("fleet")
    fleet = StagedFleet(
        folder, list(HOSTS), p2p_serial=["100%"], p2p_drain=SLURM, drain_poll_seconds=1
    )
    for name, (begin, _changes, _state) in HOSTS.items():
        fleet.set(name, **begin)
    ended = fleet.run()
    assert ended.code != 0, ended
    return fleet


@pytest.mark.parametrize("host", HOSTS)
def test_what_is_done_to_the_node_and_told_of_it(fleet: StagedFleet, host: str) -> None:
    _begin, changes, state = HOSTS[host]
    assert node_changes(fleet, host) == changes
    drain = fleet.record(host)["drain"]
    assert (drain and drain["state"]) == state
    assert note(fleet, host) is (state == "drained")


def test_a_host_is_drained_before_it_is_restarted_and_restored_when_verified(
    fleet: StagedFleet,
) -> None:
    journal = fleet.host("working")["journal"]
    order = ["drained", "restarted", "verified", "resumed"]
    assert [entry for entry in journal if entry in order] == order
    assert fleet.host("working")["ended"] == []


def test_what_is_still_on_the_gpus_is_not_killed(fleet: StagedFleet) -> None:
    assert fleet.record("stubborn")["failure"]["code"] == "gpus_busy"
    assert "restarted" not in fleet.host("stubborn")["journal"]
    assert fleet.host("stubborn")["processes"] == JOB


def test_the_report_names_a_host_that_stays_drained(fleet: StagedFleet) -> None:
    page = (fleet.folder / "report/report.html").read_text()
    assert page.count("host_drained") == 2
    assert "drained by gpufleet (slurm wrong) since" in page


def test_a_host_drained_by_another_stays_so(fleet: StagedFleet) -> None:
    assert fleet.host("theirs")["scheduler"]["reason"] == "fan"
    assert fleet.is_converged("theirs")


def test_the_next_run_restores_a_host_that_was_mended(fleet: StagedFleet) -> None:
    fleet.set("wrong", fault=None, journal=[])
    ended = fleet.run("--limit", "wrong,localhost")
    assert ended.code == 0, ended
    assert fleet.host("wrong")["journal"] == ["verified", "guard present", "resumed"]
    assert not note(fleet, "wrong")


def test_a_converged_host_is_left_alone(fleet: StagedFleet) -> None:
    fleet.set("idle", journal=[])
    ended = fleet.run("--limit", "idle,localhost")
    assert ended.code == 0, ended
    assert fleet.host("idle")["journal"] == ["verified"]
    assert fleet.record("idle")["drain"] is None


def test_rollback_drains_and_restores(fleet: StagedFleet) -> None:
    fleet.set("idle", journal=[])
    ended = fleet.run("--limit", "idle,localhost", playbook="rollback")
    assert ended.code == 0, ended
    journal = fleet.host("idle")["journal"]
    assert journal[-3:] == ["drained", "restarted", "resumed"]
    assert not (fleet.root("idle") / "var/lib/gpufleet").exists()


def test_check_mode_says_what_it_would_do(tmp_path: Path) -> None:
    fleet = StagedFleet(tmp_path, ["one"], p2p_drain=SLURM)
    fleet.set("one", scheduler=WORKING, processes=JOB)
    ended = fleet.run("--check")
    assert ended.code == 0, ended
    assert fleet.host("one")["journal"] == []
    assert not note(fleet, "one")
    task = "TASK [gpufleet.p2p.drain : Keep new work away, and wait until the old has ended]"
    said = ended.text.partition(task)[2].partition("TASK")[0]
    assert "changed: [one" in said, ended


def test_hooks_that_cannot_work_are_refused_before_any_change(tmp_path: Path) -> None:
    hooks = {
        "method": "slurm",
        "node": "{{ 'gpu[1-9]' if inventory_hostname == 'range' else 'x' }}",
    }
    codes = {"range": "drain_invalid", "unknown": "command_failed"}
    fleet = StagedFleet(tmp_path, list(codes), p2p_drain=hooks)
    ended = fleet.run()
    assert ended.code != 0, ended
    for host, code in codes.items():
        assert fleet.record(host)["outcome"] == "refused"
        assert fleet.record(host)["failure"]["code"] == code
        assert fleet.host(host)["journal"] == []
