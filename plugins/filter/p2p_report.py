# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filters that turn the hosts' records into a report; the work is in plugin_utils/report_*.py."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Callable

from ansible.errors import AnsibleFilterError
from ansible_collections.gpufleet.p2p.plugins.plugin_utils import report_page


def _list(value: object, name: str) -> Sequence[Any]:
    if isinstance(value, (str, Mapping)) or not isinstance(value, Sequence):
        raise AnsibleFilterError(f"{name} is a {type(value).__name__}, wanted a list")
    return value


def p2p_report_records(
    records: object, hosts: object = (), lost: object = ()
) -> list[dict[str, Any]]:
    """Return the records by host name, completed for ``hosts`` that have none."""
    return report_page.complete(
        _list(records, "records"), _list(hosts, "hosts"), _list(lost, "lost")
    )


def p2p_report_files(records: object, template: str) -> list[dict[str, str]]:
    """Return the report's files, each with path and content."""
    return report_page.report_files(
        report_page.complete(_list(records, "records"), ()), str(template)
    )


def p2p_report_summary(records: object, report: str = "") -> list[str]:
    """Return the summary's lines."""
    return report_page.summary_lines(
        report_page.complete(_list(records, "records"), ()), str(report)
    )


class FilterModule:
    """The filters by name."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return name to function, as Ansible asks for it."""
        return {
            "p2p_report_records": p2p_report_records,
            "p2p_report_files": p2p_report_files,
            "p2p_report_summary": p2p_report_summary,
        }
