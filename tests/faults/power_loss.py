# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Power losses: the states that a traced run's disk may be left in, each judged."""

from __future__ import annotations

import hashlib
import itertools
import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.gpufleet.p2p.plugins.module_utils._host.files import atomic_write

from .boot_view import DIRECTORY, PARTITION, grub
from .crash_states import Cursor, Timeline, make_disk
from .points import Point, around, by_step, changes_of_view
from .scratch import Scratch
from .tracing import Trace
from .write_log import read_log

_WATCHED = ("grub.cfg", "grubenv", "custom.cfg")
_SEED = 20261130
_BEFORE_BOOT_FILES = 9


@dataclass
class GrubViewer:
    """A disk that is taken to and fro, and what GRUB reads of its configuration there."""

    disk: Path
    cursor: Cursor

    def view(self, until: int) -> tuple[str | None, ...]:
        """Return the checksums of the files that decide what is booted."""
        self.cursor.to(until)
        return tuple(grub(self.disk, "crc", f"{PARTITION}{DIRECTORY}/{name}") for name in _WATCHED)

    def settle(self, until: int) -> None:
        """Take the disk there for good."""
        self.cursor.settle(until)


@dataclass(frozen=True)
class PowerLosses:
    """The power losses of one trace, the same ones each time they are asked for."""

    trace: Trace
    timeline: Timeline
    scratch: Scratch

    def points(self, number: int, boot_files: int) -> Iterator[Point]:
        """Yield so many by step, and so many where GRUB's view changes; each place once.

        Args:
            number: of those at flushes, in flight, and with the cache lost, together.
            boot_files: of those where what GRUB reads has just changed.
        """
        draw = random.Random(f"{_SEED} {self.trace.log.name}")
        seen = set()
        dealt_out = by_step(self.timeline, self.trace.marks, number, draw)
        # Not sooner: to find where GRUB's view changes takes a minute the first time.
        first, later = dealt_out[:_BEFORE_BOOT_FILES], dealt_out[_BEFORE_BOOT_FILES:]
        changing = self._around_changes(boot_files, draw)
        in_turn = itertools.zip_longest(changing, later)
        for point in itertools.chain(first, *in_turn):
            if point is not None and point.place not in seen:
                seen.add(point.place)
                yield point

    def _around_changes(self, number: int, draw: random.Random) -> Iterator[Point]:
        changes = self._changes() if number else []
        for index in range(number if changes else 0):
            change = changes[index % len(changes)]
            yield around(change, self.timeline, self.trace.marks, draw)

    def make(self, point: Point, disk: Path) -> None:
        """Bring a copy of the trace's base into the state after the power loss."""
        make_disk(self.trace.log, self.timeline, point.state, disk)

    def _changes(self) -> list[int]:
        kept = self.trace.log.with_suffix(".changes.json")
        if kept.exists():
            return list(json.loads(kept.read_text()))
        with (
            self.scratch.borrowed(self.trace.base) as disk,
            self.trace.log.open("rb") as log,
            disk.open("r+b", buffering=0) as stream,
        ):
            viewer = GrubViewer(disk, Cursor(log, stream, self.timeline))
            found = changes_of_view(self.timeline, self.trace.marks[0].entries, viewer)
        changes = [until for until, _ in found]
        atomic_write(kept, json.dumps(changes).encode())
        return changes


def power_losses(trace: Trace, scratch: Scratch) -> PowerLosses:
    """Return the power losses of a trace."""
    return PowerLosses(trace, Timeline(read_log(trace.log)), scratch)


def log_key(log: Path) -> str:
    """Return eight digits that tell one trace from another: entries count in one trace only."""
    with log.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()[:8]
