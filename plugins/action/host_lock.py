# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""host_lock on the controller, which names the run."""

from __future__ import annotations

from typing import Any

from ansible.plugins.action import ActionBase
from ansible_collections.gpufleet.p2p.plugins.plugin_utils.run_lock import as_this_run
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

        def lock(options: dict[str, Any]) -> dict[str, Any]:
            outcome: dict[str, Any] = self._execute_module(
                module_name=MODULE, module_args=options, task_vars=task_vars
            )
            return outcome

        return {**prepared, **as_this_run(lock, self._task.args), "at": utc_now()}
