# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One pair's way through a run: checked, tried between two processes, and measured, by children.

A child that hangs or dies costs the direction it was at; the other is taken up by another child.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import Any, Callable

from . import ipc, protocol, worker
from .child import Child, ChildEnd, child_command, listen
from .ipc import IpcJob
from .ipc_codes import IPC_FAILED
from .protocol import Job, Measurement
from .result import FAILED, NOT_RUN
from .subjects import Subject
from .verdict import MEASUREMENT_DIED, MEASUREMENT_HUNG

Direction = tuple[int, int]
_DIRECTIONS: tuple[Direction, ...] = ((0, 1), (1, 0))


class PairRun:
    """Two GPUs, and what is known of both directions between them.

    Attributes:
        ends: the GPUs.
        measured: by direction, as positions in ``ends``.
    """

    def __init__(
        self,
        ends: tuple[Subject, Subject],
        *,
        job_of: Callable[[Sequence[Direction]], Job],
        child_timeout: float,
        environment: Mapping[str, str],
        stuck: dict[int, int],
        on_load: Callable[[], None],
        ipc_beside: bool,
    ) -> None:
        """Prepare.

        Args:
            job_of: returns what the child that measures directions is to do.
            child_timeout: seconds that each part of the work may take.
            environment: the children's.
            stuck: by GPU index the process that hangs in the kernel there; shared by all pairs.
            on_load: called while the link is busy, to read its state.
            ipc_beside: whether the processes of the IPC check can be started while the pair is
                being checked; else they are once it has been measured.
        """
        self.ends = ends
        self.measured = {direction: Measurement() for direction in _DIRECTIONS}
        self._job_of = job_of
        self._timeout = child_timeout
        self._environment = environment
        self._stuck = stuck
        self._on_load = on_load
        self._ipc_beside = ipc_beside
        self._open: tuple[Direction, ...] = _DIRECTIONS
        self._current: Direction = _DIRECTIONS[0]
        self._worker: Child | None = None
        self._ipc: Child | None = None
        self._ipc_step = ""
        self._ipc_current: Direction | None = None
        self._ipc_asked = False

    @property
    def is_open(self) -> bool:
        """Whether a direction has to be taken up by a child yet."""
        return bool(self._open)

    def start(self, stack: ExitStack) -> None:
        """Start the children of the directions that are open, to be ended with the stack."""
        stuck = [self._stuck[end.index] for end in self.ends if end.index in self._stuck]
        if stuck:
            words = f"not measured: process {stuck[0]} hangs in the kernel on one of the GPUs"
            for measurement in (self.measured[direction] for direction in self._open):
                measurement.trouble, measurement.detail = MEASUREMENT_HUNG, words
            self._open = ()
            return
        self._current = self._open[0]
        job = self._job_of(self._open)
        self._worker = stack.enter_context(
            Child(
                child_command(worker.main),
                job.to_json(),
                on_event=self._on_event,
                environment=self._environment,
            )
        )
        if self._ipc_beside:
            self._start_ipc(stack)

    def checking(self) -> list[Child]:
        """Return the child that checks, to be listened to."""
        return [] if self._worker is None else [self._worker]

    def ask_ipc(self, stack: ExitStack, *, beside: bool) -> list[Child]:
        """Let the IPC check begin for the directions that are right, and return its child.

        Args:
            beside: whether the child that measures still has its contexts.
        """
        wanted = self._ipc_wanted()
        # A direction that another child will check anew has its turn after that.
        ready = self._worker is not None and self._worker.waiting if beside else not self._open
        if beside != self._ipc_beside or not ready or not wanted or self._is_stuck():
            return []
        if self._ipc is None:
            self._start_ipc(stack)
        if self._ipc is None:
            raise AssertionError("_start_ipc() starts it")
        self._ipc.go_on(protocol.directions_to_json(wanted))
        self._ipc_asked = True
        return [self._ipc]

    def end_ipc(self) -> None:
        """Record how the IPC check ended; directions it did not come to are left to another."""
        if self._ipc is None:
            return
        end = self._ipc.end()
        self._ipc = None
        if end.unkillable:
            self._stuck.update({subject.index: end.pid for subject in self.ends})
        unsaid = self._ipc_wanted() if self._ipc_asked else []
        at = self._ipc_current or (unsaid[0] if unsaid else None)
        if at is not None and at in unsaid:
            measurement = self.measured[at]
            measurement.correctness = replace(measurement.correctness, ipc=FAILED)
            measurement.ipc_code = IPC_FAILED
            measurement.detail = "ipc: " + self._words(end, self._ipc_step)

    def measure(self) -> list[Child]:
        """Let the directions that passed every check be measured, and return the child."""
        if self._worker is None or not self._worker.waiting:
            return []
        right = [way for way in self._open if self.measured[way].is_right]
        self._worker.go_on(protocol.directions_to_json(right))
        return [self._worker]

    def end_measuring(self) -> None:
        """Record how the child ended; directions it did not come to stay open."""
        if self._worker is None:
            return
        end = self._worker.end()
        self._worker = None
        if end.unkillable:
            self._stuck.update({subject.index: end.pid for subject in self.ends})
        if end.finished:
            self._open = ()
            return
        last = self.measured[self._current]
        if last.trouble is None:
            last.trouble = MEASUREMENT_HUNG if end.timed_out else MEASUREMENT_DIED
            last.detail = self._words(end, last.step)
        self._open = tuple(way for way in self._open if not self.measured[way].is_settled)

    def _ipc_wanted(self) -> list[Direction]:
        return [
            direction
            for direction, measurement in self.measured.items()
            if measurement.is_right
            and measurement.correctness.ipc == NOT_RUN
            and measurement.ipc_code is None
        ]

    def _is_stuck(self) -> bool:
        return any(end.index in self._stuck for end in self.ends)

    def _start_ipc(self, stack: ExitStack) -> None:
        job = self._job_of(self._open or _DIRECTIONS)
        self._ipc_step, self._ipc_current = "opening the GPUs", None
        self._ipc_asked = False
        self._ipc = stack.enter_context(
            Child(
                child_command(ipc.main),
                IpcJob(job.addresses, ipc.PAYLOAD_BYTES, job.limit_seconds, job.seed).to_json(),
                on_event=self._on_ipc_event,
                environment=self._environment,
            )
        )

    def _on_event(self, event: Mapping[str, Any]) -> None:
        self._current = (int(event["from"]), int(event["to"]))
        self.measured[self._current].take(event)
        if event["event"] == protocol.UNDER_LOAD:
            self._on_load()

    def _on_ipc_event(self, event: Mapping[str, Any]) -> None:
        direction = (int(event["from"]), int(event["to"]))
        if event["event"] == protocol.STEP:
            self._ipc_step, self._ipc_current = str(event["name"]), direction
        else:
            self.measured[direction].take(event)

    def _words(self, end: ChildEnd, step: str) -> str:
        where = f" in step {step}" if step else ""
        if end.timed_out:
            left = f"; process {end.pid} is uninterruptible (state D) and was left"
            return f"killed after {self._timeout:g} s{where}" + (left if end.unkillable else "")
        words = end.said.splitlines()[-1] if end.said else "no message"
        return f"the process ended with status {end.status}{where}: {words}"


def run_round(pairs: Sequence[PairRun], child_timeout: float) -> None:
    """Check pairs at the same time, then measure one after the other, until none is open.

    Whatever happens, no child outlives the call, but those that cannot be killed.
    """
    while any(pair.is_open for pair in pairs):
        with ExitStack() as stack:
            for pair in pairs:
                if pair.is_open:
                    pair.start(stack)
            listen(_all(pair.checking() for pair in pairs), child_timeout)
            _check_ipc(pairs, stack, child_timeout, beside=True)
            for pair in pairs:
                listen(pair.measure(), child_timeout)
                pair.end_measuring()
            _check_ipc(pairs, stack, child_timeout, beside=False)


def _check_ipc(
    pairs: Sequence[PairRun], stack: ExitStack, child_timeout: float, *, beside: bool
) -> None:
    while True:
        children = _all(pair.ask_ipc(stack, beside=beside) for pair in pairs)
        listen(children, child_timeout)
        for pair in pairs:
            pair.end_ipc()
        if not children:
            return


def _all(children: Iterable[Sequence[Child]]) -> list[Child]:
    return [child for some in children for child in some]
