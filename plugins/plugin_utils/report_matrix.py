# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The matrices of a host, row by row, and the picture of who reaches whom.

Every cell carries its figure as text; the heat step only repeats it for the eye. Rows are the GPU
that sends, columns the GPU that owns the memory, as in p2pBandwidthLatencyTest.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from .report_values import (
    MISSING,
    VERDICT_TONES,
    VERDICT_WORDS,
    branch,
    figure,
    items,
    number,
    percent,
    short_gpu_name,
    whole,
)

HEAT_STEPS = 10
CHECKS = ("copy_write", "copy_read", "sm_write", "sm_read", "ping_pong", "ipc")
WAYS = (("copy_read", "copy read"), ("sm_write", "kernel write"), ("sm_read", "kernel read"))


@dataclass(frozen=True)
class Cell:
    """One cell: ``text`` always, ``note`` below it in small print, a heat step or a tone."""

    text: str
    note: str = ""
    heat: int | None = None
    tone: str = ""
    hint: str = ""


@dataclass(frozen=True)
class Row:
    """One row: the sending GPU and its cells in column order."""

    index: int
    name: str
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class Matrix:
    """A square table of ordered pairs; ``columns`` are GPU indices."""

    title: str
    unit: str
    caption: str
    columns: tuple[int, ...]
    rows: tuple[Row, ...]
    heat: bool


@dataclass(frozen=True)
class MatrixGroup:
    """Matrices that share one scale and one legend."""

    title: str
    explanation: str
    matrices: tuple[Matrix, ...]
    legend: tuple[str, str] | None = None
    wide: bool = False


@dataclass(frozen=True)
class Node:
    """A GPU in the picture; ``x`` and ``y`` in the view box's units."""

    index: int
    name: str
    x: float
    y: float
    label_x: float
    label_y: float
    anchor: str


@dataclass(frozen=True)
class Edge:
    """An unordered pair that was measured; its tone is the worse of its two directions."""

    x1: float
    y1: float
    x2: float
    y2: float
    tone: str
    label: str


@dataclass(frozen=True)
class Picture:
    """GPUs on a circle and the pairs between them."""

    width: float
    height: float
    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]
    description: str


@dataclass(frozen=True)
class _Pairs:
    """The pairs of one host by (from, to), and its GPUs in index order."""

    gpus: tuple[tuple[int, str], ...]
    pairs: dict[tuple[int, int], dict[str, Any]] = field(default_factory=dict)

    def figures(self, *path: str) -> dict[tuple[int, int], float]:
        found = {}
        for key, pair in self.pairs.items():
            value = number(branch(pair, *path[:-1]).get(path[-1]))
            if value is not None:
                found[key] = value
        return found


def _read(verify: dict[str, Any]) -> _Pairs:
    names = {}
    for position, gpu in enumerate(items(verify, "gpus")):
        index = whole(gpu.get("index"))
        names[position if index is None else index] = short_gpu_name(gpu.get("name"))
    pairs = {}
    for pair in items(verify, "pairs"):
        source, target = whole(pair.get("from")), whole(pair.get("to"))
        if source is None or target is None or source == target:
            continue
        pairs[(source, target)] = pair
        names.setdefault(source, MISSING)
        names.setdefault(target, MISSING)
    return _Pairs(tuple(sorted(names.items())), pairs)


def _matrix(
    known: _Pairs, cells: dict[tuple[int, int], Cell], title: str, unit: str, caption: str
) -> Matrix:
    columns = tuple(index for index, _name in known.gpus)
    rows = tuple(
        Row(
            source,
            name,
            tuple(
                Cell("", tone="self")
                if source == target
                else cells.get((source, target), Cell(MISSING, hint="not measured"))
                for target in columns
            ),
        )
        for source, name in known.gpus
    )
    heat = any(cell.heat is not None for cell in cells.values())
    return Matrix(title, unit, caption, columns, rows, heat)


def _step(share: float) -> int:
    return max(0, min(HEAT_STEPS - 1, int(share * HEAT_STEPS)))


