# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host's record, put together of what the run's modules said of it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Any

from .report_values import branch, plain

# What each reading of the host said of its boot, first to last. The host is the witness of its
# restarts, not the task that asked for one.
_READINGS = (
    "preflight_facts",
    "p2p_facts_before",
    "rollback_facts",
    "reboot_once_facts",
    "rollback_facts_after",
)


def utc_now() -> str:
    """Return the controller's time as a record has it, such as 2026-11-23T09:30:00Z."""
    return datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def record_of(
    host: str, variables: Mapping[str, Any], driver: Mapping[str, Any] | None = None
) -> dict[str, Any] | None:
    """Return the record (schema 1, docs/report.md) of a host; None where the run is not done yet.

    Args:
        host: its inventory name.
        variables: its variables, of which those are read that playbooks and roles set.
        driver: the run's driver build.
    """

    def said(name: str) -> Any:
        return plain(variables.get(name))

    ready = said("p2p_record")
    if isinstance(ready, dict):
        return ready
    verified, planned = branch(said("p2p_verify_result")), branch(said("p2p_plan_result"))
    # Where nothing but the verification held the host, that tells of it.
    released = branch(said("p2p_lock_released"))
    lock = released if "boot_id" in released else branch(verified, "lock")
    outcome = said("p2p_outcome")
    if not outcome:
        # A host that nothing was done to was not locked either.
        if "boot_id" not in lock and "p2p_came_through" not in (said("group_names") or []):
            return None
        outcome = "verified" if "verdict" in verified else "done"
    kernels = [branch(said(name), "ansible_facts", "p2p", "kernel") for name in _READINGS]
    boots = [known["boot_id"] for known in (*kernels, lock) if known.get("boot_id")]
    boot_ids = list(dict.fromkeys(boots))
    return {
        "schema": 1,
        "host": host,
        "started": said("p2p_started"),
        "finished": said("p2p_finished") or lock.get("at") or utc_now(),
        "outcome": outcome,
        "failure": said("p2p_failure"),
        "gates": branch(said("preflight_result")).get("gates") or [],
        "facts": branch(said("ansible_facts"), "p2p"),
        "driver": {
            "version": branch(plain(driver)).get("version"),
            "built": bool(branch(said("p2p_driver_compiled")).get("changed")),
            "installed": bool(branch(said("p2p_driver_installed")).get("changed")),
            "build_id": said("p2p_driver_build_id") or planned.get("build_id"),
            "manifest": said("p2p_driver_expected") or planned.get("manifest"),
        },
        "reboot": {"count": max(len(boot_ids) - 1, 0), "boot_ids": boot_ids},
        "drain": drain_of(variables),
        "verify": verified.get("p2p"),
    }


def drain_of(variables: Mapping[str, Any]) -> dict[str, str] | None:
    """Return whether the host is drained, by what the run did and what is noted on the host."""

    def said(name: str) -> Any:
        return plain(variables.get(name))

    looked = branch(said("drain_restored"))
    if looked.get("standing") in ("free", "other"):
        state = "restored" if looked["standing"] == "free" else "other"
        return {"state": state, "read": str(looked.get("read"))}
    noted = said("drain_noted")
    # Of the facts no more than this is converted: they are large, and this is done for each host.
    facts = branch(variables.get("ansible_facts"), "p2p", "drain")
    note = branch(noted, "note") if noted else branch(plain(facts))
    if note:
        hooks = branch(note, "hooks")
        way = " ".join(str(hooks[part]) for part in ("method", "node") if hooks.get(part))
        return {
            "state": "drained",
            "read": f"drained by gpufleet ({way}) since {note.get('since')}",
        }
    looked = branch(said("drain_result"))
    if looked.get("standing") == "other":
        return {"state": "other", "read": str(looked.get("read"))}
    return None
