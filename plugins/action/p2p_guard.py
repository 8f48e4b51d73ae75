# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The controller's part of p2p_guard: the program that the host keeps is packed here."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from ansible.plugins.action import ActionBase
from ansible_collections.gpufleet.p2p.plugins.plugin_utils.guard_program import (
    guard_program_sha256,
    own_guard_program,
)

_FILE = "gpufleet-guard"


class ActionModule(ActionBase):
    """Sends the program where the host has another one: most times it has it already."""

    TRANSFERS_FILES = False
    _supports_check_mode = True
    _supports_async = False

    def run(
        self, tmp: str | None = None, task_vars: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        """Return the module's result."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        arguments = dict(self._task.args)
        if arguments.get("state", "present") == "present" and not arguments.get("program"):
            arguments["program_sha256"] = guard_program_sha256()
        outcome = self._guard(arguments, task_vars)
        if outcome.get("program_wanted"):
            outcome = self._guard({**arguments, "program": self._transferred()}, task_vars)
        return {**result, **outcome}

    def _guard(self, arguments: dict[str, Any], task_vars: dict[str, Any] | None) -> dict[str, Any]:
        outcome: dict[str, Any] = self._execute_module(
            module_name="gpufleet.p2p.p2p_guard", module_args=arguments, task_vars=task_vars
        )
        return outcome

    def _transferred(self) -> str:
        self._make_tmp_path()
        shell = self._connection._shell
        remote = str(shell.join_path(shell.tmpdir, _FILE))
        with tempfile.TemporaryDirectory(prefix="gpufleet-") as directory:
            local = Path(directory) / _FILE
            local.write_bytes(own_guard_program())
            self._transfer_file(str(local), remote)
        self._fixup_perms2((shell.tmpdir, remote))
        return remote
