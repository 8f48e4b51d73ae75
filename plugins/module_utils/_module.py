# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The one place where module_utils meets Ansible: arguments in, result or refusal out."""

from __future__ import annotations

from typing import Any, Callable

from ansible.module_utils.basic import AnsibleModule

from ._host.errors import GpufleetError


def main(
    argument_spec: dict[str, Any],
    body: Callable[[AnsibleModule], dict[str, Any]],
    *,
    supports_check_mode: bool = True,
    **module_arguments: Any,
) -> None:
    """Run a module: ``body`` receives the AnsibleModule and returns the result to exit with.

    A GpufleetError becomes ``fail_json`` with ``msg`` for people and ``error`` (code, read, want,
    remedy) for programs; an OSError, such as a full disk, is told the same way.
    """
    module = AnsibleModule(
        argument_spec=argument_spec, supports_check_mode=supports_check_mode, **module_arguments
    )
    try:
        result = body(module)
    except GpufleetError as error:
        module.fail_json(msg=str(error), error=error.as_dict())
    except OSError as error:
        refusal = GpufleetError(
            "file_system_refused",
            read=f"{error.filename or 'a file'}: {error.strerror or error}",
            want="the file to be readable and writable",
            remedy="check free space, mount options and permissions of that path, then run again",
        )
        module.fail_json(msg=str(refusal), error=refusal.as_dict())
    module.exit_json(**{"changed": False, **result})
