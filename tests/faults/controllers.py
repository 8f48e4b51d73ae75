# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Controllers that are lost between two modules or within one, and the one that comes next.

What the lost one was about to do is never done. The next one knows nothing of it: it begins from
the start, as a second run of the play does, or undoes everything.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from typing import Any

from support.driver_hosts import Host

from .fault import Fault
from .strikes import kill_within
from .subjects import (
    ARM,
    DRIVER_AWAY,
    INSTALL_BUILD,
    PARAMETERS_AWAY,
    PRODUCT_STEPS,
    STAGE,
    STEP_ENDS,
    SUBJECTS,
    Step,
)

# What site.yml and rollback.yml do to a host before it restarts.
_SITE = (INSTALL_BUILD, STAGE, ARM)
_UNDO = (PARAMETERS_AWAY, DRIVER_AWAY)


def lost_between() -> Fault:
    """The step is never done: the controller before it is lost, and the next one does its work."""

    def strike(host: Host, step: Step, notes: dict[str, Any]) -> bool:
        return _does(host, _play(step), notes)

    return Fault("controller_lost", "before the module; a second run", strike)


def lost_within(seed: int, undo: bool) -> Fault:
    """The controller is lost within the step; the next one does its work, or undoes it."""

    def strike(host: Host, step: Step, notes: dict[str, Any]) -> bool:
        kill_within(host, step, notes, seed)
        return _does(host, _UNDO if undo and step in PRODUCT_STEPS else _play(step), notes)

    after = "undone" if undo else "a second run"
    return Fault("controller_lost", f"within it, seed {seed}; {after}", strike)


def lost_again(seed: int) -> Fault:
    """The next controller is lost as well, within a step of its own, and nobody comes after it."""

    def strike(host: Host, step: Step, notes: dict[str, Any]) -> None:
        kill_within(host, step, notes, seed)
        play = _play(step)
        number = random.Random(f"{seed} {step.name}").randrange(len(play))
        _does(host, play[:number], notes)
        kill_within(host, play[number], notes, seed + 1)

    return Fault("controller_lost", f"within it, seed {seed}; the second one too", strike)


def _play(step: Step) -> Sequence[Step]:
    """Return what a run does from its start: the control's steps up to this one, or the play."""
    if step in PRODUCT_STEPS:
        return _SITE
    (steps,) = (steps for steps in SUBJECTS.values() if step in steps)
    return [one for one in steps[: steps.index(step) + 1] if not one.idle]


def _does(host: Host, steps: Sequence[Step], notes: dict[str, Any]) -> bool:
    # The token of the trial is the lost controller's; a run gets one where there is a trial.
    carried = {name: value for name, value in notes.items() if name != "token"}
    for step in steps:
        if step is ARM and "token" not in carried:
            continue
        try:
            step.act(host, carried)
        except STEP_ENDS:
            # The play ends for this host.
            return False
    return True


def controller_faults() -> Iterator[Fault]:
    """Yield every fault of this file."""
    yield lost_between()
    for seed in (0, 2, 4):
        yield lost_within(seed, undo=False)
        yield lost_within(seed + 1, undo=True)
        yield lost_again(seed)
