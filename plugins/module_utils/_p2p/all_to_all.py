# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every GPU of a group writes to every other at the same time: how fast, and is the data right.

One child opens all of them. Each ordered pair has a stream of its own, so that a GPU can use all
its copy engines; all begin on one event, and a GPU's time is that to the last of its own ends.
"""

from __future__ import annotations

import json
import math
import statistics
import time
from dataclasses import asdict, dataclass

from .._gpu.cuda import Cuda
from .._gpu.device import Event, Stream
from .._host.errors import GpufleetError
from . import payload, protocol
from .bench import GUARD_BYTES, Bench, Side
from .conversation import die_with_parent, leave, read_line, tell
from .pair_record import FAILED, NOT_RUN, PASSED
from .pattern import POISON_BYTE, Pattern, seed_of
from .sampling import QUICK, THOROUGH, settle

# Of both buffers on each GPU; each peer has its share of the incoming one.
COPY_BYTES = 256 << 20
_GRANULE_BYTES = 1 << 20
_COPIES_AT_MOST = 64
_KERNELS = ("fill_pattern", "verify_pattern", "gate")
_NO_DIRECTION = (0, 0)


@dataclass(frozen=True)
class AllToAllJob:
    """What the child measures: GPUs by PCI address, and bounds as in protocol.Job."""

    addresses: tuple[str, ...]
    copy_bytes: int
    limit_seconds: float
    quick: bool
    seed: int

    def to_json(self) -> str:
        """Return the job as one line of JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> AllToAllJob:
        """Return the job in ``text``, which ``to_json`` made."""
        data = json.loads(text)
        return cls(**{**data, "addresses": tuple(data["addresses"])})


class _Writer:
    """One GPU's writes to all others: a stream, a share of their memory and an end for each."""

    def __init__(self, own: Side, peers: list[tuple[Side, int]], share_bytes: int) -> None:
        """Prepare; ``peers`` are the others with this GPU's place in their memory, in turn."""
        self.own = own
        self.start = Event(own.gpu)
        self._share = share_bytes
        self._source = own.outgoing.address + GUARD_BYTES
        self._targets = [
            (Stream(own.gpu), peer.incoming.address + GUARD_BYTES + place * share_bytes)
            for peer, place in peers
        ]
        self._ends = [Event(own.gpu) for _peer in peers]

    def begin_after(self, event: Event) -> None:
        """Queue the start, and hold back every copy until it has passed."""
        self.own.stream.wait_for(event)
        self.start.record(self.own.stream)
        for stream, _target in self._targets:
            stream.wait_for(self.start)

    def copy(self, turn: int) -> None:
        """Queue one copy to the peer whose turn it is."""
        stream, target = self._targets[turn]
        stream.copy(target, self._source, self._share)

    def end(self) -> None:
        """Queue the ends."""
        for (stream, _target), end in zip(self._targets, self._ends):
            end.record(stream)

    def seconds(self) -> float:
        """Wait for the ends and return the time to the last of them."""
        for end in self._ends:
            end.finish("writing to all others at once")
        return max(end.seconds_since(self.start) for end in self._ends)


