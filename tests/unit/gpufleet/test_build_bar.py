# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How far a driver build is: told by the role's module, shown as a bar."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from gpufleet.events import Event, event_from_runner
from gpufleet.progress import Progress
from gpufleet.view import build_bar, view_for

LOOKED = Event("ok", "alpha", "Look how far the build is", "p2p_driver", compiled=(512, 1382))


def looked(**outcome: Any) -> Event:
    """Return the event of a look at a build that told ``outcome``."""
    data = {"event": "runner_on_ok", "event_data": {"host": "alpha", "res": outcome}}
    event = event_from_runner(data)
    assert event is not None
    return event


@pytest.mark.parametrize(
    ("outcome", "compiled"),
    [
        ({"objects": 512, "expected": 1382}, (512, 1382)),
        ({"objects": 512, "expected": None}, None),
        ({"objects": None, "expected": None}, None),
        ({"objects": 1, "expected": 0}, None),
        ({"objects": ["a"], "expected": 3}, None),
        ({}, None),
    ],
)
def test_events_carry_what_the_module_counted(
    outcome: dict[str, Any], compiled: tuple[int, int] | None
) -> None:
    assert looked(**outcome).compiled == compiled


@pytest.mark.parametrize(
    ("objects", "full"), [(0, 0), (691, 10), (1381, 19), (1382, 19), (1400, 19)]
)
def test_the_bar_is_never_full_while_objects_are_to_come(objects: int, full: int) -> None:
    bar = build_bar(objects, 1382)
    assert bar.count("█") == full
    assert bar.count("█") + bar.count("░") == 20
    assert bar.endswith(f" {objects} of about 1382 objects")


def test_it_lasts_from_look_to_look_and_goes_with_the_stage() -> None:
    progress = Progress("apply", clock=lambda: 0.0)
    for event in (LOOKED, Event("ok", "alpha", "Ask whether it has ended", "p2p_driver")):
        progress.take(event)
        assert progress.hosts["alpha"].compiled == (512, 1382)
    progress.take(Event("started", "alpha", "Wait on", "p2p_driver"))
    progress.take(Event("started", "alpha", "Stage", "iommu_passthrough"))
    assert progress.hosts["alpha"].compiled is None


@pytest.mark.parametrize("terminal", [True, False])
def test_both_views_show_it(terminal: bool) -> None:
    written = io.StringIO()
    console = Console(file=written, width=120, force_terminal=terminal, color_system=None)
    with view_for(console, "apply") as view:
        view.show(Event("started", "alpha", "Look how far the build is", "p2p_driver"))
        view.show(LOOKED)
    assert "███████░░░░░░░░░░░░░ 512 of about 1382 objects" in written.getvalue()
