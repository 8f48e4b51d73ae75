# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Registry keys through site.yml and rollback.yml: set once, in force by one restart, taken away.

Where the driver alone has to be loaded anew, that takes no restart unless something uses it.

The playbooks and roles are the product's own, on doubles of hosts (support/staged_fleet).
"""

from __future__ import annotations

from typing import Any

import pytest
from support.staged_fleet import StagedFleet
from support.staged_fleet.host_double import VERSION


def build(**registry: int) -> dict[str, Any]:
    return {"version": VERSION, "source": {"path": "/nowhere"}, "registry": registry}


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> StagedFleet:
    """Return a fleet after site.yml: a sound host, and one whose driver does not take the keys."""
    folder = tmp_path_factory.mktemp("fleet")
    fleet = StagedFleet(folder, ["sound", "deaf"], p2p_serial=["100%"], p2p_driver=build(RMX=1))
    fleet.set("deaf", fault="keys overlooked")
    ended = fleet.run()
    assert "boot_unhealthy" in ended.text, ended
    return fleet


def done(fleet: StagedFleet, host: str, *arguments: str, playbook: str = "site") -> list[str]:
    """Run a playbook on one host and return what it changed there."""
    fleet.forget_journals()
    ended = fleet.run("--limit", f"{host},localhost", *arguments, playbook=playbook)
    assert ended.code == 0, ended
    return fleet.journals()[host]


def test_keys_come_with_the_driver_and_one_restart(fleet: StagedFleet) -> None:
    first = fleet.journals()["sound"]
    assert first.index("driver installed") < first.index("keys set") < first.index("restarted")
    assert first.count("restarted") == 1
    assert fleet.host("sound")["running"]["keys"] == {"RMX": 1}


def test_a_driver_that_comes_up_without_them_is_not_healthy(fleet: StagedFleet) -> None:
    failure = fleet.record("deaf")["failure"]
    assert failure["code"] == "boot_unhealthy"
    assert "RMX" in failure["read"]


def test_other_keys_cost_no_restart_where_nothing_uses_the_driver(fleet: StagedFleet) -> None:
    fleet.variables["p2p_driver"] = build(RMX=2)
    assert done(fleet, "sound")[:2] == ["keys set", "exchanged"]
    assert fleet.host("sound")["running"]["keys"] == {"RMX": 2}
    assert fleet.record("sound")["reboot"]["count"] == 0


def test_other_keys_cost_one_restart_where_a_program_uses_it(fleet: StagedFleet) -> None:
    fleet.variables["p2p_driver"] = build(RMX=3)
    fleet.set("sound", processes=[{"pid": 1, "name": "train"}])
    assert done(fleet, "sound", "-e", '{"p2p_allow_busy": true}')[:2] == ["keys set", "restarted"]
    assert fleet.host("sound")["running"]["keys"] == {"RMX": 3}
    fleet.variables["p2p_driver"] = build(RMX=4)
    assert done(fleet, "sound", "-e", '{"p2p_swap": false}')[:2] == ["keys set", "restarted"]


def test_they_go_with_the_driver(fleet: StagedFleet) -> None:
    undone = done(fleet, "sound", "-e", "p2p_driver_state=disabled")
    assert "exchanged" in undone and "restarted" not in undone
    assert fleet.host("sound")["running"]["keys"] == {}


def test_rollback_takes_them_away_before_the_driver(fleet: StagedFleet) -> None:
    undone = done(fleet, "deaf", playbook="rollback")
    assert undone.index("keys taken away") < undone.index("driver absent")
    assert undone.count("restarted") == 1
