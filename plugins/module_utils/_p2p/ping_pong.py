# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Two kernels that both keep running pass a flag and a payload to each other, turn by turn.

They are started one after the other, by a process that the system may stop in between for as long
as it likes. So each says that it runs and waits at a gate, which the host opens when both do: what
is counted against the link from then on is the link's alone. A kernel leaves by itself where the
gate stays shut, and they are started anew.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from functools import partial

from .._gpu.device import MeasurementHung
from .._gpu.resident_kernels import GATE_STAYED_SHUT, PING_PONG_BYTES
from .bench import GATE_LOOKS, Bench, Side

ROUNDS = 1000
# A look at a flag in own memory takes about a microsecond: half a second for a turn, below
# what a display's watchdog allows.
_TURN_LOOKS = 500_000
_ATTEMPTS = 3
_WORD = struct.Struct("<Q")
# Each kernel's two words behind the flag of Bench.gated().
_WORDS_AT = 64
_WORDS_STEP = 64
_RESULT_WORDS = 4


@dataclass(frozen=True)
class PingPong:
    """What came of it: rounds that both completed, payload words that were wrong, seconds a round.

    ``str()`` is what was seen, for people.
    """

    rounds: int
    wrong_words: int
    seconds: float

    @property
    def is_right(self) -> bool:
        """Whether every flag came, and behind it the payload as it was sent."""
        return self.rounds == ROUNDS and not self.wrong_words

    def __str__(self) -> str:
        return f"{self.rounds} of {ROUNDS} rounds, {self.wrong_words} payload words wrong"


def play(bench: Bench, source: Side, target: Side) -> PingPong:
    """Let the kernels play, ``source`` leading.

    Raises:
        CudaError: a kernel failed.
        MeasurementHung: one did not start or did not end, or this process was stopped in every
            attempt for longer than a kernel waits for it.
    """
    for _attempt in range(_ATTEMPTS):
        results = _attempt_once(bench, (source, target))
        if all(result[2] != GATE_STAYED_SHUT for result in results):
            lead = results[0]
            return PingPong(
                rounds=min(result[0] for result in results),
                wrong_words=sum(result[1] for result in results),
                seconds=lead[3] / 1e9 / (ROUNDS - 1),
            )
    raise MeasurementHung(
        "measurement_hung",
        read=f"ping_pong: the host was held up between two steps, {_ATTEMPTS} times",
        want="a host that goes on within a second",
        remedy="end what keeps the processors busy, then run again",
    )


def _attempt_once(bench: Bench, sides: tuple[Side, Side]) -> list[tuple[int, ...]]:
    """Return the result words of both kernels, see kernels.py."""
    for number, side in enumerate(sides):
        side.gpu.fill_bytes(side.mailbox.address, 0, PING_PONG_BYTES)
        bench.write_words(side, side.result, *[0] * _RESULT_WORDS)
        bench.flags.write(_running_at(number), bytes(2 * _WORD.size))
    for number, (mine, theirs) in enumerate((sides, sides[::-1])):
        mine.gpu.launch(
            "ping_pong",
            mine.stream,
            mine.mailbox.address,
            theirs.mailbox.address,
            ROUNDS,
            1 if number == 0 else 0,
            mine.result.address,
            _TURN_LOOKS,
            bench.flags.mapped_address(mine.gpu) + _running_at(number),
            GATE_LOOKS,
            single=True,
        )
    for number, side in enumerate(sides):
        side.stream.wait_until(partial(_is_set, bench, _running_at(number)), "ping_pong")
    for number, _side in enumerate(sides):
        bench.flags.write(_running_at(number) + _WORD.size, _WORD.pack(1))
    for side in sides:
        side.stream.finish("ping_pong")
    return [bench.read_words(side, side.result, _RESULT_WORDS) for side in sides]


def _running_at(number: int) -> int:
    """Return the offset of a kernel's two words among the flags: it runs, it may begin."""
    return _WORDS_AT + number * _WORDS_STEP


def _is_set(bench: Bench, offset: int) -> bool:
    return bench.flags.read(offset, _WORD.size) != bytes(_WORD.size)
