# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sending the controller's pynvml along with a module, so that targets need nothing installed."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

_FILE = "pynvml.py"


def controller_pynvml() -> str:
    """Return the path of the one file that nvidia-ml-py consists of.

    Raises:
        AnsibleActionFail: it is not installed beside Ansible, or something else has its name.
    """
    spec = importlib.util.find_spec("pynvml")
    path = Path(spec.origin) if spec is not None and spec.origin is not None else None
    # The unrelated project "pynvml" installs a package of that name over the module.
    if path is None or path.name != _FILE:
        raise AnsibleActionFail(
            f"pynvml_missing: read {path or 'no module pynvml'} on the controller; want the file "
            f"{_FILE} of nvidia-ml-py; remedy: pip install nvidia-ml-py beside ansible-core, and "
            "pip uninstall pynvml if that is there"
        )
    return str(path)


class PynvmlCarrier(ActionBase):  # type: ignore[misc]  # Ansible has no type information
    """Runs the module of the same name with ``pynvml_path`` set to where pynvml was put."""

    # Makes the target's temporary directory before run, and removes it after.
    TRANSFERS_FILES = True
    _supports_check_mode = True
    _supports_async = True
    _supports_diff = False
    MODULE = ""

    def run(
        self, tmp: str | None = None, task_vars: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        """Transfer pynvml, run the module, and return its result."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        arguments = dict(self._task.args)
        if not arguments.get("pynvml_path"):
            shell = self._connection._shell
            carried = shell.join_path(shell.tmpdir, _FILE)
            self._transfer_file(controller_pynvml(), carried)
            self._fixup_perms2((shell.tmpdir, carried))
            arguments["pynvml_path"] = shell.tmpdir
        asynchronous = self._task.async_val and not self._connection.has_native_async
        result.update(
            self._execute_module(
                module_name=self.MODULE,
                module_args=arguments,
                task_vars=task_vars,
                wrap_async=asynchronous,
            )
        )
        return result
