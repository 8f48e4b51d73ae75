# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A controller that dies at any change of a host leaves it so that the next run goes on from there.

site.yml and rollback.yml run with their roles on doubles of hosts (support/staged_fleet). At each
place the controller and all it started are killed, and every run begins where the one before was.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support.staged_fleet import StagedFleet

DRAIN = {"p2p_drain": {"method": "slurm", "timeout": 60}}
#: Every change that site.yml makes to a host, in order.
CHANGES = (
    "driver trial begun",
    "driver installed",
    "trial staged",
    "drained",
    "restarted",
    "trial confirmed",
    "driver trial ended",
    "verified",
    "guard present",
    "resumed",
)
#: Where the controller is killed. Before a change is as after the one before it, but where
#: something is noted in between: that the host is drained, and that it is interrupted now.
KILLS = (
    "after:driver trial begun",
    "after:driver installed",
    "after:trial staged",
    "before:drained",
    "after:drained",
    "before:restarted",
    "after:restarted",
    "after:trial confirmed",
    "after:driver trial ended",
    "after:guard present",
    "after:resumed",
)
#: Every change that rollback.yml makes to a host that site.yml took to the end.
CHANGES_BACK = (
    "guard absent",
    "parameters absent",
    "driver absent",
    "drained",
    "restarted",
    "resumed",
)
KILLS_BACK = ("after:driver absent", "after:restarted")


def dies(fleet: StagedFleet, host: str, places: tuple[str, ...], playbook: str) -> None:
    """Kill the controller at each of the places."""
    for place in places:
        side, _, change = place.partition(":")
        died = fleet.run_and_die(host, place, playbook=playbook)
        assert (change in died["journal"]) is (side == "after")
        assert fleet.lock(host) is not None


def own_state(fleet: StagedFleet, host: str) -> list[str]:
    """Return what gpufleet keeps on the host for itself."""
    folder = fleet.root(host) / "var/lib/gpufleet"
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def test_killed_at_every_change_and_run_again(tmp_path: Path) -> None:
    fleet = StagedFleet(tmp_path, ["one"], **DRAIN)
    dies(fleet, "one", KILLS, "site")
    ended = fleet.run()
    assert ended.code == 0, ended
    assert fleet.is_converged("one")
    assert not fleet.host("one")["scheduler"]["drained"]
    assert own_state(fleet, "one") == []
    # A host is verified anew by every run that comes to it; all else is done once.
    journal = [entry for entry in fleet.host("one")["journal"] if entry != "verified"]
    assert journal == [change for change in CHANGES if change != "verified"]

    fleet.forget_journals()
    dies(fleet, "one", KILLS_BACK, "rollback")
    ended = fleet.run(playbook="rollback")
    assert ended.code == 0, ended
    host = fleet.host("one")
    assert host["journal"] == list(CHANGES_BACK)
    assert host["running"]["parameters"] == host["default"] == []
    assert host["running"]["build_id"] == host["installed"]
    assert own_state(fleet, "one") == []


@pytest.fixture(scope="module")
def died(tmp_path_factory: pytest.TempPathFactory) -> StagedFleet:
    """Return a fleet whose first host was drained and restarted when the controller died."""
    fleet = StagedFleet(tmp_path_factory.mktemp("fleet"), ["one", "two"], **DRAIN)
    fleet.run_and_die("one", "after:restarted")
    fleet.keep()
    return fleet


@pytest.fixture
def half_done(died: StagedFleet) -> StagedFleet:
    """Return that fleet as the dead controller left it."""
    died.back()
    return died


def everything(fleet: StagedFleet) -> dict[str, Any]:
    """Return every byte of the hosts, but for the state that is told in order."""
    files = (path for path in (fleet.folder / "hosts").rglob("*") if path.is_file())
    found: dict[str, Any] = {str(path): path.read_bytes() for path in files}
    return {
        path: json.loads(data) if path.endswith("state.json") else data
        for path, data in found.items()
    }


def test_a_check_changes_nothing(half_done: StagedFleet) -> None:
    before = everything(half_done)
    ended = half_done.run("--check", "--diff")
    assert ended.code == 0, ended
    assert everything(half_done) == before


def test_with_a_limit_only_that_host_goes_on(half_done: StagedFleet) -> None:
    ended = half_done.run("--limit", "one,localhost")
    assert ended.code == 0, ended
    assert half_done.is_converged("one")
    assert half_done.host("two")["journal"] == []


@pytest.mark.parametrize(
    ("tags", "does", "drained"),
    [
        ("reboot", [], True),
        ("verify", ["verified", "resumed"], False),
        ("iommu,driver,reboot", ["trial confirmed", "driver trial ended", "resumed"], False),
    ],
)
def test_tags_do_what_they_name_and_give_back_only_what_was_seen_healthy(
    half_done: StagedFleet, tags: str, does: list[str], drained: bool
) -> None:
    before = len(half_done.host("one")["journal"])
    ended = half_done.run("--limit", "one,localhost", "--tags", tags)
    assert ended.code == 0, ended
    host = half_done.host("one")
    assert host["journal"][before:] == does
    assert host["scheduler"]["drained"] is drained
    assert half_done.lock("one") is None
    assert half_done.record("one")["drain"]["state"] == ("drained" if drained else "restored")


def test_another_controller_waits_for_the_lease_or_is_told(half_done: StagedFleet) -> None:
    refused = half_done.run("--limit", "one,localhost", controller="another")
    assert refused.code != 0, refused
    assert half_done.record("one")["failure"]["code"] == "host_locked"
    assert half_done.host("one")["scheduler"]["drained"]
    told = half_done.run(
        "--limit", "one,localhost", "-e", "p2p_break_lock=true", controller="another"
    )
    assert told.code == 0, told
    assert half_done.is_converged("one")
    assert not half_done.host("one")["scheduler"]["drained"]
