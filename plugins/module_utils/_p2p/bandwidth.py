# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How fast data moves: by copy engines and by kernels, written and read, direct and staged.

The off arm is staged by ourselves, device to pinned host memory to device in overlapping
chunks: a peer copy without peer access may refuse, or be staged by the driver in a way of its
own.

Direct rates are taken as nvbandwidth takes them, so that they compare: the initiator is the GPU
that writes or reads; its stream is held until all is queued, and copies a little first, so that
neither queueing nor the change of engines is timed; the time is that of events on the initiator.
Where two streams work at once both begin on one event, and the longer time counts for both.
"""

from __future__ import annotations

import contextlib
import itertools
import math
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from .._gpu.device import Event, HostBuffer
from .._gpu.kernels import VECTOR_BYTES
from .bench import GUARD_BYTES, Bench, Side
from .sampling import Effort, Estimate, settle

KERNEL_WAYS = ("sm_write", "sm_read")
_READ_WAYS = ("copy_read", "sm_read")

_GRANULE_BYTES = 1 << 20
_PROBE_BYTES = 4 << 20
_PROBES = 3
_LEAD_IN_BYTES = 2 << 20
_STAGING_SLOTS = 4
_SMALLEST_CHUNK_BYTES = 512 << 10
_CHUNKS_AT_LEAST = 16
# What is queued behind a gate must fit the driver's queue (about a thousand entries), or
# queueing waits for the gate and the gate for the end of queueing.
_COPIES_AT_MOST = 64
# Less than this fits the first-level caches of a whole GPU, which would answer a second pass.
_SMALLEST_REPEATED_BYTES = 64 << 20
# The host's own share in the time of one sample: queueing, polling.
_HOST_SECONDS = 0.001


@dataclass(frozen=True)
class Portion:
    """What one sample moves in each direction: so many copies of so many bytes."""

    size: int
    copies: int


class Mover(ABC):
    """One direction of traffic that ``initiator`` drives; the payload is the bench's.

    Attributes:
        gated: whether a sample may be queued while its start is held back.
    """

    gated = True

    def __init__(self, initiator: Side, source: Side, target: Side) -> None:
        self.initiator = initiator
        self.start = Event(initiator.gpu)
        self.end = Event(initiator.gpu)
        self._from = source.outgoing.address + GUARD_BYTES
        self._to = target.incoming.address + GUARD_BYTES

    @abstractmethod
    def pieces(self, portion: Portion) -> Iterator[None]:
        """Queue a portion on the initiator's stream, one piece each time this is asked to go on."""

    def finish(self) -> None:  # noqa: B027  most movers have nothing to add
        """Queue what makes the initiator's stream pass only when all has arrived."""

    def close(self) -> None:
        """Free what was allocated for this direction."""
        self.start.close()
        self.end.close()


class CopyEngine(Mover):
    """Copies by the initiator's copy engine."""

    def pieces(self, portion: Portion) -> Iterator[None]:
        """Queue a portion on the initiator's stream, copy by copy."""
        for _copy in range(portion.copies):
            self.initiator.stream.copy(self._to, self._from, portion.size)
            yield


