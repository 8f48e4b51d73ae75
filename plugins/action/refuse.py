# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""refuse on the controller, which is all there is of it: the host is not asked."""

from __future__ import annotations

from typing import Any

from ansible.plugins.action import ActionBase
from ansible_collections.gpufleet.p2p.plugins.module_utils._host.errors import GpufleetError


class ActionModule(ActionBase):
    """Fails with the four parts of a refusal."""

    TRANSFERS_FILES = False
    _requires_connection = False
    _supports_check_mode = True
    _supports_async = False

    def run(
        self, tmp: str | None = None, task_vars: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        """Return a failed result, never another."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        part = {"type": "str", "required": True}
        _validated, given = self.validate_argument_spec(
            argument_spec={
                "code": part,
                "read": part,
                "want": part,
                "remedy": part,
                "message": {"type": "str"},
            }
        )
        message = given.pop("message")
        refusal = GpufleetError(given.pop("code"), **given)
        return {
            **result,
            "failed": True,
            "msg": message or str(refusal),
            "error": refusal.as_dict(),
        }
