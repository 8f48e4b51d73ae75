# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The controller's part of p2p_plan: it knows the build's manifest and the guard's program."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ansible.plugins.action import ActionBase
from ansible_collections.gpufleet.p2p.plugins.module_utils._host.errors import GpufleetError
from ansible_collections.gpufleet.p2p.plugins.plugin_utils.guard_program import (
    guard_program_sha256,
)


class ActionModule(ActionBase):
    """Tells the module which build and which guard the host is to have."""

    TRANSFERS_FILES = False
    _supports_check_mode = True
    _supports_async = False

    def run(
        self, tmp: str | None = None, task_vars: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        """Return the module's result and the manifest, or a refusal."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        arguments = dict(self._task.args)
        manifest = None
        if arguments.get("driver") is not None:
            driver = dict(arguments["driver"])
            path = driver.pop("manifest", None)
            try:
                manifest = None if path is None else _manifest(Path(path))
            except GpufleetError as error:
                return {**result, "failed": True, "msg": str(error), "error": error.as_dict()}
            if manifest is not None:
                driver["build_id"] = _build_id(manifest)
            arguments["driver"] = driver
        if arguments.get("guard") is not None:
            arguments["guard"] = {**arguments["guard"], "program_sha256": guard_program_sha256()}
        outcome = self._execute_module(
            module_name="gpufleet.p2p.p2p_plan", module_args=arguments, task_vars=task_vars
        )
        return {**result, **outcome, **({} if manifest is None else {"manifest": manifest})}


def _manifest(path: Path) -> dict[str, Any]:
    try:
        manifest: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        _build_id(manifest)
    except (OSError, ValueError, KeyError, TypeError, StopIteration) as error:
        raise GpufleetError(
            "manifest_unreadable",
            read=f"{path}: {error!r}",
            want="the manifest of a driver build, with the build-id of its nvidia module",
            remedy="remove that file and the archive beside it, and run again: it is built anew",
        ) from error
    return manifest


def _build_id(manifest: dict[str, Any]) -> str:
    found: str = next(
        module["build_id"] for module in manifest["modules"] if module["name"] == "nvidia"
    )
    return found
