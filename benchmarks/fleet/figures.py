# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the runs mean: cost per host, ours beside theirs, and whether it grows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

OURS = "site.yml"
BUILTIN = "builtin tasks"
#: Of the builtin tasks' cost, what ours may be at most.
SHARE_WANTED = 1 / 3
#: How much more a host may cost in the largest fleet than in the smallest.
GROWTH_WANTED = 1.10

_HEADER = (
    *("playbook", "hosts", "controller CPU s/host", "of builtin", "wall s"),
    *("remote executions/host", "hosts' own CPU s/host"),
)


def cost_per_host(run: Mapping[str, Any]) -> float:
    """Return the controller's CPU seconds for each host of a run."""
    return float(run["cpu_seconds"]) / int(run["hosts"])


def share(runs: Sequence[Mapping[str, Any]], hosts: int) -> float | None:
    """Return our cost as a share of the builtin tasks', on as many hosts; None without both."""
    costs = {run["playbook"]: cost_per_host(run) for run in runs if run["hosts"] == hosts}
    if OURS not in costs or BUILTIN not in costs:
        return None
    return costs[OURS] / costs[BUILTIN]


def growth(runs: Sequence[Mapping[str, Any]], playbook: str) -> float | None:
    """Return a host's cost in the largest fleet over that in the smallest; None for one size."""
    costs = {run["hosts"]: cost_per_host(run) for run in runs if run["playbook"] == playbook}
    if len(costs) < 2:
        return None
    return costs[max(costs)] / costs[min(costs)]


def verdicts(runs: Sequence[Mapping[str, Any]]) -> dict[str, bool]:
    """Return what is wanted, in words, and whether the runs have it, as far as they tell."""
    found = {}
    for hosts in sorted({run["hosts"] for run in runs}):
        told = share(runs, hosts)
        if told is not None:
            found[f"{hosts} hosts: {told:.3f} of the builtin tasks' cost, wanted a third"] = (
                told <= SHARE_WANTED
            )
    grown = growth(runs, OURS)
    if grown is not None:
        sizes = sorted({run["hosts"] for run in runs if run["playbook"] == OURS})
        found[
            f"{sizes[0]} to {sizes[-1]} hosts: a host costs {grown:.3f} times as much,"
            f" wanted at most {GROWTH_WANTED:.2f}"
        ] = grown <= GROWTH_WANTED
    return found


def table_lines(data: Mapping[str, Any], *, markdown: bool = False) -> list[str]:
    """Return the runs as a table, what is wanted and whether it holds, and what went wrong."""
    rows = [_row(data["runs"], run) for run in data["runs"]]
    if markdown:
        lines = [_markdown(_HEADER), _markdown(["---"] * len(_HEADER)), *map(_markdown, rows), ""]
    else:
        widths = [
            max(len(row[column]) for row in [_HEADER, *rows]) for column in range(len(_HEADER))
        ]
        lines = [
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
            for row in [_HEADER, *rows]
        ]
    lines += [
        f"{'yes' if held else 'NO'}: {words}" for words, held in verdicts(data["runs"]).items()
    ]
    for run in data["runs"]:
        lines += [f"{run['playbook']}, {run['hosts']} hosts: {word}" for word in run["troubles"]]
    return lines


def _row(runs: Sequence[Mapping[str, Any]], run: Mapping[str, Any]) -> list[str]:
    told = share(runs, run["hosts"]) if run["playbook"] == OURS else None
    return [
        run["playbook"],
        str(run["hosts"]),
        f"{cost_per_host(run):.3f}",
        "" if told is None else f"{told:.3f}",
        f"{run['wall_seconds']:.1f}",
        f"{run['sessions'] / run['hosts']:.1f}",
        f"{run['hosts_cpu_seconds'] / run['hosts']:.2f}",
    ]


def _markdown(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"
