# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""kubectl itself cordons, drains and uncordons a node; the API server is a double."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible_collections.gpufleet.p2p.plugins.module_utils._drain import kubernetes
from ansible_collections.gpufleet.p2p.plugins.module_utils._drain.hooks import Hooks, parse
from ansible_collections.gpufleet.p2p.plugins.module_utils._drain.method import Standing
from ansible_collections.gpufleet.p2p.plugins.module_utils._drain.steps import (
    drain,
    method_of,
    restore,
)
from ansible_collections.gpufleet.p2p.plugins.module_utils._host.commands import CommandFailed
from support.kubernetes_api import KubernetesApi, served

MARK = "3f1c9a77d02b4e65"


@pytest.fixture
def api() -> KubernetesApi:
    """Return an API server with the node gpu01 and no pods."""
    return KubernetesApi("gpu01")


@pytest.fixture
def hooks(api: KubernetesApi, tmp_path: Path) -> Iterator[Hooks]:
    """Return hooks whose kubectl talks to that server."""
    with served(api) as address:
        tool = [
            "kubectl",
            f"--server={address}",
            f"--cache-dir={tmp_path}",
            "--kubeconfig=/dev/null",
        ]
        yield parse({"method": "kubernetes", "node": "gpu01", "tool": tool})


def test_cordoned_emptied_and_given_back(api: KubernetesApi, hooks: Hooks) -> None:
    api.add_pod("trainer", looks=1)
    method = method_of(hooks, mark=MARK)
    assert method.look().standing is Standing.FREE
    outcome = drain(method, dry_run=False)
    assert (outcome.changed, outcome.standing, outcome.idle) == (True, Standing.OURS, True)
    assert api.node["spec"]["unschedulable"] is True
    assert api.node["metadata"]["annotations"] == {kubernetes.ANNOTATION: MARK}
    assert api.pods == {}
    outcome = restore(method, dry_run=False)
    assert (outcome.changed, outcome.standing) == (True, Standing.FREE)
    assert (api.node["spec"], api.node["metadata"]["annotations"]) == ({}, {})


def test_a_pod_that_takes_long_is_not_an_error(
    api: KubernetesApi, hooks: Hooks, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kubernetes, "_PASS_SECONDS", 2)
    api.add_pod("trainer", looks=1000)
    method = method_of(hooks, mark=MARK)
    assert not drain(method, dry_run=False).idle
    api.looks["trainer"] = 0
    deadline = time.monotonic() + 60
    while not drain(method, dry_run=False).idle:
        assert time.monotonic() < deadline
    assert api.pods == {}


def test_a_disruption_budget_is_waited_for(
    api: KubernetesApi, hooks: Hooks, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kubernetes, "_PASS_SECONDS", 2)
    api.add_pod("server")
    api.kept.add("server")
    method = method_of(hooks, mark=MARK)
    assert not drain(method, dry_run=False).idle
    api.kept.clear()
    assert drain(method, dry_run=False).idle


def test_a_pod_that_nobody_starts_again_is_told_at_once(api: KubernetesApi, hooks: Hooks) -> None:
    api.add_pod("bare", controlled=False)
    with pytest.raises(CommandFailed, match="declare no controller"):
        drain(method_of(hooks, mark=MARK), dry_run=False)
    assert list(api.pods) == ["bare"]


def test_what_another_cordoned_stays_cordoned(api: KubernetesApi, hooks: Hooks) -> None:
    api.node["spec"]["unschedulable"] = True
    method = method_of(hooks, mark=MARK)
    assert drain(method, dry_run=False).standing is Standing.OTHER
    assert not restore(method, dry_run=False).changed
    assert api.node["spec"]["unschedulable"] is True


def test_a_node_of_another_name_is_refused(hooks: Hooks) -> None:
    other = parse({**hooks.as_dict(), "node": "gpu77"})
    with pytest.raises(CommandFailed, match="gpu77"):
        method_of(other).look()
