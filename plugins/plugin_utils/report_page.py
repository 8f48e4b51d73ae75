# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The files of a report and its lines for a terminal, from the records of a run."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from typing import Any

import jinja2

from .report_together import largest_total, notes_of
from .report_values import (
    MISSING,
    branch,
    build_line,
    figure,
    groups_of,
    items,
    left_drained,
    outcome_of,
    pair_counts,
    pair_figures,
    plain,
    reboots_of,
    span,
    text,
)
from .report_view import page_view

PAGE_NAME = "report.html"
RECORD_FOLDER = "hosts"
_NAMES_SHOWN = 3

LOST = {
    "code": "host_lost",
    "read": "the host stopped answering before its record was made",
    "want": "an answer",
    "remedy": "check power, network and console; a trial boot falls back at the next power cycle",
}
NOT_REACHED = {
    "code": "not_reached",
    "read": "the run has not come to this host",
    "want": "every earlier batch verified",
    "remedy": "mend the hosts that stopped the run, then run again",
}


def complete(
    records: Sequence[Any], hosts: Sequence[Any], lost: Sequence[Any] = ()
) -> list[dict[str, Any]]:
    """Return ``records`` as plain data by host name, with one more for each host that has none.

    Leaving such a host out would let a page of fewer hosts look complete. One that is in ``lost``
    (no longer in the play) is told as ``unreachable``, any other as ``not_reached``.
    """
    by_host = {}
    for record in records:
        known = plain(record)
        if isinstance(known, dict):
            by_host[text(known.get("host"))] = known
    gone = {str(host) for host in lost}
    for host in hosts:
        name = str(host)
        outcome, failure = ("unreachable", LOST) if name in gone else ("not_reached", NOT_REACHED)
        absent = {"schema": 1, "host": name, "outcome": outcome, "failure": dict(failure)}
        by_host.setdefault(name, absent)
    return [by_host[name] for name in sorted(by_host)]


def record_file_name(host: str) -> str:
    """Return a file name for ``host`` that stays inside its folder and is unique to the name."""
    safe = re.sub(r"[^A-Za-z0-9._-]", "_", host)
    if host and safe == host and not host.startswith(".") and len(host) <= 120:
        return f"{host}.json"
    digest = hashlib.sha256(host.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return f"{safe.lstrip('.')[:100] or 'host'}-{digest}.json"


def html_page(records: Sequence[dict[str, Any]], template: str) -> str:
    """Return the page; every value is escaped by Jinja2, whatever a host calls itself."""
    environment = jinja2.Environment(
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
    )
    return environment.from_string(template).render(page=page_view(records))


def report_files(records: Sequence[dict[str, Any]], template: str) -> list[dict[str, str]]:
    """Return the files of a report as ``[{path, content}]``, paths relative to its folder."""
    files = [
        {
            "path": f"{RECORD_FOLDER}/{record_file_name(text(record.get('host')))}",
            "content": json.dumps(record, indent=2, sort_keys=True, ensure_ascii=False) + "\n",
        }
        for record in records
    ]
    return [*files, {"path": PAGE_NAME, "content": html_page(records, template)}]


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    padded = (cell.ljust(width) for cell, width in zip(cells, widths))
    return "  ".join(padded).rstrip()


def summary_lines(records: Sequence[dict[str, Any]], report: str = "") -> list[str]:
    """Return the summary for a terminal: one line per host, what needs attention, notes.

    ``report`` is the path of the page, named in the last line.
    """
    header = ["host", "outcome", "pairs ok/warn/fail", "GB/s off", "GB/s on", "all at once"]
    table = [[*header, "us on", "groups", "reboots"]]
    troubles = []
    for record in records:
        name, counts = _printable(text(record.get("host"))), pair_counts(record)
        groups = " ".join(
            "[" + ",".join(str(member) for member in group) + "]" for group in groups_of(record)
        )
        judged = f"{counts['pass']}/{counts['warn']}/{counts['fail']}"
        table.append(
            [
                name,
                outcome_of(record).replace("_", " "),
                judged if any(counts.values()) else MISSING,
                span(pair_figures(record, "bandwidth", "off", "uni")),
                span(pair_figures(record, "bandwidth", "on", "uni")),
                figure(largest_total(branch(record, "verify"))),
                span(pair_figures(record, "latency", "on")),
                groups or MISSING,
                str(reboots_of(record)),
            ]
        )
        troubles += [f"{name}: {_printable(line)}" for line in _trouble_lines(record)]
    widths = [max(len(row[column]) for row in table) for column in range(len(table[0]))]
    lines = [_line(row, widths) for row in table] + troubles
    lines += [*_note_lines(records), build_line(records)]
    return [*lines, f"report: {report}"] if report else lines


def _trouble_lines(record: dict[str, Any]) -> list[str]:
    found = []
    failure = branch(record, "failure")
    refusals = [refusal for refusal in (failure, left_drained(record)) if refusal]
    refusals += [
        {**gate, "code": gate.get("name")}
        for gate in items(record, "gates")
        if gate.get("passed") is False and gate.get("name") != failure.get("code")
    ]
    for refusal in refusals:
        found.append(
            f"{text(refusal.get('code'))}: read {text(refusal.get('read'))}; "
            f"want {text(refusal.get('want'))}; remedy: {text(refusal.get('remedy'))}"
        )
    for cause in items(branch(record, "verify"), "causes"):
        evidence, remedy = text(cause.get("evidence")), text(cause.get("remedy"))
        found.append(f"{text(cause.get('code'))}: {evidence}; remedy: {remedy}")
    return found


def _note_lines(records: Sequence[dict[str, Any]]) -> list[str]:
    """Return each note once: a fleet of equal hosts has the same ones everywhere."""
    hosts: dict[str, list[str]] = {}
    for record in records:
        name = _printable(text(record.get("host")))
        for note in notes_of(branch(record, "verify")):
            words = _printable(f"{note.code}: {note.evidence}; {note.remedy}")
            hosts.setdefault(words, []).append(name)
    return [f"{_some(names)}: note: {words}" for words, names in hosts.items()]


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(names[:_NAMES_SHOWN])
    more = len(names) - _NAMES_SHOWN
    return f"{shown} and {more} more" if more > 0 else shown


def _printable(value: str) -> str:
    """Return ``value`` without control characters, which a terminal would obey."""
    return "".join(character if character.isprintable() else "?" for character in value)
