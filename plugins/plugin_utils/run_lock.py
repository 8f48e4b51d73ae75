# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host's lock in the name of this run, which may succeed a dead one of the same controller.

Only on the controller is it known which run this is and whether another one died.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ansible_collections.gpufleet.p2p.plugins.plugin_utils.run_identity import (
    describe_run,
    is_dead,
    parse_identity,
    this_run,
)


def as_this_run(
    execute: Callable[[dict[str, Any]], dict[str, Any]], options: Mapping[str, Any]
) -> dict[str, Any]:
    """Return what ``execute`` does with the lock's options in the name of this run.

    Args:
        execute: runs the module that takes the lock, given the lock's options.
        options: more of them; these win.
    """
    here = this_run()
    named = {"run": str(here), "holder": describe_run(here.pid), **options}
    outcome = execute(named)
    holder = parse_identity(_refusing_run(outcome))
    if holder is not None and is_dead(holder, here):
        # Named, not broken: if a third run took the lock meanwhile, this one stops as before.
        outcome = execute({**named, "supersedes": str(holder)})
    return outcome


def _refusing_run(outcome: Mapping[str, Any]) -> str:
    error = outcome.get("error") or {}
    return str(error.get("run", "")) if error.get("code") == "host_locked" else ""
