# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How fast data moves: copy engines, staged through the host (off) and direct (on).

The off arm is staged by ourselves, device to pinned host memory to device in overlapping
chunks: a peer copy without peer access may refuse, or be staged by the driver in a way of its
own. Time is that of events on the initiator's stream; where two streams work at once they start
on one event and the last to finish counts.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from .._gpu.device import Event, HostBuffer, Stream
from .bench import GUARD_BYTES, Bench, Side

_STAGING_CHUNK_BYTES = 4 << 20
_STAGING_SLOTS = 4
_COPIES_AT_MOST = 32


@dataclass(frozen=True)
class Effort:
    """How long to measure.

    Attributes:
        warm_up_seconds: copying before anything counts, so that the link leaves generation 1.
        sample_seconds: length one sample aims at.
        samples: of which the median is the result.
    """

    warm_up_seconds: float
    sample_seconds: float
    samples: int


class Mover(Protocol):
    """One direction of traffic: begins on ``first`` and ends on ``last``."""

    first: Stream
    last: Stream
    end: Event

    def queue(self) -> None:
        """Queue one copy of the whole payload."""


class Direct:
    """Copies written to the peer by the source's copy engine."""

    def __init__(self, bench: Bench, source: Side, target: Side) -> None:
        self.first = self.last = source.stream
        self.end = source.end
        self._bytes = bench.payload_bytes
        self._source = source
        self._target = target

    def queue(self) -> None:
        """Queue one copy of the whole payload."""
        self.first.copy_between(
            self._target.incoming, self._source.outgoing, GUARD_BYTES, self._bytes
        )


class Staged:
    """Copies through a ring of pinned host buffers, filled and emptied at the same time."""

    def __init__(self, bench: Bench, source: Side, target: Side) -> None:
        self.first = source.stream
        self.last = target.inbound
        self.end = Event(target.gpu)
        self._bytes = bench.payload_bytes
        self._source = source
        self._target = target
        self._slots = [HostBuffer(source.gpu, _STAGING_CHUNK_BYTES) for _n in range(_STAGING_SLOTS)]
        self._filled = [Event(source.gpu) for _slot in self._slots]
        self._emptied = [Event(target.gpu) for _slot in self._slots]
        self._chunk = 0

    def queue(self) -> None:
        """Queue one copy of the whole payload."""
        for offset in range(0, self._bytes, _STAGING_CHUNK_BYTES):
            count = min(_STAGING_CHUNK_BYTES, self._bytes - offset)
            slot = self._chunk % _STAGING_SLOTS
            self._chunk += 1
            place = GUARD_BYTES + offset
            pinned = self._slots[slot].pointer
            # An event that was never recorded has passed: the first use of a slot waits for none.
            self.first.wait_for(self._emptied[slot])
            self.first.copy_to_host(pinned, self._source.outgoing.address + place, count)
            self._filled[slot].record(self.first)
            self.last.wait_for(self._filled[slot])
            self.last.copy_to_device(self._target.incoming.address + place, pinned, count)
            self._emptied[slot].record(self.last)

    def close(self) -> None:
        """Free the pinned memory and the events."""
        for slot in self._slots:
            slot.close()
        for event in (*self._filled, *self._emptied, self.end):
            event.close()


def warm_up(lead: Side, movers: Sequence[Mover], seconds: float) -> None:
    """Copy for at least ``seconds``, so that clocks and link are those of work."""
    begin = time.monotonic()
    while True:
        _sample(lead, movers, 1)
        if time.monotonic() - begin >= seconds:
            return


def gigabytes_per_second(
    bench: Bench, lead: Side, movers: Sequence[Mover], effort: Effort
) -> float:
    """Return the median rate of all movers together, in GB/s (1e9 bytes per second).

    Raises:
        CudaError, MeasurementHung.
    """
    begin = time.monotonic()
    once = _sample(lead, movers, 1)
    # The greater of the GPU's and the host's time, so that a sample is bounded on both clocks.
    once = max(once, time.monotonic() - begin, 1e-6)
    copies = max(1, min(_COPIES_AT_MOST, math.ceil(effort.sample_seconds / once)))
    seconds = statistics.median(_sample(lead, movers, copies) for _n in range(effort.samples))
    return bench.payload_bytes * copies * len(movers) / seconds / 1e9


def _sample(lead: Side, movers: Sequence[Mover], copies: int) -> float:
    """Return the seconds that ``copies`` of every mover take, from one start to the last end."""
    lead.start.record(lead.stream)
    for mover in movers:
        if mover.first is not lead.stream:
            mover.first.wait_for(lead.start)
    # In turns: queueing all of one mover first would give it a head start.
    for _copy in range(copies):
        for mover in movers:
            mover.queue()
    for mover in movers:
        if mover.last is not lead.stream:
            mover.end.record(mover.last)
            lead.stream.wait_for(mover.end)
    lead.mark.record(lead.stream)
    lead.mark.finish("a bandwidth sample")
    return lead.mark.seconds_since(lead.start)
