# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host's record, from what the run's modules said of it."""

from __future__ import annotations

import re
from typing import Any

import pytest
from ansible_collections.gpufleet.p2p.plugins.plugin_utils.run_record import record_of

RELEASED = {"boot_id": "second", "at": "2026-11-23T10:00:00Z", "changed": False}
FACTS = {"ansible_facts": {"p2p": {"kernel": {"boot_id": "first"}}}}
FAILURE = {"code": "gpus_busy", "read": "a", "want": "b", "remedy": "c", "message": "d"}
VERIFIED: dict[str, Any] = {
    "p2p_started": "2026-11-23T09:30:00Z",
    "ansible_facts": {"p2p": {"schema": 1}, "distribution": "Debian"},
    "preflight_facts": FACTS,
    "preflight_result": {"gates": [{"name": "gpu_count", "passed": True}]},
    "p2p_driver_compiled": {"changed": False},
    "p2p_driver_installed": {"changed": True},
    "p2p_driver_build_id": "9" * 40,
    "p2p_driver_expected": {"schema": 1},
    "p2p_verify_result": {"verdict": "warn", "p2p": {"verdict": "warn"}},
    "p2p_lock_released": RELEASED,
}


def test_a_verified_host() -> None:
    assert record_of("node1", VERIFIED, {"version": "595.58.03"}) == {
        "schema": 1,
        "host": "node1",
        "started": "2026-11-23T09:30:00Z",
        "finished": "2026-11-23T10:00:00Z",
        "outcome": "verified",
        "failure": None,
        "gates": [{"name": "gpu_count", "passed": True}],
        "facts": {"schema": 1},
        "driver": {
            "version": "595.58.03",
            "built": False,
            "installed": True,
            "build_id": "9" * 40,
            "manifest": {"schema": 1},
        },
        "reboot": {"count": 1, "boot_ids": ["first", "second"]},
        "drain": None,
        "verify": {"verdict": "warn"},
    }


def test_a_host_that_was_held_by_its_verification_alone() -> None:
    planned = {"open": [], "build_id": "9" * 40, "manifest": {"schema": 1}}
    left_out = ("p2p_driver_build_id", "p2p_driver_expected", "p2p_lock_released")
    said = {name: each for name, each in VERIFIED.items() if name not in left_out}
    said["p2p_plan_result"] = planned
    assert record_of("node1", said) is None
    # The task that would let the host go was skipped.
    said["p2p_lock_released"] = {"skipped": True, "changed": False}
    said["p2p_verify_result"] = {**VERIFIED["p2p_verify_result"], "lock": RELEASED}
    record = record_of("node1", said)
    assert record is not None
    assert record["outcome"] == "verified"
    assert record["finished"] == RELEASED["at"]
    assert record["reboot"]["boot_ids"] == ["first", "second"]
    assert record["driver"] == {
        "version": None,
        "built": False,
        "installed": True,
        "build_id": "9" * 40,
        "manifest": {"schema": 1},
    }


@pytest.mark.parametrize(
    ("said", "outcome"),
    [
        ({"p2p_lock_released": RELEASED}, "done"),
        # Skipped: --skip-tags verify leaves no verdict.
        ({"p2p_lock_released": RELEASED, "p2p_verify_result": {"skipped": True}}, "done"),
        ({"p2p_outcome": "refused", "p2p_failure": FAILURE}, "refused"),
        # A host that failed was let go too; what stopped it counts.
        ({**VERIFIED, "p2p_outcome": "failed", "p2p_failure": FAILURE}, "failed"),
    ],
)
def test_the_outcome(said: dict[str, Any], outcome: str) -> None:
    record = record_of("node1", said)
    assert record is not None
    assert record["outcome"] == outcome
    assert record["failure"] == said.get("p2p_failure")


@pytest.mark.parametrize(
    "said",
    [{}, {"preflight_facts": FACTS}, {"p2p_lock_released": {"unreachable": True, "msg": "gone"}}],
)
def test_a_host_that_the_run_is_not_done_with_has_none(said: dict[str, Any]) -> None:
    assert record_of("node1", said) is None


def test_a_ready_record_is_taken_as_it_is() -> None:
    ready = {"schema": 1, "host": "node1", "outcome": "verified"}
    assert record_of("node1", {**VERIFIED, "p2p_record": ready}) == ready


def test_the_same_host_gets_the_same_record_again() -> None:
    # Each batch ends with a report on the whole fleet.
    assert record_of("node1", VERIFIED) == record_of("node1", VERIFIED)
    failed = {"p2p_outcome": "failed", "p2p_finished": "2026-11-23T09:45:00Z"}
    record = record_of("node1", {**VERIFIED, **failed})
    assert record is not None
    assert record["finished"] == "2026-11-23T09:45:00Z"


def test_a_host_whose_end_is_not_known_is_told_with_the_present() -> None:
    record = record_of("node1", {"p2p_outcome": "done"})
    assert record is not None
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", record["finished"])


NOTE = {"since": "2026-11-23T09:30:00+00:00", "hooks": {"method": "slurm", "node": "gpu01"}}
DRAINED = "drained by gpufleet (slurm gpu01) since 2026-11-23T09:30:00+00:00"


@pytest.mark.parametrize(
    ("said", "state", "read"),
    [
        ({"drain_noted": {"note": NOTE}}, "drained", DRAINED),
        # Left by an earlier run, and this one did not come to drain or restore.
        ({"ansible_facts": {"p2p": {"drain": NOTE}}}, "drained", DRAINED),
        (
            {
                "drain_noted": {"note": NOTE},
                "drain_restored": {"failed": True, "error": {"code": "command_failed"}},
            },
            "drained",
            DRAINED,
        ),
        (
            {
                "ansible_facts": {"p2p": {"drain": NOTE}},
                "drain_noted": {"note": None},
                "drain_restored": {"standing": "free", "read": "gpu01 is IDLE"},
            },
            "restored",
            "gpu01 is IDLE",
        ),
        (
            {
                "drain_noted": {"note": None},
                "drain_result": {"standing": "other", "read": "gpu01 is DRAIN+IDLE, reason: fan"},
            },
            "other",
            "gpu01 is DRAIN+IDLE, reason: fan",
        ),
    ],
)
def test_whether_the_host_has_its_work(said: dict[str, Any], state: str, read: str) -> None:
    record = record_of("node1", {"p2p_outcome": "failed", **said})
    assert record is not None
    assert record["drain"] == {"state": state, "read": read}
