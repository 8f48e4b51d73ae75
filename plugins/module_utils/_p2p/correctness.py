# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether data arrives: every transfer is judged by the owner of the memory it went to.

A round trip by the writer proves nothing: the peer mapping may be a private mirror. So the
owner poisons the destination, the source is filled with words that name their place, and the
owner compares, once by a kernel and once by copying both buffers to the host.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Callable

from .._gpu.device import Buffer
from .._gpu.kernels import PING_PONG_BYTES, VECTOR_BYTES
from . import payload
from .bench import GUARD_BYTES, Bench, Side
from .evidence import DATA_ALIASED, DATA_CORRUPTED, Finding, WrongWord, classify, gravest
from .pattern import POISON_BYTE, Pattern, seed_of
from .result import FAILED, NOT_RUN, PASSED, Correctness

# What one kernel writes does not become visible to the other in order while both run.
PING_PONG_FAILED = "ping_pong_failed"

COPY_CHECKS = ("copy_write", "copy_read")
KERNEL_CHECKS = ("sm_write", "sm_read")
# The initiator of these is the source, which does not own the destination.
_WRITES = ("copy_write", "sm_write")
_ROUNDS = 2
# Where Python makes the pattern, it takes a second for 256 MiB.
_HOST_PATTERN_BYTES_AT_MOST = 32 << 20
_SMALLEST_STRIDE_BYTES = 4 << 10
_PING_PONG_ROUNDS = 1000
# A look at a flag in own memory takes about a microsecond: half a second for a turn, below
# what a display's watchdog allows.
_PING_PONG_LOOKS = 500_000


@dataclass(frozen=True)
class Judgement:
    """What the checks of one ordered pair found; ``ping_pong_seconds`` is one round trip."""

    correctness: Correctness
    code: str | None
    detail: str
    ping_pong_seconds: float | None