class Kernel(Mover):
    """Copies by loads and stores of the initiator's multiprocessors."""

    def pieces(self, portion: Portion) -> Iterator[None]:
        """Queue a portion on the initiator's stream, launch by launch."""
        together = portion.copies if portion.size >= _SMALLEST_REPEATED_BYTES else 1
        for _launch in range(portion.copies // together):
            self.initiator.gpu.launch(
                "bulk_copy",
                self.initiator.stream,
                self._to,
                self._from,
                portion.size // VECTOR_BYTES,
                together,
            )
            yield


class Staged(Mover):
    """Copies through a ring of parts of ``pinned``, filled and emptied at the same time."""

    # Its chunks are too many for the queue.
    gated = False

    def __init__(self, source: Side, target: Side, pinned: HostBuffer) -> None:
        super().__init__(source, source, target)
        self._target = target
        self._pinned = pinned
        self._slot_bytes = pinned.size // _STAGING_SLOTS
        self._filled = [Event(source.gpu) for _slot in range(_STAGING_SLOTS)]
        self._emptied = [Event(target.gpu) for _slot in range(_STAGING_SLOTS)]
        self._arrived = Event(target.gpu)
        self._chunk = 0

    def pieces(self, portion: Portion) -> Iterator[None]:
        """Queue a portion on the source's stream and the target's inbound one, by chunks."""
        # Few chunks would make the first one's way in and the last one's way out count.
        chunk = max(portion.size // _CHUNKS_AT_LEAST, _SMALLEST_CHUNK_BYTES)
        chunk = min(chunk, self._slot_bytes)
        for _copy in range(portion.copies):
            for offset in range(0, portion.size, chunk):
                self._queue_chunk(offset, min(chunk, portion.size - offset))
                yield

    def finish(self) -> None:
        """Let the source's stream wait for what the target's still has to do."""
        self._arrived.record(self._target.inbound)
        self.initiator.stream.wait_for(self._arrived)

    def close(self) -> None:
        """Free the events."""
        super().close()
        for event in (*self._filled, *self._emptied, self._arrived):
            event.close()

    def _queue_chunk(self, offset: int, count: int) -> None:
        slot = self._chunk % _STAGING_SLOTS
        self._chunk += 1
        pinned = self._pinned.pointer + slot * self._slot_bytes
        outbound, inbound = self.initiator.stream, self._target.inbound
        # An event that was never recorded has passed: the first use of a slot waits for none.
        outbound.wait_for(self._emptied[slot])
        outbound.copy_to_host(pinned, self._from + offset, count)
        self._filled[slot].record(outbound)
        inbound.wait_for(self._filled[slot])
        inbound.copy_to_device(self._to + offset, pinned, count)
        self._emptied[slot].record(inbound)


def mover_of(way: str, source: Side, target: Side, pinned: HostBuffer) -> Mover:
    """Return what moves data from ``source`` to ``target`` in a way of result.WAYS.

    ``pinned`` is the mover's own for as long as it works: data that is staged goes through it.
    """
    if way == "off":
        return Staged(source, target, pinned)
    initiator = target if way in _READ_WAYS else source
    kind = Kernel if way in KERNEL_WAYS else CopyEngine
    return kind(initiator, source, target)


def warm_up(bench: Bench, movers: Sequence[Mover], effort: Effort) -> None:
    """Copy for as long as the effort says, so that clocks and link are those of work.

    Raises:
        CudaError, MeasurementHung.
    """
    begin = time.monotonic()
    portion = _portion(bench, movers, effort.sample_seconds)
    while time.monotonic() - begin < effort.warm_up_seconds:
        _sample(bench, movers, portion)


def gigabytes_per_second(bench: Bench, movers: Sequence[Mover], effort: Effort) -> Estimate:
    """Return the rate of all movers together, in GB/s (1e9 bytes per second).

    Raises:
        CudaError, MeasurementHung.
    """
    portion = _portion(bench, movers, effort.sample_seconds)
    gigabytes = portion.size * portion.copies * len(movers) / 1e9
    return settle(lambda: gigabytes / _sample(bench, movers, portion), effort)


def _portion(bench: Bench, movers: Sequence[Mover], seconds: float) -> Portion:
    """Return what takes about ``seconds``: on fast links many copies, on slow ones a part."""
    probe = Portion(min(bench.copy_bytes, _PROBE_BYTES), 1)
    quickest = min(_elapsed(bench, movers, probe) for _n in range(_PROBES))
    wanted = int(probe.size * seconds / quickest)
    if wanted <= bench.copy_bytes:
        # Not less than the probe: on a link this slow a sample takes longer than it aims at.
        return Portion(max(probe.size, wanted // _GRANULE_BYTES * _GRANULE_BYTES), 1)
    copies = min(_COPIES_AT_MOST, math.ceil(wanted / bench.copy_bytes))
    return Portion(bench.copy_bytes, copies)


def _elapsed(bench: Bench, movers: Sequence[Mover], portion: Portion) -> float:
    """Return a sample's seconds on the GPU's clock, or the host's where that is slower.

    A host that is much slower bounds what a sample may move.
    """
    begin = time.monotonic()
    seconds = _sample(bench, movers, portion)
    return max(seconds, time.monotonic() - begin - _HOST_SECONDS, 1e-6)


def _sample(bench: Bench, movers: Sequence[Mover], portion: Portion) -> float:
    """Return the seconds that a portion of every mover takes."""
    lead, *others = movers
    lead_in = Portion(min(portion.size, _LEAD_IN_BYTES), 1)
    hold = bench.gated(lead.initiator) if lead.gated else contextlib.nullcontext()
    with hold:
        _queue(movers, lead_in)
        lead.start.record(lead.initiator.stream)
        for mover in others:
            mover.initiator.stream.wait_for(lead.start)
            mover.start.record(mover.initiator.stream)
        _queue(movers, portion)
        for mover in movers:
            mover.finish()
            mover.end.record(mover.initiator.stream)
    for mover in movers:
        mover.end.finish("a bandwidth sample")
    return max(mover.end.seconds_since(mover.start) for mover in movers)


def _queue(movers: Sequence[Mover], portion: Portion) -> None:
    # In turns: queueing all of one mover first would give it a head start where nothing is held.
    for _turn in itertools.zip_longest(*(mover.pieces(portion) for mover in movers)):
        pass
