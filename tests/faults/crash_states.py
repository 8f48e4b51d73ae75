# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a disk may hold after the power failed, told from the log of its writes.

A disk promises two things: what completed before a flush is there after it, and a sector is
written whole or not at all. So after a power loss at entry N everything up to the last flush
before N is there, and of what came later any part, down to single sectors. A process killed by
SIGKILL shows none of this: what it had written stays in the page cache of a machine that lives on.
"""

from __future__ import annotations

import bisect
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from .write_log import SECTOR, Entry

_ZEROS = bytes(1 << 20)


@dataclass(frozen=True)
class CrashState:
    """One state that the disk may be in after a power loss.

    Attributes:
        until: number of entries that had completed when the power failed.
        shuffle: None where the disk had written all of them; otherwise the seed by which it is
            drawn what had reached the medium of the writes since the last flush.
    """

    until: int
    shuffle: int | None = None


@dataclass(frozen=True)
class Piece:
    """The first sectors of an entry's data, or all of them, that reached the medium."""

    entry: Entry
    sectors: int


class Timeline:
    """The flushes in a log, and where a byte of the log lies in the order of its entries."""

    def __init__(self, entries: Sequence[Entry]) -> None:
        self.entries = entries
        self._flushes = [number for number, entry in enumerate(entries) if entry.flush]
        self._positions = [entry.position for entry in entries]

    @property
    def flushes(self) -> Sequence[int]:
        """Numbers of the entries that are flushes, in order."""
        return self._flushes

    def durable(self, until: int) -> int:
        """Return how many of the first ``until`` entries a flush among them made durable."""
        index = bisect.bisect_left(self._flushes, until)
        return self._flushes[index - 1] + 1 if index else 0

    def at(self, position: int) -> int:
        """Return how many entries the log held when it was so many bytes long."""
        return bisect.bisect_right(self._positions, position)

    def pieces(self, state: CrashState) -> Iterator[Piece]:
        """Yield what is on the medium in a state, in the order in which it is to be written."""
        durable = state.until if state.shuffle is None else self.durable(state.until)
        for entry in self.entries[:durable]:
            if entry.sectors:
                yield Piece(entry, entry.sectors)
        if state.shuffle is None:
            return
        draw = random.Random(state.shuffle)
        # From nearly nothing to nearly all: a fair coin for each write would never lose just one.
        share = draw.random()
        for entry in self.entries[durable : state.until]:
            if not entry.sectors or draw.random() > share:
                continue
            torn = entry.sectors > 1 and draw.random() < 0.1
            yield Piece(entry, draw.randrange(1, entry.sectors) if torn else entry.sectors)


def replay(log: BinaryIO, pieces: Iterator[Piece], disk: BinaryIO) -> int:
    """Write the pieces to a disk that is as it was when the log began; return the bytes written."""
    written = 0
    for piece in pieces:
        length = piece.sectors * SECTOR
        disk.seek(piece.entry.sector * SECTOR)
        if piece.entry.discard:
            for start in range(0, length, len(_ZEROS)):
                disk.write(_ZEROS[: length - start])
        else:
            log.seek(piece.entry.data)
            disk.write(log.read(length))
        written += length
    return written


def make_disk(log: Path, timeline: Timeline, state: CrashState, disk: Path) -> int:
    """Bring a raw image into a state, and return how many bytes that took.

    Args:
        log: the log of the writes.
        timeline: the log's entries.
        state: which state.
        disk: a copy of the image that the log began with, changed in place.
    """
    with log.open("rb") as source, disk.open("r+b") as target:
        return replay(source, timeline.pieces(state), target)


class Cursor:
    """A disk image that is taken to and fro in a log, all writes being there in order.

    Args:
        log, disk: open files; the disk as it was when the log began.
        timeline: the log's entries.
    """

    def __init__(self, log: BinaryIO, disk: BinaryIO, timeline: Timeline) -> None:
        self._log = log
        self._disk = disk
        self._timeline = timeline
        self._settled = 0
        # What each entry since the settled one replaced.
        self._replaced: list[bytes] = []

    def to(self, until: int) -> None:
        """Bring the disk to the state after the first ``until`` entries.

        Raises:
            ValueError: that lies before the place where the cursor was settled.
        """
        if until < self._settled:
            raise ValueError(f"settled at {self._settled}, asked for {until}")
        entries = self._timeline.entries
        while len(self._replaced) > until - self._settled:
            entry = entries[self._settled + len(self._replaced) - 1]
            self._disk.seek(entry.sector * SECTOR)
            self._disk.write(self._replaced.pop())
        while len(self._replaced) < until - self._settled:
            entry = entries[self._settled + len(self._replaced)]
            self._disk.seek(entry.sector * SECTOR)
            self._replaced.append(self._disk.read(entry.sectors * SECTOR))
            replay(self._log, iter([Piece(entry, entry.sectors)]), self._disk)
        self._disk.flush()

    def settle(self, until: int) -> None:
        """Take the disk there, for good: it is not taken further back."""
        self.to(until)
        self._settled = until
        self._replaced = []
