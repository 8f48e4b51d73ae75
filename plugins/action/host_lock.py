# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""host_lock on the controller: only here is it known which run this is and whether one died."""

from __future__ import annotations

from typing import Any

from ansible.plugins.action import ActionBase
from ansible_collections.gpufleet.p2p.plugins.plugin_utils.run_identity import (
    describe_run,
    is_dead,
    parse_identity,
    this_run,
)
from ansible_collections.gpufleet.p2p.plugins.plugin_utils.run_record import utc_now

MODULE = "gpufleet.p2p.host_lock"


class ActionModule(ActionBase):
    """Names the run, and lets it succeed a dead one of the same controller."""

    _supports_async = False
    TRANSFERS_FILES = False

    def run(
        self, tmp: str | None = None, task_vars: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        """Return the module's result; a second execution only where the lock is a dead run's."""
        prepared: dict[str, Any] = super().run(tmp, task_vars)
        here = this_run()
        options = {"run": str(here), "holder": describe_run(here.pid), **self._task.args}
        outcome = self._lock(options, task_vars)
        holder = parse_identity(_refusing_run(outcome))
        if holder is not None and is_dead(holder, here):
            # Named, not broken: if a third run took the lock meanwhile, this one stops as before.
            outcome = self._lock({**options, "supersedes": str(holder)}, task_vars)
        return {**prepared, **outcome, "at": utc_now()}

    def _lock(self, options: dict[str, Any], task_vars: dict[str, Any] | None) -> dict[str, Any]:
        outcome: dict[str, Any] = self._execute_module(
            module_name=MODULE, module_args=options, task_vars=task_vars
        )
        return outcome


def _refusing_run(outcome: dict[str, Any]) -> str:
    error = outcome.get("error") or {}
    return str(error.get("run", "")) if error.get("code") == "host_locked" else ""