class _Traffic:
    def __init__(self, job: AllToAllJob) -> None:
        cuda = Cuda()
        cuda.check("init", 0)
        self._seed = job.seed
        self._effort = QUICK if job.quick else THOROUGH
        self.bench = Bench(
            cuda,
            job.addresses,
            _GRANULE_BYTES,
            job.limit_seconds,
            copy_bytes=job.copy_bytes,
            kernels=_KERNELS,
        )
        self.bench.enable_peer_access()
        self._sides = [self.bench.sides[address] for address in job.addresses]
        others = len(self._sides) - 1
        self._share = self.bench.copy_bytes // others // _GRANULE_BYTES * _GRANULE_BYTES
        # In turn k each GPU writes to the k-th after it: no two to the same one.
        self._writers = [
            _Writer(
                side,
                [
                    (self._sides[(number + turn) % len(self._sides)], turn - 1)
                    for turn in range(1, len(self._sides))
                ],
                self._share,
            )
            for number, side in enumerate(self._sides)
        ]

    @property
    def shares_fit(self) -> bool:
        """Whether there is memory for every peer."""
        return self._share > 0

    def data_state(self) -> str:
        """Return whether words arrive where all write at once; not_run without kernels.

        Of one copy to each, of words that no buffer holds yet: what an earlier copy has left there
        would hide that a later one was lost. The owners' kernels compare.

        Raises:
            CudaError, MeasurementHung.
        """
        if not self.bench.kernels:
            return NOT_RUN
        for side in self._sides:
            side.gpu.fill_bytes(side.incoming.address, POISON_BYTE, side.incoming.size)
        patterns = self._fill(1)
        self._sample(1)
        return PASSED if all(map(self._is_right, range(len(self._sides)), patterns)) else FAILED

    def measure(self) -> tuple[float, float | None, list[float]]:
        """Return GB/s of all together with their spread, and of each GPU's own writes."""
        self._fill(0)
        begin = time.monotonic()
        once = max(self._sample(1))
        # On a host that is much slower than its GPUs the host's time bounds a sample.
        once = max(once, (time.monotonic() - begin) / 2)
        copies = math.ceil(self._effort.sample_seconds / once)
        copies = max(1, min(_COPIES_AT_MOST, copies))
        moved = (len(self._sides) - 1) * self._share * copies / 1e9
        samples: list[list[float]] = []

        def take() -> float:
            samples.append(self._sample(copies))
            return moved * len(self._sides) / max(samples[-1])

        total = settle(take, self._effort)
        each = [moved / statistics.median(times) for times in zip(*samples)]
        return total.median, total.spread, each

    def _sample(self, copies: int) -> list[float]:
        """Return the seconds each GPU takes to write so many shares to every other."""
        lead = self._sides[0]
        with self.bench.gated(lead):
            lead.mark.record(lead.stream)
            for writer in self._writers:
                writer.begin_after(lead.mark)
            for _copy in range(copies):
                for turn in range(len(self._sides) - 1):
                    for writer in self._writers:
                        writer.copy(turn)
            for writer in self._writers:
                writer.end()
        return [writer.seconds() for writer in self._writers]

    def _fill(self, turn: int) -> list[Pattern]:
        """Give every GPU words of its own to write, others in each turn, and return them."""
        patterns = [
            payload.pattern_of(self.bench, seed_of(self._seed, turn, number))
            for number in range(len(self._sides))
        ]
        for side, pattern in zip(self._sides, patterns):
            start = side.outgoing.address + GUARD_BYTES
            payload.fill(self.bench, side, start, self._share, pattern)
        return patterns

    def _is_right(self, number: int, pattern: Pattern) -> bool:
        """Return whether the others have the words of this GPU, and their guard bands are whole."""
        for turn in range(1, len(self._sides)):
            owner = self._sides[(number + turn) % len(self._sides)]
            start = owner.incoming.address + GUARD_BYTES + (turn - 1) * self._share
            if payload.count_wrong_words(self.bench, owner, start, self._share, pattern):
                return False
        mine, all_shares = self._sides[number], self._share * (len(self._sides) - 1)
        return payload.overwritten_guard(self.bench, mine, mine.incoming, all_shares) is None


def _measure(job: AllToAllJob) -> None:
    tell(protocol.STEP, _NO_DIRECTION, name="opening the GPUs")
    traffic = _Traffic(job)
    if not traffic.shares_fit:
        words = f"less than {len(job.addresses) - 1} MiB for the others' data on a GPU"
        tell(protocol.TROUBLE, _NO_DIRECTION, code="gpu_memory_short", detail=words)
        return
    tell(protocol.STEP, _NO_DIRECTION, name="writing to all others at once")
    total, spread, each = traffic.measure()
    tell(
        protocol.ALL_TO_ALL,
        _NO_DIRECTION,
        total=total,
        spread=spread,
        per_gpu=each,
        data=traffic.data_state(),
    )
    tell(protocol.FINISHED, _NO_DIRECTION)


def main(parent: int) -> None:
    """Run the job on standard input; the exit status says nothing, the events all."""
    die_with_parent(parent)
    try:
        _measure(AllToAllJob.from_json(read_line()))
    except GpufleetError as error:
        tell(protocol.TROUBLE, _NO_DIRECTION, code=error.code, detail=error.read)
    leave()
