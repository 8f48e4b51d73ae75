# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""p2p_preflight on the controller: it asks facts that are there already, and not the host."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from ansible.plugins.action import ActionBase
from ansible_collections.gpufleet.p2p.plugins.module_utils._host.errors import GpufleetError
from ansible_collections.gpufleet.p2p.plugins.module_utils._preflight.judgement import (
    OPTIONS,
    judge,
)
from ansible_collections.gpufleet.p2p.plugins.plugin_utils.report_values import plain

_CATALOGUE = Path(__file__).parents[2] / "roles/p2p_driver/files/catalogue.yml"


class ActionModule(ActionBase):
    """Judges the host's facts."""

    TRANSFERS_FILES = False
    _requires_connection = False
    _supports_check_mode = True
    _supports_async = False

    def run(
        self, tmp: str | None = None, task_vars: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        """Return every gate's answer and whether all passed, or a refusal."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        gathered = (task_vars or {}).get("ansible_facts", {}).get("p2p", {})
        # No gate raises for a fact that is missing; without any there is a refusal.
        self._task.args.setdefault("facts", plain(gathered))
        self._task.args.setdefault("catalogue", _catalogue())
        _validated, options = self.validate_argument_spec(argument_spec=OPTIONS)
        try:
            return {**result, "changed": False, **judge(plain(options))}
        except GpufleetError as error:
            refusal = error.as_dict()
            return {**result, "failed": True, "msg": str(error), "error": refusal}


def _catalogue() -> dict[str, Any]:
    # The C parser where there is one: this is read for each host.
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    known: dict[str, Any] = yaml.load(_CATALOGUE.read_text(encoding="utf-8"), Loader=loader)
    return known
