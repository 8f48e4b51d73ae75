# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sending the controller's pynvml along with a module, so that targets need nothing installed."""

from __future__ import annotations

import base64
import importlib.util
import zlib
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible_collections.gpufleet.p2p.plugins.plugin_utils.run_cache import made_once

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


def packed_pynvml() -> str:
    """Return that file as the modules' option pynvml_source takes it.

    Raises:
        AnsibleActionFail: as controller_pynvml.
    """
    packed = made_once(
        "pynvml", lambda: base64.b64encode(zlib.compress(Path(controller_pynvml()).read_bytes(), 9))
    )
    return packed.decode("ascii")


class PynvmlCarrier(ActionBase):  # type: ignore[misc]  # Ansible has no type information
    """Runs the module of the same name with pynvml among its arguments.

    As an argument it costs no execution of its own on the host; as a file it took four.
    """

    TRANSFERS_FILES = False
    _supports_check_mode = True
    _supports_async = True
    _supports_diff = False
    MODULE = ""

    def run(
        self, tmp: str | None = None, task_vars: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        """Run the module and return its result."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        arguments = {"pynvml_source": packed_pynvml(), **self._task.args}
        return {**result, **self._executed(arguments, task_vars)}

    def _executed(
        self, arguments: dict[str, Any], task_vars: dict[str, Any] | None
    ) -> dict[str, Any]:
        """Return the module's result."""
        asynchronous = self._task.async_val and not self._connection.has_native_async
        outcome: dict[str, Any] = self._execute_module(
            module_name=self.MODULE,
            module_args=arguments,
            task_vars=task_vars,
            wrap_async=asynchronous,
        )
        return outcome
