# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What wrong data says about how it went wrong: pure judgement on a sample of words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from math import gcd

from .pattern import POISON_WORD, Pattern

DATA_MIRRORED = "data_mirrored"
DATA_ALIASED = "data_aliased"
DATA_STALE = "data_stale"
DATA_BIT_FLIP = "data_bit_flip"
DATA_DROPPED = "data_dropped"
DATA_CORRUPTED = "data_corrupted"
# The most telling first: where checks of a pair disagree, this one names the pair.
DATA_CODES = (
    DATA_MIRRORED,
    DATA_ALIASED,
    DATA_STALE,
    DATA_BIT_FLIP,
    DATA_DROPPED,
    DATA_CORRUPTED,
)

_FLIPPED_BITS_AT_MOST = 4


@dataclass(frozen=True)
class WrongWord:
    """A 64-bit word of the destination, as its owner sees it, and what it should be."""

    index: int
    seen: int
    expected: int


@dataclass(frozen=True)
class Finding:
    """A reason code, the byte offset of the first wrong byte, and what was seen in one line."""

    code: str
    first_bad_offset: int
    detail: str


def classify(
    sample: Sequence[WrongWord],
    *,
    pattern: Pattern,
    earlier: Sequence[Pattern],
    words: int,
    initiator_sees_right: bool | None,
) -> Finding:
    """Return what a sample of wrong words shows.

    Args:
        sample: at least one wrong word, in order of index.
        pattern: of the transfer that was judged.
        earlier: patterns of the transfers before it, the latest last.
        words: length of the payload in 64-bit words.
        initiator_sees_right: whether the GPU that wrote reads its own data back; None where the
            GPU that moved the data is the owner.
    """
    first = sample[0]
    offset = first.index * 8 + _first_wrong_byte(first)
    seen = f"word at byte {first.index * 8} reads 0x{first.seen:016x}, want 0x{first.expected:016x}"
    if initiator_sees_right:
        return Finding(
            DATA_MIRRORED, offset, f"{seen}; the writing GPU reads its own data back right"
        )
    kinds = Counter(_kind(wrong, pattern, earlier, words) for wrong in sample)
    code = next(code for code in DATA_CODES if kinds[code])
    if code == DATA_ALIASED:
        seen += f"; words lie {_stride(sample, pattern, words)} bytes from their place"
    elif code == DATA_STALE:
        seen += "; these are the words of an earlier transfer"
    elif code == DATA_DROPPED:
        seen += "; the destination was not written"
    return Finding(code, offset, seen)


def gravest(codes: Sequence[str]) -> str:
    """Return the most telling of data codes."""
    return min(codes, key=DATA_CODES.index)


def _kind(wrong: WrongWord, pattern: Pattern, earlier: Sequence[Pattern], words: int) -> str:
    if wrong.seen in (POISON_WORD, 0):
        return DATA_DROPPED
    if bin(wrong.seen ^ wrong.expected).count("1") <= _FLIPPED_BITS_AT_MOST:
        return DATA_BIT_FLIP
    if pattern.index_of(wrong.seen, words) is not None:
        return DATA_ALIASED
    if any(former.index_of(wrong.seen, words) is not None for former in earlier):
        return DATA_STALE
    return DATA_CORRUPTED


def _stride(sample: Sequence[WrongWord], pattern: Pattern, words: int) -> int:
    """Return the greatest common divisor, in bytes, of the displacements in the sample."""
    stride = 0
    for wrong in sample:
        origin = pattern.index_of(wrong.seen, words)
        if origin is not None:
            stride = gcd(stride, abs(origin - wrong.index) * 8)
    return stride


def _first_wrong_byte(wrong: WrongWord) -> int:
    difference = wrong.seen ^ wrong.expected
    # Little-endian: the lowest byte comes first in memory.
    return next(byte for byte in range(8) if difference >> (8 * byte) & 0xFF)
