# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Kubernetes: a node is cordoned and marked by one patch, drained by kubectl, and uncordoned.

Cordoning is setting ``spec.unschedulable``; kubectl does no more. Done by a patch that also sets an
annotation, there is no instant in which the node is cordoned and nobody knows by whom.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from .._host.commands import failure, run
from .._host.foreign_text import parse_json
from .hooks import Hooks
from .method import DrainRefused, Method, Seen, Standing, Work

ANNOTATION = "gpufleet.p2p/drained"
_ANSWER_SECONDS = 60.0
# How long one call of kubectl drain evicts and waits; whoever asks calls it again.
_PASS_SECONDS = 20
# What kubectl drain says of a pass that was too short: pods that go on running (1.32 was run), a
# disruption budget that keeps them, and older releases of both.
_NOT_YET = (
    "context deadline exceeded",
    "global timeout reached",
    "drain did not complete within",
)


def parse_node(text: str) -> tuple[bool, str]:
    """Return (cordoned, mark) of the JSON of ``kubectl get node``; the mark is empty without one.

    Raises:
        ValueError: it is no node.
    """
    data = parse_json(text)
    if not isinstance(data, Mapping) or data.get("kind") != "Node":
        raise ValueError("not the JSON of a node")
    annotations = _mapping(_mapping(data.get("metadata")).get("annotations"))
    cordoned = _mapping(data.get("spec")).get("unschedulable") is True
    return cordoned, str(annotations.get(ANNOTATION) or "")


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


class Kubernetes(Method):
    """The host as a node of Kubernetes; ``mark`` tells this drain from everybody else's."""

    def __init__(self, hooks: Hooks, mark: str) -> None:
        self.node = hooks.node
        self.mark = mark
        self.tool = hooks.tool or ("kubectl",)
        self.arguments = hooks.arguments

    def look(self) -> Seen:
        """Return who cordoned the node, by its annotation."""
        said = run([*self.tool, "get", "node", self.node, "--output=json"], timeout=_ANSWER_SECONDS)
        try:
            cordoned, mark = parse_node(said.stdout)
        except ValueError as error:
            raise DrainRefused(
                "drain_node_unknown",
                read=f"{error}: {said.stdout.strip()[:200] or 'nothing'}",
                want=f"the node {self.node} as JSON",
                remedy="set p2p_drain.node to what kubectl get nodes calls the host",
            ) from error
        if not cordoned:
            return Seen(Standing.FREE, f"{self.node} takes work")
        ours = bool(self.mark) and mark == self.mark
        read = f"{self.node} is cordoned, {ANNOTATION}: {mark or 'none'}"
        return Seen(Standing.OURS if ours else Standing.OTHER, read)

    def drain(self) -> None:
        """Cordon and mark the node."""
        self._patch(True, self.mark)

    def work(self) -> Work:
        """Evict the pods, and return whether they are gone."""
        said = run(
            [
                *(*self.tool, "drain", self.node, "--ignore-daemonsets"),
                *(f"--timeout={_PASS_SECONDS}s", *self.arguments),
            ],
            timeout=_PASS_SECONDS + _ANSWER_SECONDS,
            check=False,
        )
        if said.rc == 0:
            return Work(True, f"no pods on {self.node} but those of daemon sets")
        if any(words in said.stderr for words in _NOT_YET):
            return Work(False, said.stderr.strip().splitlines()[-1])
        raise failure(said)

    def restore(self) -> None:
        """Uncordon the node and take the mark away."""
        self._patch(False, None)

    def _patch(self, cordoned: bool, mark: str | None) -> None:
        patch = {
            "metadata": {"annotations": {ANNOTATION: mark}},
            "spec": {"unschedulable": cordoned or None},
        }
        run(
            [
                *(*self.tool, "patch", "node", self.node),
                *("--type=merge", f"--patch={json.dumps(patch)}"),
            ],
            timeout=_ANSWER_SECONDS,
        )
