# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How far each host is: the state behind every way of showing a run, without a screen in it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from .events import Event

STAGE_OF_ROLE = {
    "preflight": "gates",
    "p2p_driver": "driver",
    "iommu_passthrough": "IOMMU",
    "reboot_once": "reboot",
    "p2p_verify": "verify",
    "rollback": "rollback",
}
"""Role -> the stage it is shown as; other roles are not a stage of a host."""

STAGES = {
    "preflight": ("gates",),
    "apply": ("gates", "driver", "IOMMU", "reboot", "verify"),
    "verify": ("verify",),
    "rollback": ("rollback", "reboot"),
}
"""Action -> its stages in order."""

PENDING = "pending"
RUNNING = "running"
OK = "ok"
CHANGED = "changed"
SKIPPED = "skipped"
FAILED = "failed"
UNREACHABLE = "unreachable"
ENDED = (OK, CHANGED, SKIPPED, FAILED, UNREACHABLE)


@dataclass
class HostProgress:
    """One host: the state of its stages, the task it is at, and since when.

    ``compiled`` is how far a driver build on its behalf is, as Event has it; None while none runs.
    """

    name: str
    stages: dict[str, str] = field(default_factory=dict)
    task: str = ""
    task_since: float = 0.0
    message: str = ""
    compiled: tuple[int, int] | None = None
    current: str = ""
    worked: bool = False
    changed: bool = False

    @property
    def lost(self) -> bool:
        """Whether a stage failed or the host could not be reached."""
        return bool({FAILED, UNREACHABLE} & set(self.stages.values())) or bool(self.message)


@dataclass(frozen=True)
class Step:
    """A stage of a host that has just ended, for those who print lines."""

    host: str
    stage: str
    state: str
    message: str = ""


class Progress:
    """Follows the events of one action; hosts appear in the order in which they begin."""

    def __init__(self, action: str, clock: Callable[[], float] = time.monotonic) -> None:
        self.action = action
        self.stages = STAGES[action]
        self.hosts: dict[str, HostProgress] = {}
        self.play = ""
        self._clock = clock
        self.started = clock()

    @property
    def elapsed(self) -> float:
        """Return seconds since the run began."""
        return self._clock() - self.started

    def task_seconds(self, host: HostProgress) -> float:
        """Return seconds since the host's current task began."""
        return self._clock() - host.task_since

    def take(self, event: Event) -> list[Step]:
        """Take an event in and return the stages that it ended."""
        if event.kind == "play":
            self.play = event.play
        if event.kind == "stats":
            return [step for host in self.hosts.values() for step in self._end_stage(host)]
        if not event.host:
            return []
        host = self.hosts.setdefault(event.host, HostProgress(event.host))
        stage = STAGE_OF_ROLE.get(event.role, "")
        steps = self._end_stage(host) if stage != host.current else []
        if stage != host.current:
            host.current, host.worked, host.changed = stage, False, False
        if event.kind == "started":
            host.task, host.task_since = event.task, self._clock()
            if stage and host.stages.get(stage) not in (FAILED, UNREACHABLE):
                host.stages[stage] = RUNNING
        elif event.kind == "ok":
            host.worked = True
            host.compiled = event.compiled or host.compiled
            host.changed = host.changed or event.changed
        elif event.kind in (FAILED, UNREACHABLE):
            steps += self._lose(host, stage, event)
        return steps

    def _lose(self, host: HostProgress, stage: str, event: Event) -> list[Step]:
        # The rescue that concludes a failed host fails it once more, with the same words.
        told = host.lost
        host.message = host.message or event.message
        if stage:
            host.stages[stage] = event.kind
        return [] if told else [Step(host.name, stage, event.kind, event.message)]

    def _end_stage(self, host: HostProgress) -> list[Step]:
        stage = host.current
        if not stage or host.stages.get(stage) != RUNNING:
            return []
        state = CHANGED if host.changed else OK if host.worked else SKIPPED
        host.stages[stage] = state
        host.task, host.compiled = "", None
        return [Step(host.name, stage, state)]
