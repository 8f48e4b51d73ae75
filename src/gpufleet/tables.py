# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A result for people: its matrices, groups and causes on a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ansible_collections.gpufleet.p2p.plugins.plugin_utils.report_matrix import (
    Cell,
    Matrix,
    matrix_groups,
)
from ansible_collections.gpufleet.p2p.plugins.plugin_utils.report_together import (
    Together,
    together_of,
)
from rich.console import Console, RenderableType
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from .local import unread_parts
from .results import PASS, WARN, Gpu, Result
from .view import one_line

_TONES = {"good": "green", "warn": "yellow", "bad": "bold red", "idle": "dim", "self": "dim"}
_VERDICTS = {PASS: ("✓ pass", "bold green"), WARN: ("! warn", "bold yellow")}
_VERDICT_FAIL = ("✗ fail", "bold red")
_UNBOUNDED_COLUMNS = 10_000


def print_tables(console: Console, result: Result) -> None:
    """Print the result: GPUs, matrices (rows send, columns own the memory), groups at once, causes,
    notes and groups.

    Figures are those of the HTML report, from the same matrices.
    """
    for part in _parts(result, console):
        console.print(part, soft_wrap=True, highlight=False)


def _parts(result: Result, console: Console) -> Iterator[RenderableType]:
    yield Text.assemble(
        (one_line(result.host), "bold"),
        f"  driver {one_line(result.driver.version or 'unknown')}  kernel "
        f"{one_line(result.kernel)}",
    )
    for gpu in result.gpus:
        yield Text(f"  {_gpu_line(gpu)}")
    plain = result.to_dict()
    for group in matrix_groups(plain):
        yield Text("")
        yield Text(group.title, style="bold")
        for matrix in group.matrices:
            yield _fitting(matrix, console)
    groups = together_of(plain)
    if groups:
        yield Text("")
        yield from _all_at_once(groups, console)
    yield Text("")
    yield from _conclusion(result)


def _gpu_line(gpu: Gpu) -> str:
    link = f"gen{gpu.link.gen or '?'} x{gpu.link.width or '?'}"
    if not gpu.link.under_load:
        link += " (idle)"
    return f"GPU {gpu.index}  {gpu.bdf}  {one_line(gpu.name)}  {link}"


def _fitting(matrix: Matrix, console: Console) -> Table:
    """Return the matrix with its notes beside the figures, or below them on a narrow screen.

    One that is too wide even so keeps its width: a cut figure is none.
    """
    beside = _uncut(_table(matrix, " "), console)
    if beside.width is not None and beside.width <= console.width:
        return beside
    return _uncut(_table(matrix, "\n"), console)


def _uncut(table: Table, console: Console) -> Table:
    """Return the table with the width that it needs, whatever the screen has."""
    unbounded = console.options.update(width=_UNBOUNDED_COLUMNS)
    table.width = Measurement.get(console, unbounded, table).maximum
    return table


def _table(matrix: Matrix, separator: str) -> Table:
    unit = f" ({matrix.unit})" if matrix.unit else ""
    caption = f" {matrix.caption}" if matrix.caption else ""
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")
    table.add_column(f"{matrix.title}{unit}{caption}", no_wrap=True, min_width=22)
    for index in matrix.columns:
        table.add_column(str(index), justify="right", no_wrap=True)
    for row in matrix.rows:
        heading = Text(f"{row.index}  {one_line(row.name)}")
        table.add_row(heading, *(_cell(cell, separator) for cell in row.cells))
    return table


def _cell(cell: Cell, separator: str) -> Text:
    words = separator.join(one_line(part) for part in (cell.text, cell.note) if part)
    return Text(words or "·", style=_TONES.get(cell.tone, ""))


def _all_at_once(groups: Sequence[Together], console: Console) -> Iterator[RenderableType]:
    """Yield what groups move with every GPU writing to every other, and what holds them up."""
    yield Text("All at once: every GPU of a group writes to every other", style="bold")
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")
    table.add_column("group (GB/s)", no_wrap=True, min_width=22)
    for heading in ("together", "per pair", "a pair alone", "kept", "links carry", "reached"):
        table.add_column(heading, justify="right", no_wrap=True)
    for group in groups:
        total = f"{group.total} {group.spread}".rstrip()
        figures = (group.per_pair, group.alone, group.kept, group.ceiling, group.fraction)
        table.add_row(group.devices, total, *figures)
    yield _uncut(table, console)
    for group in groups:
        words = f"{group.devices}: data {group.data}; narrowest: {group.narrowest}"
        if group.detail:
            words = f"{group.devices}: not measured: {group.detail}"
        yield Text(f"  {one_line(words)}", style=_TONES.get(group.tone, ""))


def _conclusion(result: Result) -> Iterator[RenderableType]:
    for cause in result.causes:
        yield Text.assemble(
            (one_line(cause.code), "bold"),
            f": {one_line(cause.evidence)}; remedy: {one_line(cause.remedy)}",
        )
    for note in result.notes:
        words = f"note: {note.code}: {note.evidence}; {note.remedy}"
        yield Text(one_line(words), style="dim")
    for part in unread_parts(result):
        yield Text(f"not read: {one_line(part)}", style="dim")
    for group in result.groups:
        yield Text(f"verified group: CUDA_VISIBLE_DEVICES={','.join(map(str, group))}")
    mark, style = _VERDICTS.get(result.verdict, _VERDICT_FAIL)
    pairs = f"{len(result.pairs)} ordered pairs in {result.wall_seconds:.1f} s"
    yield Text.assemble((mark, style), f"  {pairs}")
