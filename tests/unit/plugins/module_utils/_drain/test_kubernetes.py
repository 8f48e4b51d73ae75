# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A node of Kubernetes through kubectl, which is a double here: see test_real_kubectl.py."""

from __future__ import annotations

import json

import pytest
from ansible_collections.gpufleet.p2p.plugins.module_utils._drain.hooks import parse
from ansible_collections.gpufleet.p2p.plugins.module_utils._drain.kubernetes import (
    ANNOTATION,
    parse_node,
)
from ansible_collections.gpufleet.p2p.plugins.module_utils._drain.method import Standing
from ansible_collections.gpufleet.p2p.plugins.module_utils._drain.steps import (
    drain,
    method_of,
    restore,
)
from ansible_collections.gpufleet.p2p.plugins.module_utils._host.commands import CommandFailed

from .conftest import Tool, ToolDouble

HOOKS = parse({"method": "kubernetes", "node": "gpu01", "arguments": ["--delete-emptydir-data"]})
KUBECTL = """
if words[0] == "get":
    if words[2] != "gpu01":
        print(f'Error from server (NotFound): nodes "{words[2]}" not found', file=sys.stderr)
        end(1)
    print(json.dumps({"kind": "Node", "metadata": {"annotations": state["annotations"]},
                      "spec": {"unschedulable": True} if state["cordoned"] else {}}))
elif words[0] == "patch":
    patch = json.loads(words[-1].partition("=")[2])
    state["cordoned"] = bool(patch["spec"]["unschedulable"])
    for name, value in patch["metadata"]["annotations"].items():
        state["annotations"].pop(name, None)
        if value is not None:
            state["annotations"][name] = value
elif words[0] == "drain":
    if state["said"]:
        print(state["said"].pop(0), file=sys.stderr)
        end(1)
"""
TIMED_OUT = (
    'error when waiting for pod "trainer" in namespace "default" to terminate:'
    " context deadline exceeded"
)


@pytest.fixture
def kubectl(tool: Tool) -> ToolDouble:
    """Return kubectl with the node gpu01, which takes work."""
    double = tool("kubectl", KUBECTL)
    double.set(cordoned=False, annotations={}, said=[])
    return double


def test_cordoned_marked_drained_and_given_back(kubectl: ToolDouble) -> None:
    kubectl.set(cordoned=False, annotations={}, said=[TIMED_OUT])
    method = method_of(HOOKS, mark="a1")
    first = drain(method, dry_run=False)
    assert (first.changed, first.standing, first.idle) == (True, Standing.OURS, False)
    assert first.read == TIMED_OUT
    second = drain(method, dry_run=False)
    assert (second.changed, second.standing, second.idle) == (False, Standing.OURS, True)
    assert kubectl.state["annotations"] == {ANNOTATION: "a1"}
    asked = [call for call in kubectl.state["calls"] if call[0] == "drain"]
    assert all("--ignore-daemonsets" in call and "--delete-emptydir-data" in call for call in asked)
    given_back = restore(method, dry_run=False)
    assert (given_back.changed, given_back.standing) == (True, Standing.FREE)
    assert (kubectl.state["cordoned"], kubectl.state["annotations"]) == (False, {})


def test_a_node_that_another_cordoned_is_emptied_and_stays_cordoned(kubectl: ToolDouble) -> None:
    kubectl.set(cordoned=True, annotations={ANNOTATION: "b2"}, said=[])
    method = method_of(HOOKS, mark="a1")
    assert drain(method, dry_run=False).standing is Standing.OTHER
    assert not restore(method, dry_run=False).changed
    assert kubectl.state["cordoned"]
    assert kubectl.state["annotations"] == {ANNOTATION: "b2"}


def test_check_mode_only_looks(kubectl: ToolDouble) -> None:
    method = method_of(HOOKS, mark="a1")
    assert drain(method, dry_run=True).changed
    kubectl.set(cordoned=True, annotations={ANNOTATION: "a1"}, said=[])
    assert restore(method, dry_run=True).changed
    assert {call[0] for call in kubectl.state["calls"]} == {"get"}


def test_what_will_never_end_is_told_at_once(kubectl: ToolDouble) -> None:
    said = "cannot delete Pods declare no controller (use --force to override): default/bare"
    kubectl.set(cordoned=False, annotations={}, said=[said])
    with pytest.raises(CommandFailed, match="declare no controller"):
        drain(method_of(HOOKS, mark="a1"), dry_run=False)


def test_an_unknown_node_is_refused(kubectl: ToolDouble) -> None:
    other = parse({"method": "kubernetes", "node": "gpu77"})
    with pytest.raises(CommandFailed, match="not found"):
        method_of(other).look()


@pytest.mark.parametrize("text", ["", "null", "[]", '{"kind": "NodeList"}', "Node"])
def test_what_is_no_node(text: str) -> None:
    with pytest.raises(ValueError):
        parse_node(text)


def test_annotations_of_another_kind_are_none() -> None:
    assert parse_node(json.dumps({"kind": "Node", "metadata": {"annotations": []}})) == (False, "")
