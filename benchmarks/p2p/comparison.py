# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a series of runs amounts to: medians, ratios and wall times, as data and as a table."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from .figures import ALL, FIGURES, Pair
from .tools import OURS, OURS_QUICK, Run

SCHEMA = 1

# How near p2p_verify is meant to come to a tool, as a share of its figure.
TOLERANCES = {
    ("nvbandwidth", "GB/s"): 0.01,
    ("nvbandwidth", "us"): 0.05,
    ("p2pBandwidthLatencyTest", "us"): 0.15,
}
# The staged arm is each tool's own way through the host: what it is compared with differs in kind.
_UNLIKE = ("staged copy", "staged copy, both ways", "queued copy, staged")
_UNITS = {figure.name: figure.unit for figure in FIGURES}


@dataclass(frozen=True)
class Row:
    """One figure of one other tool beside ours, over all pairs that both measured.

    Attributes:
        ours, theirs: median over the pairs of each pair's median over the runs; ``ours`` is None
            where p2p_verify has no such figure.
        ratio, lowest, highest: ours / theirs, the median over the pairs and its extremes.
        ours_range, theirs_range: (largest - least) / median over a pair's runs, the worst pair's.
        tolerance: how far the ratio may be from 1; None where nothing is promised.
    """

    figure: str
    unit: str
    tool: str
    pairs: int
    ours: float | None
    theirs: float
    ratio: float | None
    lowest: float | None
    highest: float | None
    ours_range: float | None
    theirs_range: float
    tolerance: float | None

    @property
    def within(self) -> bool | None:
        """Whether every pair is within the tolerance; None where there is nothing to hold."""
        if self.tolerance is None or self.lowest is None or self.highest is None:
            return None
        return self.lowest >= 1 - self.tolerance and self.highest <= 1 + self.tolerance

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return {
            "figure": self.figure,
            "unit": self.unit,
            "tool": self.tool,
            "pairs": self.pairs,
            "ours": self.ours,
            "theirs": self.theirs,
            "ratio": self.ratio,
            "lowest": self.lowest,
            "highest": self.highest,
            "ours_range": self.ours_range,
            "theirs_range": self.theirs_range,
            "tolerance": self.tolerance,
            "within": self.within,
        }


def rows_of(runs: Sequence[Run]) -> list[Row]:
    """Return a row for each figure that another tool measured, in the order of FIGURES."""
    ours = _values(run for run in runs if run.tool == OURS)
    tools = list(dict.fromkeys(run.tool for run in runs if run.tool not in (OURS, OURS_QUICK)))
    theirs = {tool: _values(run for run in runs if run.tool == tool) for tool in tools}
    rows = []
    for figure in FIGURES:
        for tool in tools:
            measured = {
                pair: values for (name, pair), values in theirs[tool].items() if name == figure.name
            }
            if measured:
                rows.append(_row(figure.name, tool, measured, ours))
    return rows


def _values(runs: Iterable[Run]) -> dict[tuple[str, Pair], list[float]]:
    found: dict[tuple[str, Pair], list[float]] = {}
    for run in runs:
        for key, value in run.figures.items():
            found.setdefault(key, []).append(value)
    return found


def _row(
    figure: str,
    tool: str,
    theirs: Mapping[Pair, list[float]],
    ours: Mapping[tuple[str, Pair], list[float]],
) -> Row:
    both = {pair: ours[(figure, pair)] for pair in theirs if (figure, pair) in ours}
    ratios = [median(both[pair]) / median(theirs[pair]) for pair in both if median(theirs[pair])]
    shown = {pair: theirs[pair] for pair in both} or theirs
    unit = _UNITS[figure]
    return Row(
        figure=figure,
        unit=unit,
        tool=tool,
        pairs=len(both),
        ours=median(median(values) for values in both.values()) if both else None,
        theirs=median(median(values) for values in shown.values()),
        ratio=median(ratios) if ratios else None,
        lowest=min(ratios, default=None),
        highest=max(ratios, default=None),
        ours_range=max((_range(values) for values in both.values()), default=None),
        theirs_range=max(_range(values) for values in shown.values()),
        tolerance=None if figure in _UNLIKE else TOLERANCES.get((tool, unit)),
    )


