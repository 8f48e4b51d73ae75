# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host that fails is told by name, with what was read, wanted and what to do.

site.yml itself runs, with its roles, on doubles of hosts (support/staged_fleet).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.staged_fleet import StagedFleet
from support.staged_fleet.host_double import STOCK, bare

#: By host: what is wrong with it, the outcome, and the code that has to be told.
HOSTS: dict[str, tuple[dict[str, Any], str, str | None]] = {
    "sound": ({}, "verified", None),
    "busy": ({"processes": [{"pid": 1, "name": "train"}]}, "refused", "gpus_busy"),
    "broken": ({"fault": "driver installed"}, "failed", "driver_installed_failed"),
    "gone": ({"fault": "restarted"}, "failed", "host_not_back"),
    "stock": ({"fault": "stock driver"}, "failed", "boot_unhealthy"),
    "panics": ({"fault": "panic"}, "failed", "trial_fell_back"),
    "wrong": ({"fault": "verdict"}, "failed", "verification_failed"),
}


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> StagedFleet:
    """Return a fleet of one batch that site.yml was run on."""
    fleet = StagedFleet(tmp_path_factory.mktemp("fleet"), list(HOSTS), p2p_serial=["100%"])
    for name, (wrong, _outcome, _code) in HOSTS.items():
        fleet.set(name, **wrong)
    ended = fleet.run()
    assert ended.code != 0, ended
    return fleet


@pytest.mark.parametrize("name", HOSTS)
def test_the_record_has_the_code(fleet: StagedFleet, name: str) -> None:
    record = fleet.record(name)
    _wrong, outcome, code = HOSTS[name]
    assert record["outcome"] == outcome
    failure = record["failure"]
    assert (failure and failure["code"]) == code
    assert failure is None or all(failure[part] for part in ("read", "want", "remedy"))


def test_each_host_was_let_go(fleet: StagedFleet) -> None:
    assert [fleet.lock(name) for name in HOSTS] == [None] * len(HOSTS)


def test_a_boot_that_is_not_healthy_is_not_kept(fleet: StagedFleet) -> None:
    stock = fleet.host("stock")
    assert stock["journal"][-2:] == ["restarted", "trial abandoned"]
    assert stock["default"] == []
    # Still on trial: the next restart has the old driver.
    assert stock["driver_on_trial"]
    assert "verified" not in stock["journal"]


def test_a_host_that_fell_back_has_its_old_system_and_is_taken_there_by_the_next_run(
    tmp_path: Path,
) -> None:
    fleet = StagedFleet(tmp_path, ["host"])
    fleet.set("host", fault="panic")
    assert fleet.run().code != 0
    fallen = fleet.host("host")
    assert fallen["running"] == bare("host")["running"]
    assert (fallen["installed"], fallen["default"], fallen["trial"]) == (STOCK, [], None)
    fleet.set("host", fault=None)
    assert fleet.run().code == 0
    assert fleet.is_converged("host")


def test_a_driver_alone_is_tried_too(tmp_path: Path) -> None:
    """A converged host that loses its driver gets a trial boot of the parameters that it has."""
    fleet = StagedFleet(tmp_path, ["host"], p2p_swap=False)
    assert fleet.run().code == 0
    old = {**fleet.host("host")["running"], "build_id": STOCK}
    fleet.set("host", installed=STOCK, running=old, journal=[])
    assert fleet.run().code == 0
    journal = fleet.host("host")["journal"]
    assert journal == [
        "driver trial begun",
        "driver installed",
        "trial armed",
        "restarted",
        "trial confirmed",
        "driver trial ended",
        "verified",
    ]
    assert fleet.is_converged("host")


def test_without_a_trial_nothing_is_on_trial(tmp_path: Path) -> None:
    fleet = StagedFleet(tmp_path, ["host"], p2p_trial_boot=False)
    fleet.run()
    assert not [done for done in fleet.host("host")["journal"] if "driver trial" in done]


def test_a_driver_on_trial_goes_with_the_driver(tmp_path: Path) -> None:
    fleet = StagedFleet(tmp_path, ["host"])
    fleet.set("host", fault="stock driver")
    assert fleet.run().code != 0
    fleet.set("host", fault=None)
    assert fleet.run(playbook="rollback").code == 0
    host = fleet.host("host")
    assert (host["driver_on_trial"], host["installed"]) == (False, STOCK)


def test_after_a_failed_host_the_others_are_not_reached(tmp_path: Path) -> None:
    fleet = StagedFleet(tmp_path, ["canary", "other"])
    fleet.set("canary", fault="verdict")
    ended = fleet.run()
    assert ended.code != 0, ended
    assert fleet.host("other")["journal"] == []
    # Ansible itself ends a play whose whole batch failed; the canary's report names both.
    assert fleet.record("canary")["failure"]["code"] == "verification_failed"
    assert fleet.record("other")["outcome"] == "not_reached"


def test_a_batch_behind_a_lost_host_is_told_why_it_is_not_reached(tmp_path: Path) -> None:
    fleet = StagedFleet(tmp_path, ["one", "two", "three"], p2p_serial=2)
    fleet.set("two", fault="verdict")
    ended = fleet.run()
    assert ended.code != 0, ended
    record = fleet.record("three")
    assert record["outcome"] == "not_reached"
    assert record["failure"]["code"] == "fleet_stopped"
    assert "two" in record["failure"]["read"]
    assert fleet.host("three")["journal"] == []