def _rate_cells(
    figures: dict[tuple[int, int], float], most: float, notes: dict[tuple[int, int], str]
) -> dict[tuple[int, int], Cell]:
    return {
        key: Cell(
            figure(value),
            note=notes.get(key, ""),
            heat=_step(value / most if most > 0 else 0.0),
            hint=f"GPU {key[0]} to GPU {key[1]}: {figure(value)} GB/s",
        )
        for key, value in figures.items()
    }


def _time_cells(
    figures: dict[tuple[int, int], float], low: float, high: float
) -> dict[tuple[int, int], Cell]:
    cells = {}
    for key, value in figures.items():
        # Latencies span two decades, so equal steps of the eye are equal ratios.
        span = math.log(high / low) if low > 0 and high > low else 0.0
        share = 1.0 - math.log(value / low) / span if span and value > 0 else 1.0
        hint = f"GPU {key[0]} to GPU {key[1]}: {figure(value)} \N{MICRO SIGN}s"
        cells[key] = Cell(figure(value), heat=_step(share), hint=hint)
    return cells


def _verdict_cell(pair: dict[str, Any]) -> Cell:
    verdict = str(pair.get("verdict"))
    reasons = [str(reason) for reason in pair.get("reasons") or []]
    return Cell(
        VERDICT_WORDS.get(verdict, MISSING),
        note=str(pair.get("path") or ""),
        tone=VERDICT_TONES.get(verdict, "idle"),
        hint=", ".join(reasons),
    )


def _correctness_cell(pair: dict[str, Any]) -> Cell:
    states = branch(pair, "correctness")
    # A record of an earlier release lacks the checks that came later.
    known = [name for name in CHECKS if name in states]
    passed = [name for name in known if states.get(name) == "passed"]
    failed = [name for name in known if states.get(name) == "failed"]
    if not passed and not failed:
        return Cell(MISSING, note="not run", tone="idle")
    hint = "; ".join(f"{name}: {states[name]}" for name in known)
    skipped = len(known) - len(passed) - len(failed)
    if failed:
        note = failed[0] if len(failed) == 1 else f"{len(failed)} failed"
        return Cell("wrong", note=note.replace("_", " "), tone="bad", hint=hint)
    if skipped:
        return Cell(
            f"{len(passed)}/{len(known)}", note=f"{skipped} not run", tone="warn", hint=hint
        )
    return Cell(f"{len(passed)}/{len(known)}", note="right", tone="good", hint=hint)


def _bandwidth_group(known: _Pairs, kind: str, title: str, explanation: str) -> MatrixGroup | None:
    off, on = known.figures("bandwidth", "off", kind), known.figures("bandwidth", "on", kind)
    if not off and not on:
        return None
    # The full colour is the ceiling of the fastest path, so that a host of slow links looks slow.
    ways = 2 if kind == "bidi" else 1
    most = ways * max(known.figures("bandwidth", "ceiling").values(), default=0.0)
    most = most or max([*off.values(), *on.values()])
    notes = {}
    if kind == "uni":
        notes = {key: percent(part) for key, part in known.figures("bandwidth", "fraction").items()}
    caption = "of ceiling" if notes else ""
    return MatrixGroup(
        title,
        explanation,
        (
            _matrix(known, _rate_cells(off, most, {}), "peer access off", "GB/s", ""),
            _matrix(known, _rate_cells(on, most, notes), "peer access on", "GB/s", caption),
        ),
        legend=("0", f"{figure(most)} GB/s"),
    )


def _ways_group(known: _Pairs) -> MatrixGroup | None:
    """Return what else than a writing copy engine moved, one direction."""
    rates = {way: known.figures("bandwidth", way, "uni") for way, _title in WAYS}
    every = [value for figures in rates.values() for value in figures.values()]
    if not every:
        return None
    most = max(known.figures("bandwidth", "ceiling").values(), default=0.0) or max(every)
    return MatrixGroup(
        "Bandwidth by who moves the data, one direction",
        "Read by the receiving GPU's copy engine, written and read by kernels. Peer access is on.",
        tuple(
            _matrix(known, _rate_cells(rates[way], most, {}), title, "GB/s", "")
            for way, title in WAYS
        ),
        legend=("0", f"{figure(most)} GB/s"),
    )


