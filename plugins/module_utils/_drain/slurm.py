# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Slurm: a node is drained with a reason, which has the mark, and resumed.

The text is that of ``scontrol show node`` (scontrol(1); Slurm 22.05 was run): ``State=`` is a base
state and flags joined by ``+``, before 21.08 with one character behind it for a flag, such as ``*``
for a node that does not answer; ``Reason=`` ends in who gave it and when, in brackets. A restart
that Slurm did not ask for adds DOWN and keeps the reason.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from .._host.commands import run
from .hooks import Hooks
from .method import DrainRefused, Method, Seen, Standing, Work

_STATE = re.compile(r"(?m)(?:^|\s)State=(\S+)")
_REASON = re.compile(r"(?m)^\s*Reason=(.*?)(?: \[[^\]\[]*\])?\s*$")
_WORKING = {"ALLOCATED", "MIXED", "COMPLETING"}
_DRAINED = {"DRAIN", "DRAINED", "DRAINING"}
_ANSWER_SECONDS = 60.0


@dataclass(frozen=True)
class NodeState:
    """A node's state: its words in capitals (base state and flags), and the reason given for it."""

    words: frozenset[str]
    reason: str

    @property
    def is_drained(self) -> bool:
        """Whether no job is started on it."""
        return bool(self.words & _DRAINED)

    @property
    def is_working(self) -> bool:
        """Whether jobs run on it or are being cleaned up."""
        return bool(self.words & _WORKING)


def parse_node(text: str) -> NodeState | None:
    """Return the state in what ``scontrol show node NAME`` printed, None where there is none."""
    state = _STATE.search(text)
    if state is None:
        return None
    reason = _REASON.search(text)
    words = frozenset(re.sub(r"[^A-Z_]", "", word.upper()) for word in state[1].split("+"))
    return NodeState(words, reason[1].strip() if reason else "")


class Slurm(Method):
    """The host as a node of Slurm; ``mark`` tells this drain from everybody else's."""

    def __init__(self, hooks: Hooks, mark: str) -> None:
        self.node = hooks.node
        self.mark = mark
        self.tool = hooks.tool or ("scontrol",)

    def look(self) -> Seen:
        """Return who drained the node, by the reason it has."""
        state = self._state()
        words = "+".join(sorted(state.words))
        if not state.is_drained:
            return Seen(Standing.FREE, f"{self.node} is {words}")
        ours = bool(self.mark) and self.mark in state.reason.split()
        read = f"{self.node} is {words}, reason: {state.reason or 'none'}"
        return Seen(Standing.OURS if ours else Standing.OTHER, read)

    def drain(self) -> None:
        """Drain the node; its jobs run to their end."""
        self._update("State=DRAIN", f"Reason=gpufleet {self.mark}")

    def work(self) -> Work:
        """Return whether the node's jobs have ended."""
        state = self._state()
        return Work(not state.is_working, f"{self.node} is {'+'.join(sorted(state.words))}")

    def restore(self) -> None:
        """Resume the node, also where Slurm took its restart for a failure."""
        self._update("State=RESUME")

    def _state(self) -> NodeState:
        said = run([*self.tool, "show", "node", self.node], timeout=_ANSWER_SECONDS)
        state = parse_node(said.stdout)
        if state is None:
            raise DrainRefused(
                "drain_node_unknown",
                read=(said.stdout or said.stderr).strip()[:200] or "no answer",
                want=f"the state of Slurm's node {self.node}",
                remedy="set p2p_drain.node to the host's NodeName in slurm.conf",
            )
        return state

    def _update(self, *changes: str) -> None:
        run(
            [*self.tool, "update", f"NodeName={self.node}", *changes],
            timeout=_ANSWER_SECONDS,
        )