class Checker:
    """Runs the checks of ordered pairs on one bench, remembering what was sent before."""

    def __init__(
        self,
        bench: Bench,
        seed: int,
        announce: Callable[[str], None],
        on_state: Callable[[str, str], None],
    ) -> None:
        """Prepare.

        Args:
            seed: of this pair; every transfer derives its own from it.
            announce: told the name of each step before it begins, so that a hang has a name.
            on_state: told a check and its state, so that a later hang does not take it away.
        """
        self._bench = bench
        self._seed = seed
        self._announce = announce
        self._on_state = on_state
        self._sent: list[Pattern] = []
        self._stride = ""
        size = bench.payload_bytes
        self._bytes = size if bench.kernels else min(size, _HOST_PATTERN_BYTES_AT_MOST)
        self._words = self._bytes // 8

    def judge(self, source: Side, target: Side) -> Judgement:
        """Check all ways of moving data from ``source`` to ``target``.

        Two rounds with different words, because the second shows whether the first one's are
        still being delivered. The flag ping-pong runs only where all copies were right.

        Raises:
            CudaError, MeasurementHung.
        """
        checks = COPY_CHECKS + (KERNEL_CHECKS if self._bench.kernels else ())
        states = dict.fromkeys(COPY_CHECKS + KERNEL_CHECKS, NOT_RUN)
        findings: list[tuple[str, Finding]] = []
        for _round in range(_ROUNDS):
            for check in checks:
                self._announce(check)
                finding = self._check(check, source, target)
                if finding is not None:
                    findings.append((check, finding))
                    states[check] = FAILED
                elif states[check] == NOT_RUN:
                    states[check] = PASSED
                self._on_state(check, states[check])
            if findings:
                break
        if findings:
            return _failed(states, findings)
        if not self._bench.kernels:
            return Judgement(Correctness.of(states), None, "", None)
        self._announce("ping_pong")
        return self._ping_pong(states, source, target)

    def _check(self, check: str, source: Side, target: Side) -> Finding | None:
        pattern = self._next_pattern()
        target.gpu.fill_bytes(target.incoming.address, POISON_BYTE, target.incoming.size)
        outgoing = source.outgoing.address + GUARD_BYTES
        incoming = target.incoming.address + GUARD_BYTES
        payload.fill(self._bench, source, outgoing, self._bytes, pattern)
        self._transfer(check, source, target)
        sample = self._compare_on_host(source, target, pattern)
        wrong_words = payload.count_wrong_words(self._bench, target, incoming, self._bytes, pattern)
        earlier, self._sent = tuple(self._sent), [*self._sent, pattern]
        if sample:
            seen_right = self._written_reads_right(check, source, target, pattern)
            finding = classify(
                sample,
                pattern=pattern,
                earlier=earlier,
                words=self._words,
                initiator_sees_right=seen_right,
            )
            detail = finding.detail
            if wrong_words is not None:
                detail = f"{wrong_words} of {self._words} words wrong: {detail}"
            if finding.code == DATA_ALIASED:
                self._stride = self._stride or self._alias_stride(check, source, target, pattern)
                detail += self._stride
            return Finding(finding.code, finding.first_bad_offset, detail)
        if wrong_words:
            detail = f"the owner's kernel sees {wrong_words} wrong words, its copy engine none"
            return Finding(DATA_CORRUPTED, 0, detail)
        return payload.overwritten_guard(self._bench, target, target.incoming, self._bytes)

    def _next_pattern(self) -> Pattern:
        seed = seed_of(self._seed, len(self._sent))
        return payload.pattern_of(self._bench, seed)

    def _transfer(
        self, check: str, source: Side, target: Side, offset: int = 0, count: int | None = None
    ) -> None:
        """Move the payload, or ``count`` bytes at ``offset`` of it, in the way of the check."""
        initiator = source if check in _WRITES else target
        self._move(check, initiator, target.incoming, source.outgoing, offset=offset, count=count)
        initiator.stream.finish(check)

    def _move(
        self,
        check: str,
        initiator: Side,
        target: Buffer,
        source: Buffer,
        *,
        offset: int = 0,
        count: int | None = None,
    ) -> None:
        place, size = GUARD_BYTES + offset, count or self._bytes
        if check in COPY_CHECKS:
            initiator.stream.copy_between(target, source, place, size)
        else:
            initiator.gpu.launch(
                "bulk_copy",
                initiator.stream,
                target.address + place,
                source.address + place,
                size // VECTOR_BYTES,
                1,
            )

    def _compare_on_host(self, source: Side, target: Side, pattern: Pattern) -> list[WrongWord]:
        """Return a sample of wrong words: the owners of both buffers read them to the host."""
        sent = (source, source.outgoing.address + GUARD_BYTES)
        received = (target, target.incoming.address + GUARD_BYTES)
        return payload.sample_wrong_words(self._bench, sent, received, self._bytes, pattern)

    def _written_reads_right(
        self, check: str, source: Side, target: Side, pattern: Pattern
    ) -> bool | None:
        """Return whether the writing GPU reads its own words back; None for read checks."""
        if check not in _WRITES:
            return None
        self._announce(f"{check}: reading back")
        source.gpu.fill_bytes(source.incoming.address, POISON_BYTE, source.incoming.size)
        self._move(check, source, source.incoming, target.incoming)
        source.stream.finish("reading back")
        return not self._compare_on_host(source, source, pattern)

    def _alias_stride(self, check: str, source: Side, target: Side, pattern: Pattern) -> str:
        """Return in words the stride at which addresses coincide, found by single writes.

        Where many words were written over each other, the survivors only tell a multiple of it.
        """
        self._announce(f"{check}: looking for the stride")
        stride = _SMALLEST_STRIDE_BYTES
        while stride < self._bytes:
            target.gpu.fill_bytes(target.incoming.address + GUARD_BYTES, POISON_BYTE, VECTOR_BYTES)
            self._transfer(check, source, target, stride, VECTOR_BYTES)
            found = self._bench.read_small(target, target.incoming, GUARD_BYTES, 8)
            if pattern.index_of(struct.unpack("<Q", found)[0], self._words) == stride // 8:
                return f"; addresses repeat every {stride} bytes"
            stride *= 2
        return ""

    def _ping_pong(self, states: dict[str, str], source: Side, target: Side) -> Judgement:
        """Pass a flag with payload between two kernels that both keep running."""
        sides = ((source, target, 1), (target, source, 0))
        for mine, _theirs, _leader in sides:
            mine.gpu.fill_bytes(mine.mailbox.address, 0, PING_PONG_BYTES)
            self._bench.write_words(mine, mine.result, 0, 0, 0, 0)
        for mine, theirs, leader in sides:
            mine.gpu.launch(
                "ping_pong",
                mine.stream,
                mine.mailbox.address,
                theirs.mailbox.address,
                _PING_PONG_ROUNDS,
                leader,
                mine.result.address,
                _PING_PONG_LOOKS,
                single=True,
            )
        for mine, _theirs, _leader in sides:
            mine.stream.finish("ping_pong")
        results = [self._bench.read_words(mine, mine.result, 4) for mine, _theirs, _leader in sides]
        wrong = sum(result[1] for result in results)
        rounds = min(result[0] for result in results)
        if wrong or rounds < _PING_PONG_ROUNDS:
            detail = (
                f"ping_pong: {rounds} of {_PING_PONG_ROUNDS} rounds, {wrong} payload words wrong"
            )
            correctness = Correctness.of({**states, "ping_pong": FAILED})
            return Judgement(correctness, PING_PONG_FAILED, detail, None)
        seconds = results[0][3] / 1e9 / (_PING_PONG_ROUNDS - 1)
        return Judgement(Correctness.of({**states, "ping_pong": PASSED}), None, "", seconds)


def _failed(states: dict[str, str], findings: Sequence[tuple[str, Finding]]) -> Judgement:
    code = gravest([finding.code for _check, finding in findings])
    check, first = next(item for item in findings if item[1].code == code)
    correctness = Correctness.of(states, findings[0][1].first_bad_offset)
    return Judgement(correctness, code, f"{check}: {first.detail}", None)
