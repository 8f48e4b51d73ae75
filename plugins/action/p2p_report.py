# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""p2p_report on the controller, which is all there is of it: the hosts are not asked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ansible.plugins.action import ActionBase
from ansible_collections.gpufleet.p2p.plugins.module_utils._host.errors import GpufleetError
from ansible_collections.gpufleet.p2p.plugins.module_utils._host.files import atomic_write
from ansible_collections.gpufleet.p2p.plugins.plugin_utils import report_page
from ansible_collections.gpufleet.p2p.plugins.plugin_utils.run_record import drain_of, record_of

_NAMES = {"type": "list", "elements": "str"}


class ActionModule(ActionBase):
    """Writes the report in the name of one host: a task for each file of a fleet costs more."""

    TRANSFERS_FILES = False
    _requires_connection = False
    _supports_check_mode = True
    _supports_async = False

    def run(
        self, tmp: str | None = None, task_vars: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        """Return the summary's lines, and the page's path where one was written."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        _validated, given = self.validate_argument_spec(
            argument_spec={
                "directory": {"type": "path", "required": True},
                "template": {"type": "path", "required": True},
                "hosts": {**_NAMES, "required": True},
                "lost": {**_NAMES, "default": []},
                "records": {"type": "list", "elements": "dict"},
                "driver": {"type": "dict", "default": {}},
                "in_check_mode": {"type": "bool", "default": False},
            }
        )
        known, variables = given["records"], (task_vars or {}).get("hostvars")
        if known is None:
            known = _records(variables, given["hosts"], given["driver"])
        records = report_page.complete(known, given["hosts"], given["lost"])
        for record in records if given["records"] is None else ():
            # A host that was lost has no record of its own, and may be drained all the same.
            drained = drain_of(variables.raw_get(record["host"])) if "drain" not in record else None
            if drained is not None:
                record["drain"] = drained
        page = ""
        if given["in_check_mode"] or not self._task.check_mode:
            try:
                template = Path(given["template"]).read_text(encoding="utf-8")
                page = _write(Path(given["directory"]), report_page.report_files(records, template))
            except OSError as error:
                refusal = GpufleetError(
                    "report_not_written",
                    read=f"{error.filename}: {error.strerror}",
                    want="a folder on the controller that can be written to",
                    remedy="give another folder by p2p_report_dir, or make room in this one",
                )
                return {**result, "failed": True, "msg": str(refusal), "error": refusal.as_dict()}
        return {**result, "summary": report_page.summary_lines(records, page), "page": page or None}


def _records(variables: Any, hosts: list[str], driver: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the records of those hosts that the run is done with."""
    # Raw: what modules returned is data, and a fleet's templates take long.
    each = (record_of(host, variables.raw_get(host), driver) for host in hosts)
    return [record for record in each if record is not None]


def _write(directory: Path, files: list[dict[str, str]]) -> str:
    """Write the files below a directory and return the path of the last, which is the page."""
    (directory / report_page.RECORD_FOLDER).mkdir(parents=True, exist_ok=True, mode=0o755)
    for file in files:
        atomic_write(directory / file["path"], file["content"].encode("utf-8"), mode=0o644)
    return str(directory / files[-1]["path"])
