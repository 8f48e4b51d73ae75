# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host on which nothing is left to do is verified, outside of the batches, and no more.

site.yml itself runs, with its roles, on doubles of hosts (support/staged_fleet).
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.staged_fleet import StagedFleet, batches_of
from support.staged_fleet.host_double import PATCHED, bare


@pytest.fixture
def fleet(tmp_path: Path) -> StagedFleet:
    """Return a fleet of a host that site.yml has taken to the end, and one that is bare."""
    fleet = StagedFleet(tmp_path, ["done", "new"], p2p_serial=1)
    ended = fleet.run("--limit", "done")
    assert ended.code == 0, ended
    assert fleet.is_converged("done")
    fleet.forget_journals()
    return fleet


def test_it_is_proven_and_the_other_is_taken_all_the_way(fleet: StagedFleet) -> None:
    ended = fleet.run()
    assert ended.code == 0, ended
    assert fleet.journals()["done"] == ["verified"]
    assert fleet.is_converged("new")
    assert batches_of(ended.text) == 1
    assert [fleet.record(name)["outcome"] for name in fleet.names] == ["verified"] * 2
    assert [fleet.record(name)["reboot"]["count"] for name in fleet.names] == [0, 1]
    assert fleet.record("done")["driver"]["build_id"] == PATCHED


def test_one_that_fails_stops_the_first_batch(tmp_path: Path) -> None:
    fleet = StagedFleet(tmp_path, ["done", "also", "new"], p2p_serial=1)
    assert fleet.run("--limit", "done,also").code == 0
    fleet.set("done", fault="verdict")
    ended = fleet.run()
    assert ended.code != 0, ended
    assert fleet.record("also")["outcome"] == "verified"
    assert fleet.record("done")["failure"]["code"] == "verification_failed"
    assert fleet.host("new") == bare("new")
    told = fleet.record("new")
    assert (told["outcome"], told["failure"]["code"]) == ("not_reached", "fleet_stopped")
    assert [fleet.lock(name) for name in fleet.names] == [None] * 3


@pytest.mark.parametrize("options", [("--check",), ("--skip-tags", "verify"), ("--tags", "driver")])
def test_without_the_proof_nothing_at_all_is_done_to_it(
    fleet: StagedFleet, options: tuple[str, ...]
) -> None:
    ended = fleet.run("--limit", "done", *options)
    assert ended.code == 0, ended
    assert fleet.journals()["done"] == []
    if "--check" not in options:
        assert fleet.record("done")["outcome"] == "done"


def test_names_that_ansible_takes_for_an_address_with_a_port_are_refused(
    fleet: StagedFleet, tmp_path: Path
) -> None:
    # Only a script's names reach the playbook as they are; an inventory file's lose their port.
    group = {"hosts": ["done:22"], "vars": {"host_folder": str(tmp_path / "hosts/new")}}
    script = tmp_path / "inventory.sh"
    script.write_text(f"#!/bin/sh\necho '{json.dumps({'p2p_hosts': group})}'\n")
    script.chmod(0o755)
    ended = fleet.run("-i", str(script))
    assert ended.code != 0, ended
    assert "host_name_ambiguous: read done:22" in ended.text
    assert fleet.journals() == {"done": [], "new": []}


def test_what_has_changed_since_is_mended(fleet: StagedFleet) -> None:
    fleet.set("done", guarded=False)
    assert fleet.run("--limit", "done").code == 0
    assert fleet.journals()["done"] == ["verified", "guard present"]


def test_other_groups_than_those_on_record_are_recorded_by_its_batch(fleet: StagedFleet) -> None:
    fleet.set("done", groups=[[0, 1]])
    ended = fleet.run("--limit", "done")
    assert ended.code == 0, ended
    assert fleet.journals()["done"] == ["verified", "verified", "guard present"]
    assert fleet.record("done")["outcome"] == "verified"
    fleet.forget_journals()
    assert fleet.run("--limit", "done").code == 0
    assert fleet.journals()["done"] == ["verified"]


def test_a_failed_proof_and_a_refusal_beside_each_other_are_both_told(tmp_path: Path) -> None:
    fleet = StagedFleet(tmp_path, ["done", "busy", "new"], p2p_serial=1)
    assert fleet.run("--limit", "done").code == 0
    fleet.set("done", fault="verdict")
    fleet.set("busy", processes=[{"pid": 1, "name": "train"}])
    ended = fleet.run()
    assert ended.code != 0, ended
    told = [fleet.record(name) for name in fleet.names]
    assert [one["outcome"] for one in told] == ["failed", "refused", "not_reached"]
    codes = [one["failure"]["code"] for one in told]
    assert codes == ["verification_failed", "gpus_busy", "fleet_stopped"]


def test_one_without_a_plan_is_refused_and_keeps_no_other_back(tmp_path: Path) -> None:
    fleet = StagedFleet(tmp_path, ["unread", "done", "new"], p2p_serial=1)
    assert fleet.run("--limit", "unread,done").code == 0
    fleet.set("unread", fault="unplanned")
    fleet.forget_journals()
    ended = fleet.run()
    assert ended.code != 0, ended
    assert fleet.journals()["unread"] == []
    assert fleet.record("unread")["outcome"] == "refused"
    assert fleet.record("unread")["failure"]["code"] == "file_unreadable"
    assert [fleet.record(name)["outcome"] for name in ("done", "new")] == ["verified"] * 2
