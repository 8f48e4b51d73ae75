# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sentences for people out of gates and verdicts, so that no task needs text-building logic."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any


def refusals(gates: Iterable[Mapping[str, Any]]) -> str:
    """Return one line for each gate that did not pass; empty when all passed."""
    return "\n".join(
        f"gate: {gate['name']}, read: {gate['read']}, want: {gate['want']}, "
        f"remedy: {gate['remedy']}"
        for gate in gates
        if not gate["passed"]
    )


def verdict_text(result: Mapping[str, Any]) -> str:
    """Return a verification's verdict, its failed pairs with their reasons, and the causes."""
    lines = [f"verdict: {result['verdict']}"]
    lines += [
        f"GPU {pair['from']} to GPU {pair['to']}: {', '.join(pair['reasons']) or 'failed'}"
        for pair in result["pairs"]
        if pair["verdict"] == "fail"
    ]
    lines += [
        f"cause: {cause['code']}, evidence: {cause['evidence']}, remedy: {cause['remedy']}"
        for cause in result["causes"]
    ]
    return "\n".join(lines)


def failure(result: Mapping[str, Any]) -> dict[str, str]:
    """Return a failed task's result as message, code, read, want and remedy.

    A result without a refusal's four parts, such as one of another collection's module, gets the
    code ``task_failed`` and its message as what was read. Of a loop the first item that failed is
    told: the loop's own message says only that there was one.
    """
    items = result.get("results")
    for item in items if isinstance(items, Sequence) and not isinstance(items, str) else ():
        if isinstance(item, Mapping) and item.get("failed"):
            return failure(item)
    message = str(result.get("msg") or "the task failed without a message")
    error = result.get("error")
    if isinstance(error, Mapping):
        parts = {name: str(error.get(name, "")) for name in ("code", "read", "want", "remedy")}
    else:
        parts = {"code": "task_failed", "read": message, "want": "", "remedy": ""}
    return {"message": message, **parts}


class FilterModule:
    """The filters that Ansible loads from this file."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filters by name."""
        return {
            "p2p_failure": failure,
            "p2p_refusals": refusals,
            "p2p_verdict_text": verdict_text,
        }
