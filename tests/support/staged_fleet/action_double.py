# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The action plugin that stands in for a module: it asks the host's double.

A copy of it lies in the staged collection under the name of each module that it replaces. Options
that the module does not document are refused, so that a misspelt one is found here too.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from ansible.plugins.action import ActionBase
from ansible.plugins.loader import module_loader
from ansible_collections.gpufleet.p2p.plugins.plugin_utils.report_values import plain

from support.staged_fleet.host_double import HostDouble

#: This one stands for a module of Ansible's own.
_FOREIGN = ("restart",)


class ActionModule(ActionBase):
    """Changes the double's file where the module would change the host."""

    _supports_check_mode = True

    def run(
        self, tmp: str | None = None, task_vars: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        """Return what the module would, or its failure."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        assert task_vars is not None
        name = self._task.action.rpartition(".")[2]
        given = plain(self._task.args)
        unknown = set() if name in _FOREIGN else set(given) - _options(name)
        if unknown:
            return {**result, "failed": True, "msg": f"{name} has no option {sorted(unknown)}"}
        host = HostDouble(Path(task_vars["host_folder"]))
        try:
            return {**result, "changed": False, **getattr(host, name)(given, self._task.check_mode)}
        except RuntimeError as failure:
            error = {"code": str(failure).split(":")[0], "read": "a", "want": "b", "remedy": "c"}
            return {**result, "failed": True, "msg": str(failure), "error": error}


def _options(name: str) -> set[str]:
    path = module_loader.find_plugin_with_context(f"gpufleet.p2p.{name}").plugin_resolved_path
    text = Path(path).read_text().partition('DOCUMENTATION = r"""')[2].partition('"""')[0]
    # By the C parser, and no more than the options: this is read for every task of every host.
    options = yaml.load(text, Loader=yaml.CSafeLoader)["options"]
    return set(options)
