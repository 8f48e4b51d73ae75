# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Lenient reading of host records and the one place where figures become text.

A record of a refused or lost host lacks whole branches; a report that raises on one of them hides
every other host. So nothing here raises for a missing or mistyped part: it answers with nothing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

MISSING = "\N{EN DASH}"

OUTCOMES = {
    "verified": ("verified", "good"),
    "ready": ("passed every gate", "good"),
    "done": ("done, not verified", "idle"),
    "failed": ("failed", "bad"),
    "refused": ("refused by a gate", "warn"),
    "unreachable": ("unreachable", "bad"),
    "not_reached": ("not reached", "idle"),
}
"""Outcome of a host -> (words for people, tone)."""

VERDICT_TONES = {"pass": "good", "warn": "warn", "fail": "bad", "not_applicable": "idle"}
"""Verdict of a pair or host -> tone: good, warn, bad or idle."""

VERDICT_WORDS = {"pass": "pass", "warn": "warn", "fail": "fail", "not_applicable": "n/a"}
"""Verdict -> the word that fits a matrix cell."""


def plain(value: Any) -> Any:
    """Return ``value`` as builtin dict, list, str, int, float, bool and None.

    Ansible hands tagged and lazy containers to plugins; json and hashing want the builtin types.
    """
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (str, int, float)):
        builtin = str if isinstance(value, str) else int if isinstance(value, int) else float
        return builtin(value)
    if isinstance(value, Sequence):
        return [plain(item) for item in value]
    return str(value)


def branch(value: Any, *names: str) -> dict[str, Any]:
    """Return the mapping found by following ``names``, or an empty one."""
    for name in names:
        value = value.get(name) if isinstance(value, dict) else None
    return value if isinstance(value, dict) else {}


def left_drained(record: dict[str, Any]) -> dict[str, str] | None:
    """Return a refusal's four parts for a host that the run leaves drained, None for another."""
    drain = branch(record, "drain")
    if drain.get("state") != "drained":
        return None
    return {
        "code": "host_drained",
        "read": str(drain.get("read")),
        "want": "the host healthy, and its work given back",
        "remedy": "mend the host and run again, which gives it its work back; or restore it by hand"
        " and remove /var/lib/gpufleet/drain.json there",
    }


def items(value: Any, name: str) -> list[dict[str, Any]]:
    """Return the mappings in the list ``value[name]``, or none."""
    found = value.get(name) if isinstance(value, dict) else None
    return [item for item in found if isinstance(item, dict)] if isinstance(found, list) else []


def number(value: Any) -> float | None:
    """Return ``value`` as a float if it is a finite number and not a boolean."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    as_float = float(value)
    return as_float if -1e300 < as_float < 1e300 else None


def whole(value: Any) -> int | None:
    """Return ``value`` if it is an integer and not a boolean."""
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def text(value: Any) -> str:
    """Return ``value`` for a reader: strings as they are, lists and mappings on one line."""
    if value is None or value == "":
        return MISSING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.3g}"
    if isinstance(value, dict):
        return "; ".join(f"{name}: {text(item)}" for name, item in value.items())
    if isinstance(value, list):
        return ", ".join(text(item) for item in value) or MISSING
    return str(value)


def figure(value: float | None) -> str:
    """Return a rate or a time with three significant digits and never an exponent."""
    if value is None:
        return MISSING
    for decimals, limit in ((2, 9.995), (1, 99.95)):
        if abs(value) < limit:
            return f"{value:.{decimals}f}"
    return f"{value:.0f}"


def span(values: Sequence[float]) -> str:
    """Return the least and the most of rates or times, as one figure where they read alike."""
    if not values:
        return MISSING
    low, high = figure(min(values)), figure(max(values))
    return low if low == high else f"{low}-{high}"


def percent(fraction: float | None) -> str:
    """Return a fraction of one as a whole percentage."""
    return MISSING if fraction is None else f"{fraction * 100:.0f}\N{NO-BREAK SPACE}%"


def mebibytes(value: Any) -> str:
    """Return bytes as GiB where they are whole gibibytes or more than ten of them, else as MiB."""
    size = number(value)
    if size is None:
        return MISSING
    if size >= 1 << 30 and (size % (1 << 30) == 0 or size >= 10 * (1 << 30)):
        return f"{size / (1 << 30):.4g} GiB"
    return f"{size / (1 << 20):.0f} MiB"


def link(value: Any) -> str:
    """Return a link as ``gen5 x16``; a part that could not be read is a question mark."""
    link_of = value if isinstance(value, dict) else {}
    if not link_of:
        return MISSING
    width = whole(link_of.get("width"))
    generation = whole(link_of.get("gen"))
    return f"gen{generation or '?'} x{width or '?'}"


def short_gpu_name(name: Any) -> str:
    """Return a GPU's name without the words that every one of them carries."""
    return re.sub(r"^NVIDIA |\bGeForce ", "", text(name)).strip() or MISSING


def outcome_of(record: dict[str, Any]) -> str:
    """Return the record's outcome; one that this release does not know counts as failed."""
    outcome = record.get("outcome")
    return outcome if isinstance(outcome, str) and outcome in OUTCOMES else "failed"


def pair_counts(record: dict[str, Any]) -> dict[str, int]:
    """Return how many ordered pairs have each verdict: keys pass, warn, fail, not_applicable."""
    counts = dict.fromkeys(VERDICT_TONES, 0)
    for pair in items(branch(record, "verify"), "pairs"):
        verdict = pair.get("verdict")
        if isinstance(verdict, str) and verdict in counts:
            counts[verdict] += 1
    return counts


def pair_figures(record: dict[str, Any], *path: str) -> list[float]:
    """Return one figure of every pair that has it, as ``pair_figures(r, "latency", "on")``."""
    found = []
    for pair in items(branch(record, "verify"), "pairs"):
        value = number(branch(pair, *path[:-1]).get(path[-1]))
        if value is not None:
            found.append(value)
    return found


def groups_of(record: dict[str, Any]) -> list[list[int]]:
    """Return the verified groups of two or more GPUs, each a list of GPU indices."""
    found = branch(record, "verify").get("groups")
    groups = []
    for group in found if isinstance(found, list) else []:
        listed = group if isinstance(group, list) else []
        members = [member for member in listed if whole(member) is not None]
        if len(members) > 1:
            groups.append(members)
    return groups


def build_line(records: Sequence[dict[str, Any]]) -> str:
    """Return ``driver: built N, installed M`` for this run.

    N counts different builds, not hosts: one build serves every host with the same kernel. A build
    without a build id is told apart by its host.
    """
    built = {
        text(branch(record, "driver").get("build_id") or record.get("host"))
        for record in records
        if branch(record, "driver").get("built") is True
    }
    installed = sum(branch(record, "driver").get("installed") is True for record in records)
    return f"driver: built {len(built)}, installed {installed}"


def reboots_of(record: dict[str, Any]) -> int:
    """Return how often this run rebooted the host."""
    return whole(branch(record, "reboot").get("count")) or 0
