# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Draining and restoring by any method: look, do what is missing, and tell what there is then."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .hooks import Hooks
from .kubernetes import Kubernetes
from .method import Method, Standing
from .own_command import OwnCommand
from .slurm import Slurm
from .units import Units


@dataclass(frozen=True)
class Outcome:
    """What was done, or in check mode would be.

    Attributes:
        changed: whether the host was drained or restored now.
        standing: who keeps work away from it after that.
        idle: whether its work has ended; always true of one that was restored.
        read: the same in words.
    """

    changed: bool
    standing: Standing
    idle: bool
    read: str


def method_of(
    hooks: Hooks, *, mark: str = "", noted: bool = False, started: Sequence[str] = ()
) -> Method:
    """Return the method that the hooks name.

    Args:
        hooks: the description.
        mark: the mark of the host's note.
        noted: whether the note was there before this run, which is how the methods that leave no
            mark know their own drain.
        started: units that are to be started again.
    """
    if hooks.method == "slurm":
        return Slurm(hooks, mark)
    if hooks.method == "kubernetes":
        return Kubernetes(hooks, mark)
    if hooks.method == "units":
        return Units(hooks, started=started, noted=noted)
    return OwnCommand(hooks, noted=noted)


def drain(method: Method, *, dry_run: bool) -> Outcome:
    """Keep new work away and ask once whether the old has ended; to be repeated until it has.

    Raises:
        GpufleetError: the method's tool is missing or refused.
    """
    seen = method.look()
    free = seen.standing is Standing.FREE
    if dry_run:
        return Outcome(free, seen.standing, True, seen.read)
    if free:
        method.drain()
    work = method.work()
    return Outcome(free, Standing.OURS if free else seen.standing, work.ended, work.read)


def restore(method: Method, *, dry_run: bool) -> Outcome:
    """Let the host have work again where gpufleet drained it, and leave it where others did.

    Raises:
        GpufleetError: the method's tool is missing or refused.
    """
    seen = method.look()
    ours = seen.standing is Standing.OURS
    if not ours or dry_run:
        return Outcome(ours, seen.standing, True, seen.read)
    method.restore()
    return Outcome(True, Standing.FREE, True, method.look().read)
