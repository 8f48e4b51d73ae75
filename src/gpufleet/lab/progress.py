# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Telling how far a long step of the lab has come."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)

_SHOWN_CHARACTERS = 46
# What apt and dpkg print once per package: fetched, unpacked, set up.
_PACKAGE_STEP = re.compile(r"^(Get:\d+ |Unpacking |Setting up )")
_PACKAGE_COUNT = re.compile(r"^\d+ upgraded, (\d+) newly installed")


class Step:
    """One running step; `line` takes what its command prints."""

    def __init__(self, progress: Progress, task: TaskID) -> None:
        self._progress = progress
        self._task = task

    def line(self, text: str) -> None:
        """Show the newest line of output, and advance where apt's output tells how far it is."""
        found = _PACKAGE_COUNT.match(text)
        if found:
            total = (self._progress.tasks[self._index()].total or 0) + 3 * int(found.group(1))
            self._progress.update(self._task, total=total)
        elif _PACKAGE_STEP.match(text):
            self._progress.advance(self._task)
        self.note(text)

    def note(self, text: str) -> None:
        """Show a word on what happens now."""
        shown = text.strip()[:_SHOWN_CHARACTERS]
        if shown:
            self._progress.update(self._task, detail=shown)

    def _index(self) -> int:
        return self._progress.task_ids.index(self._task)


class Reporter:
    """Shows steps as bars on a terminal, and as one line when each ends elsewhere."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(stderr=True)
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TimeElapsedColumn(),
            TextColumn("[dim]{task.fields[detail]}", markup=True),
            console=self.console,
            transient=True,
            disable=not self.console.is_terminal,
        )

    @contextmanager
    def step(self, description: str) -> Iterator[Step]:
        """Show a step while the block runs, and how long it took when it has ended well."""
        started = time.monotonic()
        self._progress.start()
        task = self._progress.add_task(description, total=None, detail="")
        try:
            yield Step(self._progress, task)
            self.say(f"{description}: {time.monotonic() - started:.0f} s")
        finally:
            self._progress.remove_task(task)
            if not self._progress.task_ids:
                self._progress.stop()

    def say(self, text: str) -> None:
        """Print one line."""
        self.console.print(text, highlight=False, markup=False)
