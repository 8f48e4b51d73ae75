# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The controller's part of p2p_verify: pynvml goes with it, and the run's name for the lock."""

from __future__ import annotations

from typing import Any

from ansible_collections.gpufleet.p2p.plugins.plugin_utils.pynvml_carrier import PynvmlCarrier
from ansible_collections.gpufleet.p2p.plugins.plugin_utils.run_lock import as_this_run
from ansible_collections.gpufleet.p2p.plugins.plugin_utils.run_record import utc_now


class ActionModule(PynvmlCarrier):
    """Runs p2p_verify with the controller's pynvml, in this run's name where it locks the host."""

    MODULE = "gpufleet.p2p.p2p_verify"

    def _executed(
        self, arguments: dict[str, Any], task_vars: dict[str, Any] | None
    ) -> dict[str, Any]:
        if arguments.get("lock") is None:
            return super()._executed(arguments, task_vars)
        execute = super()._executed

        def locked(options: dict[str, Any]) -> dict[str, Any]:
            return execute({**arguments, "lock": options}, task_vars)

        outcome = as_this_run(locked, arguments["lock"])
        if outcome.get("lock"):
            outcome["lock"]["at"] = utc_now()
        return outcome
