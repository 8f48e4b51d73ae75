# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where in a traced run the power fails: by step, at random, and where GRUB's view changes."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from .crash_states import CrashState, Timeline

AT_FLUSH = "power_loss_at_flush"
IN_FLIGHT = "power_loss_in_flight"
CACHE_LOST = "power_loss_cache_lost"
BOOT_FILES = "power_loss_boot_files"
POWER_LOSS_KINDS = (AT_FLUSH, IN_FLIGHT, CACHE_LOST, BOOT_FILES)
_SEEDS = 1 << 32
_FLUSHES_AT_ONCE = 8
View = TypeVar("View")
_Seen_co = TypeVar("_Seen_co", covariant=True)


class Viewer(Protocol[_Seen_co]):
    """A disk that can be taken to and fro in the log, and what is to be seen on it."""

    def view(self, until: int) -> _Seen_co:
        """Return what is to be seen with the first so many entries on the disk."""

    def settle(self, until: int) -> None:
        """Take the disk there; it is never taken further back from then on."""


@dataclass(frozen=True)
class Mark:
    """A step of a traced run, and how many entries the log held when it began."""

    name: str
    entries: int


@dataclass(frozen=True)
class Point:
    """One power loss: its kind, the step that it interrupts, and the disk's state after it."""

    kind: str
    step: str
    state: CrashState

    @property
    def place(self) -> str:
        """The state in a word, for the fault's id."""
        drawn = "" if self.state.shuffle is None else f"-{self.state.shuffle:08x}"
        return f"{self.state.until}{drawn}"


@dataclass(frozen=True)
class _Span:
    # Entries first..last-1 were written while the step ran.
    step: str
    first: int
    last: int


def step_at(marks: Sequence[Mark], entries: int) -> str:
    """Return the step that ran when the log held so many entries: the last one to have begun."""
    running = ""
    for mark in marks:
        if mark.entries > entries:
            break
        running = mark.name
    return running


def by_step(
    timeline: Timeline, marks: Sequence[Mark], number: int, draw: random.Random
) -> list[Point]:
    """Return power losses dealt out to the steps that wrote anything, in turn.

    Each round goes once through the steps, in an order of its own, with the three kinds in turn,
    so that a short step gets as many as a long one.
    """
    spans = _writing_spans(timeline, marks)
    if not spans:
        return []
    points: list[Point] = []
    kinds = (AT_FLUSH, IN_FLIGHT, CACHE_LOST)
    order: list[_Span] = []
    for index in range(number):
        if not order:
            order = draw.sample(spans, len(spans))
        points.append(_point(kinds[index % len(kinds)], order.pop(), timeline, draw))
    return points


def at_random(timeline: Timeline, marks: Sequence[Mark], draw: random.Random) -> Point:
    """Return one power loss at an entry of the log drawn from all that steps wrote."""
    first = marks[0].entries if marks else 0
    whole = _Span("", first, len(timeline.entries))
    point = _point(draw.choice((IN_FLIGHT, CACHE_LOST)), whole, timeline, draw)
    return Point(point.kind, step_at(marks, point.state.until - 1), point.state)


def changes_of_view(timeline: Timeline, first: int, viewer: Viewer[View]) -> list[tuple[int, View]]:
    """Return where a view of the disk changes: entries written so far, and the view from there on.

    Only spans of some flushes whose ends differ are looked into flush by flush, and only intervals
    between flushes whose ends differ entry by entry: views differ at few entries, and a view costs
    some reads. A view that changes and changes back within one of these is therefore missed.

    Args:
        timeline: the log.
        first: where to begin.
        viewer: has the disk.
    """
    ends = [flush + 1 for flush in timeline.flushes if flush + 1 > first]
    if not ends or ends[-1] != len(timeline.entries):
        ends.append(len(timeline.entries))
    found: list[tuple[int, View]] = []
    viewer.settle(first)
    now, begin = viewer.view(first), first
    for number in range(0, len(ends), _FLUSHES_AT_ONCE):
        span = ends[number : number + _FLUSHES_AT_ONCE]
        if viewer.view(span[-1]) != now:
            for end in span:
                if viewer.view(end) != now:
                    for until in range(begin + 1, end + 1):
                        view = viewer.view(until)
                        if view != now:
                            found.append((until, view))
                            now = view
                viewer.settle(end)
                begin = end
        viewer.settle(span[-1])
        begin = span[-1]
    return found


def around(until: int, timeline: Timeline, marks: Sequence[Mark], draw: random.Random) -> Point:
    """Return a power loss at the entry that changed GRUB's view, or just after it, cache lost."""
    latest = min(until + draw.randrange(0, 4), len(timeline.entries))
    state = CrashState(latest, draw.randrange(_SEEDS) if draw.random() < 0.5 else None)
    return Point(BOOT_FILES, step_at(marks, until - 1), state)


def _writing_spans(timeline: Timeline, marks: Sequence[Mark]) -> list[_Span]:
    ends = [*(mark.entries for mark in marks[1:]), len(timeline.entries)]
    return [
        _Span(mark.name, mark.entries, end)
        for mark, end in zip(marks, ends, strict=True)
        if any(entry.sectors for entry in timeline.entries[mark.entries : end])
    ]


def _point(kind: str, span: _Span, timeline: Timeline, draw: random.Random) -> Point:
    if kind == AT_FLUSH:
        flushes = [flush for flush in timeline.flushes if span.first <= flush < span.last]
        if flushes:
            return Point(kind, span.step, CrashState(draw.choice(flushes) + 1))
        # The step flushed nothing: it is the one before the power failed in its midst.
        kind = IN_FLIGHT
    until = draw.randrange(span.first, span.last) + 1
    shuffle = draw.randrange(_SEEDS) if kind == CACHE_LOST else None
    return Point(kind, span.step, CrashState(until, shuffle))