def _latency_group(known: _Pairs) -> MatrixGroup | None:
    off, on = known.figures("latency", "off"), known.figures("latency", "on")
    if not off and not on:
        return None
    every = [*off.values(), *on.values()]
    # At least a decade and a half, so that noise between equal pairs does not look like a finding.
    high = max(every)
    low = min(*every, high / 30)
    return MatrixGroup(
        "Latency",
        "Time for one queued 16-byte copy. Lower is better: stronger colour.",
        (
            _matrix(known, _time_cells(off, low, high), "peer access off", "\N{MICRO SIGN}s", ""),
            _matrix(known, _time_cells(on, low, high), "peer access on", "\N{MICRO SIGN}s", ""),
        ),
        legend=(f"{figure(high)} \N{MICRO SIGN}s", f"{figure(low)} \N{MICRO SIGN}s"),
    )


def matrix_groups(verify: dict[str, Any]) -> tuple[MatrixGroup, ...]:
    """Return what was judged and measured, as matrices; groups without any figure are left out.

    ``verify`` is a p2p_verify result of schema 1. A pair whose data arrived wrong has no
    bandwidth, since it was not measured: its cell is a dash.
    """
    known = _read(verify)
    if not known.pairs:
        return ()
    verdicts = {key: _verdict_cell(pair) for key, pair in known.pairs.items()}
    correctness = {key: _correctness_cell(pair) for key, pair in known.pairs.items()}
    groups: list[MatrixGroup | None] = [
        MatrixGroup(
            "Verdict and correctness",
            "Rows send, columns own the memory. The owner compares every byte: copies and kernels, "
            "writing and reading, then a ping-pong between two running kernels.",
            (
                _matrix(known, verdicts, "verdict", "", "and path"),
                _matrix(known, correctness, "checks passed", "", ""),
            ),
        ),
        _bandwidth_group(
            known,
            "uni",
            "Bandwidth, one direction",
            "Off and on share one scale. Higher is better.",
        ),
        _bandwidth_group(
            known,
            "bidi",
            "Bandwidth, both directions at once",
            "The sum of both streams. Off and on share one scale.",
        ),
        _latency_group(known),
        _ways_group(known),
    ]
    return tuple(group for group in groups if group is not None)


def _worse(tones: Sequence[str]) -> str:
    for tone in ("bad", "warn", "good"):
        if tone in tones:
            return tone
    return "idle"


def picture(verify: dict[str, Any]) -> Picture | None:
    """Return the picture of a host with three GPUs or more; two need none."""
    known = _read(verify)
    if len(known.gpus) < 3 or not known.pairs:
        return None
    width, height, radius = 460.0, 330.0, 112.0
    places = {}
    nodes = []
    for position, (index, name) in enumerate(known.gpus):
        angle = 2 * math.pi * position / len(known.gpus) - math.pi / 2
        across, down = math.cos(angle), math.sin(angle)
        x, y = width / 2 + radius * across, height / 2 + radius * down
        places[index] = (x, y)
        anchor = "middle" if abs(across) < 0.2 else "start" if across > 0 else "end"
        nodes.append(
            Node(
                index,
                name,
                round(x, 1),
                round(y, 1),
                round(x + 24 * across, 1),
                round(y + (34 if abs(across) < 0.2 else 24) * down + 4, 1),
                anchor,
            )
        )
    edges = []
    for source, target in sorted({(min(key), max(key)) for key in known.pairs}):
        both = [
            VERDICT_TONES.get(str(known.pairs.get(key, {}).get("verdict")), "idle")
            for key in ((source, target), (target, source))
        ]
        (x1, y1), (x2, y2) = places[source], places[target]
        tone = _worse(both)
        label = f"GPU {source} and GPU {target}: {tone}"
        edges.append(Edge(round(x1, 1), round(y1, 1), round(x2, 1), round(y2, 1), tone, label))
    # Good pairs are drawn last, above the web of those that failed.
    order = {"idle": 0, "bad": 1, "warn": 2, "good": 3}
    edges.sort(key=lambda edge: order[edge.tone])
    reached = sum(edge.tone in ("good", "warn") for edge in edges)
    return Picture(
        width,
        height,
        tuple(nodes),
        tuple(edges),
        f"{reached} of {len(edges)} pairs of GPUs reach each other; the verdict matrix names them.",
    )
