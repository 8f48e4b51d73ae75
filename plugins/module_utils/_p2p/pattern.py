# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is written through the pair: words that name their own place, so a misplacement shows."""

from __future__ import annotations

import hashlib
import struct
from typing import Protocol

POISON_BYTE = 0x5A
POISON_WORD = 0x5A5A5A5A5A5A5A5A

_MASK = 0xFFFFFFFFFFFFFFFF
_GOLDEN = 0x9E3779B97F4A7C15
_FIRST = 0xBF58476D1CE4E5B9
_SECOND = 0x94D049BB133111EB
# Odd numbers have inverses modulo 2^64, which is why the finaliser can be undone.
_FIRST_INVERSE = pow(_FIRST, -1, 1 << 64)
_SECOND_INVERSE = pow(_SECOND, -1, 1 << 64)
_WORD = struct.Struct("<Q")


def mix64(value: int) -> int:
    """Return the finaliser of splitmix64 (Steele, Lea, Flood 2014) of a 64-bit word."""
    z = (value + _GOLDEN) & _MASK
    z = ((z ^ (z >> 30)) * _FIRST) & _MASK
    z = ((z ^ (z >> 27)) * _SECOND) & _MASK
    return z ^ (z >> 31)


def unmix64(value: int) -> int:
    """Return the word of which ``value`` is the mix64."""
    z = value & _MASK
    z ^= (z >> 31) ^ (z >> 62)
    z = (z * _SECOND_INVERSE) & _MASK
    z ^= (z >> 27) ^ (z >> 54)
    z = (z * _FIRST_INVERSE) & _MASK
    z ^= (z >> 30) ^ (z >> 60)
    return (z - _GOLDEN) & _MASK


def seed_of(*parts: int) -> int:
    """Return a seed for a transfer named by numbers: another for each, the same every time."""
    seed = 0
    for part in parts:
        seed = mix64(seed ^ (part & _MASK))
    return seed


class Pattern(Protocol):
    """Words that are a function of their index, and can be traced back to it."""

    def word(self, index: int) -> int:
        """Return the 64-bit word at ``index``."""

    def index_of(self, word: int, words: int) -> int | None:
        """Return the index below ``words`` at which the word belongs, None where it is foreign."""


class DevicePattern:
    """The pattern of the kernels: ``mix64(index ^ seed)``, invertible without a search."""

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def word(self, index: int) -> int:
        """Return the 64-bit word at ``index``."""
        return mix64(index ^ self.seed)

    def index_of(self, word: int, words: int) -> int | None:
        """Return the index below ``words`` at which the word belongs, None where it is foreign."""
        index = unmix64(word) ^ self.seed
        return index if index < words else None


class HostPattern:
    """The pattern where kernels cannot run: the SHAKE128 stream of the seed.

    Made at a few hundred MB/s by the standard library, where mix64 in Python takes a microsecond
    a word; as unlikely to repeat.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def data(self, count: int) -> bytes:
        """Return the first ``count`` bytes."""
        return hashlib.shake_128(_WORD.pack(self.seed)).digest(count)

    def word(self, index: int) -> int:
        """Return the 64-bit word at ``index``."""
        value: int = _WORD.unpack(self.data(8 * (index + 1))[-8:])[0]
        return value

    def index_of(self, word: int, words: int) -> int | None:
        """Return the index below ``words`` at which the word belongs, None where it is foreign."""
        data = self.data(8 * words)
        place = data.find(_WORD.pack(word))
        while place >= 0 and place % 8:
            place = data.find(_WORD.pack(word), place + 1)
        return place // 8 if place >= 0 else None
