# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Showing a run while it goes on: a live table on a terminal, lines everywhere else."""

from __future__ import annotations

from types import TracebackType
from typing import Protocol

from rich.console import Console, Group
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from .events import Event
from .progress import (
    CHANGED,
    FAILED,
    OK,
    PENDING,
    RUNNING,
    SKIPPED,
    UNREACHABLE,
    HostProgress,
    Progress,
    Step,
)

MARKS = {
    PENDING: ("·", "dim"),
    OK: ("✓ ok", "green"),
    CHANGED: ("✓ changed", "yellow"),
    SKIPPED: ("- skipped", "dim"),
    FAILED: ("✗ failed", "bold red"),
    UNREACHABLE: ("✗ lost", "bold red"),
}
"""State of a stage -> mark with a word, since colour alone does not reach everyone; style."""

BAR_CELLS = 20
"""Width of the bar that shows how far a driver build is."""

LINES_AROUND = 6
"""Lines of the screen that are not a host's."""


class View(Protocol):
    """What shows a run: a context manager that is given every event."""

    def __enter__(self) -> View: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...

    def show(self, event: Event) -> None:
        """Take one event in."""


def view_for(console: Console, action: str) -> View:
    """Return the live table where the console is a terminal, else lines."""
    progress = Progress(action)
    return LiveView(console, progress) if console.is_terminal else LineView(console, progress)


def printable(text: str) -> str:
    """Return text without control characters but line ends and tabs; hosts wrote it."""
    return "".join(
        character if character.isprintable() or character in "\n\t" else "?" for character in text
    )


def one_line(text: str) -> str:
    """Return text on one line, without control characters."""
    return printable(" ".join(text.split()))


def clock(seconds: float) -> str:
    """Return a duration as ``m:ss`` or ``h:mm:ss``."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def build_bar(objects: int, expected: int) -> str:
    """Return how far a driver build is, as a bar and in figures.

    The number to come is a percent or two too small, so the bar is never full while it is shown.
    """
    cells = min(objects * BAR_CELLS // expected, BAR_CELLS - 1)
    return f"{'█' * cells}{'░' * (BAR_CELLS - cells)} {objects} of about {expected} objects"


class LineView:
    """One line for each stage that a host has ended, for logs and pipes."""

    def __init__(self, console: Console, progress: Progress) -> None:
        self._console = console
        self._progress = progress

    def __enter__(self) -> LineView:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        return None

    def show(self, event: Event) -> None:
        """Print what the event ended, and a difference that was asked for."""
        if event.kind == "play":
            self._print(f"{clock(self._progress.elapsed):>7}  {printable(event.play)}")
        if event.difference:
            self._print(printable(event.text))
        for step in self._progress.take(event):
            self._print(f"{clock(self._progress.elapsed):>7}  {_step_line(step)}")
        if event.compiled:
            line = f"{printable(event.host)} driver: {build_bar(*event.compiled)}"
            self._print(f"{clock(self._progress.elapsed):>7}  {line}")

    def _print(self, line: str) -> None:
        self._console.print(Text(line), soft_wrap=True, highlight=False)


class LiveView:
    """Hosts by stages, redrawn in place; what failed stays on the screen above it."""

    def __init__(self, console: Console, progress: Progress) -> None:
        self._console = console
        self._progress = progress
        self._spinner = Spinner("dots", style="cyan")
        self._live = Live(
            console=console,
            refresh_per_second=4,
            get_renderable=self._draw,
            transient=True,
            vertical_overflow="ellipsis",
        )

    def __enter__(self) -> LiveView:
        self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._live.stop()

    def show(self, event: Event) -> None:
        """Take the event in; the table is redrawn by its own clock."""
        if event.difference:
            self._console.print(Text(printable(event.text)))
        for step in self._progress.take(event):
            if step.message:
                self._console.print(Text(_step_line(step), style="red"))

    def _draw(self) -> Group:
        progress = self._progress
        table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
        table.add_column("host", no_wrap=True)
        for stage in progress.stages:
            table.add_column(stage, no_wrap=True, min_width=10)
        table.add_column("now", no_wrap=True, overflow="ellipsis", ratio=1)
        shown, hidden = self._rows()
        for host in shown:
            cells = [self._cell(host, stage) for stage in progress.stages]
            table.add_row(Text(printable(host.name)), *cells, self._now(host))
        heading = Text.assemble(
            (f"gpufleet {progress.action}", "bold"),
            f"  {len(progress.hosts)} hosts  {clock(progress.elapsed)}",
            (f"  {printable(progress.play)}", "dim"),
        )
        foot = Text(f"and {hidden} more" if hidden else "", style="dim")
        return Group(heading, table, foot)

    def _rows(self) -> tuple[list[HostProgress], int]:
        """Return the hosts that fit on the screen, those at work or lost before the others."""
        hosts = list(self._progress.hosts.values())
        room = max(3, self._console.height - LINES_AROUND)
        if len(hosts) > room:
            hosts.sort(key=lambda host: not (host.lost or host.task))
        return hosts[:room], max(0, len(hosts) - room)

    def _cell(self, host: HostProgress, stage: str) -> Text | Spinner:
        state = host.stages.get(stage, PENDING)
        if state == RUNNING:
            return self._spinner
        mark, style = MARKS[state]
        return Text(mark, style=style)

    def _now(self, host: HostProgress) -> Text:
        if not host.task:
            return Text("")
        if host.compiled:
            return Text(build_bar(*host.compiled), "cyan")
        return Text(f"{printable(host.task)}  {clock(self._progress.task_seconds(host))}", "dim")


def _step_line(step: Step) -> str:
    words = [printable(step.host)]
    if step.stage:
        words.append(f"{step.stage}:")
    words.append("lost" if step.state == UNREACHABLE else step.state)
    if step.message:
        words.append(f"- {one_line(step.message)}")
    return " ".join(words)