def _range(values: Sequence[float]) -> float:
    middle = median(values)
    return (max(values) - min(values)) / middle if middle else 0.0


def summary(runs: Sequence[Run], absent: Sequence[str], machine: Mapping[str, Any]) -> Any:
    """Return the comparison as plain JSON data, every single run included."""
    return {
        "schema": SCHEMA,
        "machine": dict(machine),
        "absent": list(absent),
        "rows": [row.to_dict() for row in rows_of(runs)],
        "wall": [
            {"tool": tool, "runs": len(walls), "median_seconds": median(walls)}
            for tool, walls in _walls(runs).items()
        ],
        "runs": [
            {
                "tool": run.tool,
                "wall_seconds": run.wall_seconds,
                "version": run.version,
                "trouble": run.trouble,
                "remarks": list(run.remarks),
                "figures": [
                    {"figure": name, "pair": None if pair == ALL else list(pair), "value": value}
                    for (name, pair), value in run.figures.items()
                ],
                "result": run.result,
                "raw": run.raw if run.result is None else "",
            }
            for run in runs
        ],
    }


def _walls(runs: Sequence[Run]) -> dict[str, list[float]]:
    walls: dict[str, list[float]] = {}
    for run in runs:
        if not run.trouble:
            walls.setdefault(run.tool, []).append(run.wall_seconds)
    return walls


def table_lines(data: Mapping[str, Any], *, markdown: bool = False) -> list[str]:
    """Return a comparison (from ``summary``) as lines for people, the wall times below.

    Args:
        markdown: as tables of Markdown instead of columns.
    """
    header = ["figure", "unit", "tool", "pairs", "ours", "theirs", "ratio", "lowest-highest"]
    body = [
        [
            row["figure"],
            row["unit"],
            row["tool"],
            str(row["pairs"]) if row["pairs"] else "-",
            _number(row["ours"], row["ours_range"]),
            _number(row["theirs"], row["theirs_range"]),
            _ratio(row["ratio"]),
            "-" if row["lowest"] is None else f"{row['lowest']:.3f}-{row['highest']:.3f}",
            _judgement(row),
        ]
        for row in data["rows"]
    ]
    walls = [
        [wall["tool"], str(wall["runs"]), f"{wall['median_seconds']:.2f} s"]
        for wall in data["wall"]
    ]
    draw = _markdown if markdown else _columns
    compared = [*draw([[*header, "wanted"], *body]), ""] if body else []
    timed = draw([["tool", "runs", "median wall time"], *walls]) if walls else []
    return [*compared, *timed]


def trouble_lines(data: Mapping[str, Any]) -> list[str]:
    """Return what went wrong and what was not there; the end of a failed run's output below it."""
    lines = [f"not found: {name}" for name in data["absent"]]
    told = set()
    for number, run in enumerate(data["runs"], start=1):
        said = [run["trouble"]] if run["trouble"] else []
        for words in [*said, *run["remarks"]]:
            if (run["tool"], words) in told:
                continue
            told.add((run["tool"], words))
            lines.append(f"{run['tool']} (run {number}): {words}")
            if words == run["trouble"]:
                lines += [f"    | {line}" for line in run["raw"].strip().splitlines()[-20:]]
    return lines


def _number(value: float | None, spread: float | None) -> str:
    if value is None:
        return "-"
    digits = 1 if value >= 100 else 2 if value >= 10 else 3
    return f"{value:.{digits}f}" + (f" ±{spread / 2 * 100:.1f}%" if spread else "")


def _ratio(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _judgement(row: Mapping[str, Any]) -> str:
    if row["within"] is None:
        return "-"
    return f"{'yes' if row['within'] else 'NO'}, within {row['tolerance'] * 100:g}%"


def _columns(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


def _markdown(rows: Sequence[Sequence[str]]) -> list[str]:
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    return [lines[0], "|---" * len(rows[0]) + "|", *lines[1:]]
