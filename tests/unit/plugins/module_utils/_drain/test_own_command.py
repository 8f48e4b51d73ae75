# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The operator's own commands, known to be ours by the note alone."""

from __future__ import annotations

import pytest
from ansible_collections.gpufleet.p2p.plugins.module_utils._drain.hooks import Hooks, parse
from ansible_collections.gpufleet.p2p.plugins.module_utils._drain.method import Standing
from ansible_collections.gpufleet.p2p.plugins.module_utils._drain.steps import (
    drain,
    method_of,
    restore,
)
from ansible_collections.gpufleet.p2p.plugins.module_utils._host.commands import CommandFailed

from .conftest import Tool, ToolDouble

OWN = """
if words[0] == "check":
    end(0 if state["out"] else 1)
if words[0] == "drain" and state["fails"]:
    print("no licence", file=sys.stderr)
    end(3)
state["out"] = words[0] == "drain"
"""
COMMANDS = {"drain": ["pool", "drain", "a; b"], "restore": ["pool", "restore"]}
PLAIN = parse({"method": "command", **COMMANDS})
CHECKED = parse({"method": "command", **COMMANDS, "check": ["pool", "check"]})


@pytest.fixture
def pool(tool: Tool) -> ToolDouble:
    """Return a program that takes the host out of a pool and back."""
    double = tool("pool", OWN)
    double.set(out=False, fails=False)
    return double


@pytest.mark.parametrize("hooks", [PLAIN, CHECKED], ids=["plain", "checked"])
def test_out_and_back(pool: ToolDouble, hooks: Hooks) -> None:
    outcome = drain(method_of(hooks), dry_run=False)
    assert (outcome.changed, outcome.standing, outcome.idle) == (True, Standing.OURS, True)
    assert pool.state["out"]
    assert ["drain", "a; b"] in pool.state["calls"]
    assert restore(method_of(hooks, noted=True), dry_run=False).changed
    assert not pool.state["out"]


def test_a_run_that_was_killed_after_its_note_is_continued(pool: ToolDouble) -> None:
    assert drain(method_of(CHECKED, noted=True), dry_run=False).standing is Standing.OURS
    assert pool.state["out"]


def test_a_host_that_is_out_without_a_note_is_left_alone(pool: ToolDouble) -> None:
    pool.set(out=True, fails=False)
    outcome = drain(method_of(CHECKED), dry_run=False)
    assert (outcome.changed, outcome.standing, outcome.idle) == (False, Standing.OTHER, True)
    assert not restore(method_of(CHECKED), dry_run=False).changed
    assert {call[0] for call in pool.state["calls"]} == {"check"}


def test_a_command_that_fails_is_told_with_its_words(pool: ToolDouble) -> None:
    pool.set(out=False, fails=True)
    with pytest.raises(CommandFailed, match="no licence"):
        drain(method_of(PLAIN), dry_run=False)


def test_check_mode_runs_neither(pool: ToolDouble) -> None:
    assert drain(method_of(PLAIN), dry_run=True).changed
    assert restore(method_of(PLAIN, noted=True), dry_run=True).changed
    assert pool.state["calls"] == []
