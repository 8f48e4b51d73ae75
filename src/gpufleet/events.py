# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What happens in a run, as small typed events instead of ansible-runner's dictionaries."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

KINDS = {
    "playbook_on_play_start": "play",
    "playbook_on_task_start": "task",
    "runner_on_start": "started",
    "runner_on_ok": "ok",
    "runner_on_failed": "failed",
    "runner_on_unreachable": "unreachable",
    "runner_on_skipped": "skipped",
    "playbook_on_stats": "stats",
    "verbose": "output",
    "error": "output",
}
"""Event name of ansible-runner -> kind of Event; all other events are left out."""

STAT_NAMES = ("ok", "changed", "failures", "dark", "skipped", "rescued", "ignored")


@dataclass(frozen=True)
class Event:
    """One step of a run.

    Attributes:
        kind: play, task, started, ok, failed, unreachable, skipped, stats or output.
        host: inventory name; empty for play, task, stats and output.
        task: name of the task; role: short name of its role, or empty; play: name of the play.
        changed: whether the task changed the host (or would, in check mode).
        message: why it failed or could not be reached; empty otherwise.
        text: what Ansible would have printed.
        difference: whether ``text`` shows a difference that the operator asked for.
        compiled: objects that a driver build has compiled, and how many it will be about; None for
            events that tell nothing of that.
        statistics: for ``stats``, counts by name and host as Ansible's recap has them.
    """

    kind: str
    host: str = ""
    task: str = ""
    role: str = ""
    play: str = ""
    changed: bool = False
    message: str = ""
    text: str = ""
    difference: bool = False
    compiled: tuple[int, int] | None = None
    statistics: Mapping[str, Mapping[str, int]] | None = None


def event_from_runner(data: Mapping[str, Any]) -> Event | None:
    """Return the Event in an ansible-runner event, or None for one that tells nothing new."""
    kind = KINDS.get(str(data.get("event")))
    if kind is None:
        return None
    details = data.get("event_data") or {}
    outcome = details.get("res") or {}
    # A failed task in a block with rescue arrives as runner_on_failed too; one whose errors are
    # ignored is no failure.
    if kind == "failed" and details.get("ignore_errors"):
        kind = "ok"
    return Event(
        kind,
        host=str(details.get("host") or ""),
        task=str(details.get("task") or details.get("name") or ""),
        role=str(details.get("role") or "").rsplit(".", 1)[-1],
        play=str(details.get("play") or ""),
        changed=bool(outcome.get("changed")),
        message=_message(outcome) if kind in ("failed", "unreachable") else "",
        text=str(data.get("stdout") or ""),
        difference=bool(outcome.get("diff")),
        compiled=_compiled(outcome),
        statistics=_statistics(details) if kind == "stats" else None,
    )


def _message(outcome: Mapping[str, Any]) -> str:
    for name in ("msg", "module_stderr", "stderr", "stdout", "censored"):
        found = outcome.get(name)
        if found:
            return str(found).strip()
    return "failed without a message"


def _compiled(outcome: Mapping[str, Any]) -> tuple[int, int] | None:
    objects, expected = outcome.get("objects"), outcome.get("expected")
    if isinstance(objects, int) and isinstance(expected, int) and expected > 0:
        return objects, expected
    return None


def _statistics(details: Mapping[str, Any]) -> dict[str, dict[str, int]]:
    return {
        name: {str(host): int(count) for host, count in (details.get(name) or {}).items()}
        for name in STAT_NAMES
    }
