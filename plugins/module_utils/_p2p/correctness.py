# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether data arrives: every transfer is judged by the owner of the memory it went to.

A round trip by the writer proves nothing: the peer mapping may be a private mirror. So the
owner poisons the destination, the source is filled with words that name their place, and the
owner compares, once by a kernel and once by copying both buffers to the host.
"""

from __future__ import annotations

import statistics
import struct
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Callable

from .._gpu.device import Buffer
from .._gpu.kernels import VECTOR_BYTES
from . import payload
from .bench import GUARD_BYTES, Bench, Side
from .evidence import DATA_ALIASED, DATA_CORRUPTED, Finding, WrongWord, classify, gravest
from .pair_record import FAILED, NOT_RUN, PASSED, Correctness
from .pattern import POISON_BYTE, Pattern, seed_of
from .ping_pong import play

# What one kernel writes does not become visible to the other in order while both run.
PING_PONG_FAILED = "ping_pong_failed"

COPY_CHECKS = ("copy_write", "copy_read")
KERNEL_CHECKS = ("sm_write", "sm_read")
# The initiator of these is the source, which does not own the destination.
_WRITES = ("copy_write", "sm_write")
# Of the long payload this much is compared on the host, spread over it; kernels compare all.
_HOST_SAMPLE_BYTES = 64 << 20
_HOST_PIECE_BYTES = 4 << 20
_LONG_FREE_SHARE = 8
_GRANULE_BYTES = 1 << 20
# Where Python makes the pattern, it takes a second for 256 MiB.
_HOST_PATTERN_BYTES_AT_MOST = 32 << 20
_SMALLEST_STRIDE_BYTES = 4 << 10


@dataclass(frozen=True)
class Judgement:
    """What the checks of one ordered pair found; ``ping_pong_seconds`` is one round trip."""

    correctness: Correctness
    code: str | None
    detail: str
    ping_pong_seconds: float | None


@dataclass(frozen=True)
class Extent:
    """How long the payload of the second round is: at most ``most`` bytes, 0 for the usual.

    Of that what the link moves in ``seconds``, by its rate in the first round: memory a few GB
    apart is told apart on a fast link, and a slow one does not hold up the run.
    """

    most: int = 0
    seconds: float = 0.0

    def bytes_at(self, rate: float, usual: int, free: int) -> int:
        """Return the length in bytes, at least the usual and otherwise a multiple of 1 MiB.

        Args:
            rate: bytes per second.
            usual: the payload of the first round.
            free: memory that is free on both GPUs; an eighth of it may be used.
        """
        wanted = min(self.most, int(rate * self.seconds), free // _LONG_FREE_SHARE)
        return max(usual, wanted // _GRANULE_BYTES * _GRANULE_BYTES)


@dataclass(frozen=True)
class _Stretch:
    """What a check moves: ``size`` bytes behind the guard band of one buffer into another's.

    ``pieces`` are compared on the host, too.
    """

    outgoing: Buffer
    incoming: Buffer
    size: int
    pieces: tuple[tuple[int, int], ...]

    @property
    def words(self) -> int:
        return self.size // 8


class Checker:
    """Runs the checks of ordered pairs on one bench, remembering what was sent before."""

    def __init__(
        self,
        bench: Bench,
        seed: int,
        announce: Callable[[str], None],
        on_state: Callable[[str, str], None],
        extent: Extent = Extent(),
    ) -> None:
        """Prepare.

        Args:
            seed: of this pair; every transfer derives its own from it.
            announce: told the name of each step before it begins, so that a hang has a name.
            on_state: told a check and its state, so that a later hang does not take it away.
            extent: of the second round.
        """
        self._bench = bench
        self._seed = seed
        self._announce = announce
        self._on_state = on_state
        self._extent = extent
        self._sent: list[Pattern] = []
        self._stride = ""
        # Of the first round's transfers, in bytes per second.
        self._rates: list[float] = []
        size = bench.payload_bytes
        self._bytes = size if bench.kernels else min(size, _HOST_PATTERN_BYTES_AT_MOST)

    def judge(self, source: Side, target: Side) -> Judgement:
        """Check all ways of moving data from ``source`` to ``target``.

        Two rounds with different words, because the second shows whether the first one's are
        still being delivered; the second moves as much as the extent says. The flag ping-pong
        runs only where all copies were right.

        Raises:
            CudaError, MeasurementHung.
        """
        checks = COPY_CHECKS + (KERNEL_CHECKS if self._bench.kernels else ())
        states = dict.fromkeys(COPY_CHECKS + KERNEL_CHECKS, NOT_RUN)
        usual = _Stretch(
            source.outgoing,
            target.incoming,
            self._bytes,
            payload.pieces_of(self._bytes, self._bench.host[0].size, self._bytes),
        )
        self._rates = []
        moved = usual.size
        findings = self._round(checks, states, source, target, usual)
        if not findings:
            with self._long_stretch(source, target, usual) as stretch:
                moved = stretch.size
                findings = self._round(checks, states, source, target, stretch)
        if findings:
            return _with_bytes(_failed(states, findings), moved)
        if not self._bench.kernels:
            return _with_bytes(Judgement(Correctness.of(states), None, "", None), moved)
        self._announce("ping_pong")
        return _with_bytes(self._ping_pong(states, source, target), moved)

    def _round(
        self,
        checks: Sequence[str],
        states: dict[str, str],
        source: Side,
        target: Side,
        stretch: _Stretch,
    ) -> list[tuple[str, Finding]]:
        """Run every check once, note the states, and return what was found wrong."""
        findings: list[tuple[str, Finding]] = []
        for check in checks:
            self._announce(check)
            finding = self._check(check, source, target, stretch)
            if finding is not None:
                findings.append((check, finding))
                states[check] = FAILED
            elif states[check] == NOT_RUN:
                states[check] = PASSED
            self._on_state(check, states[check])
        return findings

    @contextmanager
    def _long_stretch(self, source: Side, target: Side, usual: _Stretch) -> Iterator[_Stretch]:
        """Return what the second round moves, allocated inside the block."""
        free = min(source.gpu.free_bytes(), target.gpu.free_bytes())
        size = self._extent.bytes_at(statistics.median(self._rates), usual.size, free)
        if size == usual.size or not self._bench.kernels:
            yield usual
            return
        outgoing = Buffer(source.gpu, size + 2 * GUARD_BYTES)
        incoming = Buffer(target.gpu, size + 2 * GUARD_BYTES)
        pieces = payload.pieces_of(size, _HOST_PIECE_BYTES, _HOST_SAMPLE_BYTES)
        yield _Stretch(outgoing, incoming, size, pieces)
        # After an error or a hang they go with the process.
        outgoing.close()
        incoming.close()

    def _check(self, check: str, source: Side, target: Side, stretch: _Stretch) -> Finding | None:
        pattern = self._next_pattern()
        target.gpu.fill_bytes(stretch.incoming.address, POISON_BYTE, stretch.incoming.size)
        outgoing = stretch.outgoing.address + GUARD_BYTES
        incoming = stretch.incoming.address + GUARD_BYTES
        payload.fill(self._bench, source, outgoing, stretch.size, pattern)
        begin = time.monotonic()
        self._transfer(check, source, target, stretch)
        self._rates.append(stretch.size / (time.monotonic() - begin))
        found = payload.find_wrong_words(self._bench, target, incoming, stretch.size, pattern)
        wrong, first = found or (0, 0)
        sample = self._sample(source, target, stretch, pattern, first if wrong else None)
        earlier, self._sent = tuple(self._sent), [*self._sent, pattern]
        if sample:
            seen_right = self._written_reads_right(check, source, stretch, pattern, sample)
            finding = classify(
                sample,
                pattern=pattern,
                earlier=earlier,
                words=stretch.words,
                initiator_sees_right=seen_right,
            )
            detail = finding.detail
            if found is not None:
                detail = f"{wrong} of {stretch.words} words wrong: {detail}"
            if finding.code == DATA_ALIASED:
                self._stride = self._stride or self._alias_stride(
                    check, source, target, stretch, pattern
                )
                detail += self._stride
            return Finding(finding.code, finding.first_bad_offset, detail)
        if wrong:
            detail = f"the owner's kernel sees {wrong} wrong words, its copy engine none"
            return Finding(DATA_CORRUPTED, first * 8, detail)
        return payload.overwritten_guard(self._bench, target, stretch.incoming, stretch.size)

    def _next_pattern(self) -> Pattern:
        seed = seed_of(self._seed, len(self._sent))
        return payload.pattern_of(self._bench, seed)

    def _transfer(
        self,
        check: str,
        source: Side,
        target: Side,
        stretch: _Stretch,
        *,
        offset: int = 0,
        count: int | None = None,
    ) -> None:
        """Move the payload, or ``count`` bytes at ``offset`` of it, in the way of the check."""
        initiator = source if check in _WRITES else target
        place = GUARD_BYTES + offset
        self._move(
            check,
            initiator,
            stretch.incoming.address + place,
            stretch.outgoing.address + place,
            count or stretch.size,
        )
        initiator.stream.finish(check)

    def _move(self, check: str, initiator: Side, target: int, source: int, size: int) -> None:
        if check in COPY_CHECKS:
            initiator.stream.copy(target, source, size)
        else:
            initiator.gpu.launch(
                "bulk_copy", initiator.stream, target, source, size // VECTOR_BYTES, 1
            )

    def _sample(
        self,
        source: Side,
        target: Side,
        stretch: _Stretch,
        pattern: Pattern,
        first_wrong: int | None,
    ) -> list[WrongWord]:
        """Return a sample of wrong words: the owners of both buffers read them to the host.

        Where a kernel found a wrong word between the pieces, it is looked up there.
        """
        sent = (source, stretch.outgoing.address + GUARD_BYTES)
        received = (target, stretch.incoming.address + GUARD_BYTES)
        pieces = stretch.pieces
        if first_wrong is not None and stretch.size > self._bytes:
            place = first_wrong * 8 // _HOST_PIECE_BYTES * _HOST_PIECE_BYTES
            pieces = ((place, min(_HOST_PIECE_BYTES, stretch.size - place)), *pieces)
        sample = payload.sample_wrong_words(self._bench, sent, received, pieces, pattern)
        return sorted(sample, key=lambda wrong: wrong.index)

    def _written_reads_right(
        self,
        check: str,
        source: Side,
        stretch: _Stretch,
        pattern: Pattern,
        sample: Sequence[WrongWord],
    ) -> bool | None:
        """Return whether the writing GPU reads its own words back; None for read checks.

        As many as the usual payload has, from the first wrong one on where there are more.
        """
        if check not in _WRITES:
            return None
        self._announce(f"{check}: reading back")
        first = sample[0].index * 8 // VECTOR_BYTES * VECTOR_BYTES
        place = GUARD_BYTES + min(first, stretch.size - self._bytes)
        source.gpu.fill_bytes(source.incoming.address, POISON_BYTE, source.incoming.size)
        landing = source.incoming.address + GUARD_BYTES
        self._move(check, source, landing, stretch.incoming.address + place, self._bytes)
        source.stream.finish("reading back")
        sent = (source, stretch.outgoing.address + place)
        pieces = payload.pieces_of(self._bytes, self._bench.host[0].size, self._bytes)
        return not payload.sample_wrong_words(self._bench, sent, (source, landing), pieces, pattern)

    def _alias_stride(
        self, check: str, source: Side, target: Side, stretch: _Stretch, pattern: Pattern
    ) -> str:
        """Return in words the stride at which addresses coincide, found by single writes.

        Where many words were written over each other, the survivors only tell a multiple of it.
        """
        self._announce(f"{check}: looking for the stride")
        stride = _SMALLEST_STRIDE_BYTES
        while stride < stretch.size:
            start = stretch.incoming.address + GUARD_BYTES
            target.gpu.fill_bytes(start, POISON_BYTE, VECTOR_BYTES)
            self._transfer(check, source, target, stretch, offset=stride, count=VECTOR_BYTES)
            found = self._bench.read_small(target, stretch.incoming, GUARD_BYTES, 8)
            if pattern.index_of(struct.unpack("<Q", found)[0], stretch.words) == stride // 8:
                return f"; addresses repeat every {stride} bytes"
            stride *= 2
        return ""

    def _ping_pong(self, states: dict[str, str], source: Side, target: Side) -> Judgement:
        """Pass a flag with payload between two kernels that both keep running."""
        played = play(self._bench, source, target)
        if not played.is_right:
            correctness = Correctness.of({**states, "ping_pong": FAILED})
            return Judgement(correctness, PING_PONG_FAILED, f"ping_pong: {played}", None)
        correctness = Correctness.of({**states, "ping_pong": PASSED})
        return Judgement(correctness, None, "", played.seconds)


def _failed(states: dict[str, str], findings: Sequence[tuple[str, Finding]]) -> Judgement:
    code = gravest([finding.code for _check, finding in findings])
    check, first = next(item for item in findings if item[1].code == code)
    correctness = Correctness.of(states, findings[0][1].first_bad_offset)
    return Judgement(correctness, code, f"{check}: {first.detail}", None)


def _with_bytes(judgement: Judgement, moved: int) -> Judgement:
    return replace(judgement, correctness=replace(judgement.correctness, pattern_bytes=moved))
