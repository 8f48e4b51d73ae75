# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Units are stopped, kept from starting, and those that ran are started again."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.gpufleet.p2p.plugins.module_utils._drain.hooks import parse
from ansible_collections.gpufleet.p2p.plugins.module_utils._drain.method import (
    DrainRefused,
    Standing,
)
from ansible_collections.gpufleet.p2p.plugins.module_utils._drain.note import NOTE
from ansible_collections.gpufleet.p2p.plugins.module_utils._drain.steps import drain, restore
from ansible_collections.gpufleet.p2p.plugins.module_utils._drain.units import (
    Units,
    running_units,
)

from .conftest import Tool, ToolDouble

HOOKS = parse({"method": "units", "units": ["a.service", "b.service"]})
SYSTEMCTL = """
if words[0] == "show":
    unit = words[-1]
    print("LoadState=" + ("loaded" if unit in state["units"] else "not-found"))
    print("ActiveState=" + state["units"].get(unit, "inactive"))
elif words[0] in ("stop", "start"):
    for unit in words[2:]:
        state["units"][unit] = "active" if words[0] == "start" else state["after_stop"]
"""
DROP_IN = "etc/systemd/system/{}.d/zz-gpufleet-drained.conf"


@pytest.fixture
def systemctl(tool: Tool) -> ToolDouble:
    """Return systemctl with a.service running and b.service not."""
    double = tool("systemctl", SYSTEMCTL)
    double.set(units={"a.service": "active", "b.service": "inactive"}, after_stop="inactive")
    return double


def called(systemctl: ToolDouble) -> list[list[str]]:
    """Return how systemctl was called, less its looks."""
    return [call for call in systemctl.state["calls"] if call[0] != "show"]


def test_only_what_ran_is_started_again(systemctl: ToolDouble, tmp_path: Path) -> None:
    ran = running_units(HOOKS.units)
    assert ran == ("a.service",)
    outcome = drain(Units(HOOKS, started=ran, noted=False, root=tmp_path), dry_run=False)
    assert (outcome.changed, outcome.standing, outcome.idle) == (True, Standing.OURS, True)
    text = (tmp_path / DROP_IN.format("b.service")).read_text()
    assert f"ConditionPathExists=!/{NOTE}\n" in text
    outcome = restore(Units(HOOKS, started=ran, noted=True, root=tmp_path), dry_run=False)
    assert outcome.changed
    assert called(systemctl) == [
        ["daemon-reload"],
        ["stop", "--", "a.service"],
        ["daemon-reload"],
        ["start", "--", "a.service"],
    ]
    assert list((tmp_path / "etc/systemd/system").iterdir()) == []


def test_a_killed_run_is_continued(systemctl: ToolDouble, tmp_path: Path) -> None:
    """Noted, and killed before anything was stopped: the next run stops it."""
    outcome = drain(Units(HOOKS, started=["a.service"], noted=True, root=tmp_path), dry_run=False)
    assert outcome.idle
    assert systemctl.state["units"]["a.service"] == "inactive"
    assert (tmp_path / DROP_IN.format("a.service")).exists()


def test_a_unit_that_does_not_stop_is_named(systemctl: ToolDouble, tmp_path: Path) -> None:
    systemctl.set(units={"a.service": "active", "b.service": "inactive"}, after_stop="deactivating")
    outcome = drain(Units(HOOKS, started=[], noted=False, root=tmp_path), dry_run=False)
    assert not outcome.idle
    assert "a.service" in outcome.read


def test_check_mode_only_looks(systemctl: ToolDouble, tmp_path: Path) -> None:
    assert drain(Units(HOOKS, started=[], noted=False, root=tmp_path), dry_run=True).changed
    assert restore(Units(HOOKS, started=[], noted=True, root=tmp_path), dry_run=True).changed
    assert called(systemctl) == []
    assert not (tmp_path / "etc").exists()


def test_a_unit_that_is_not_installed_is_refused(systemctl: ToolDouble) -> None:
    with pytest.raises(DrainRefused) as refused:
        running_units(["c.service"])
    assert refused.value.code == "drain_unit_unknown"
