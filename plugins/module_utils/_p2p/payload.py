# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filling a payload with a pattern, and finding the words of one that are not as they should be.

A place is a side and a device address that its GPU owns or has mapped.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable

from .._gpu.device import Buffer
from .bench import GUARD_BYTES, Bench, Side, first_difference
from .evidence import DATA_CORRUPTED, Finding, WrongWord
from .pattern import POISON_BYTE, DevicePattern, HostPattern, Pattern

Place = tuple[Side, int]

_WINDOWS_PER_CHUNK = 16
_SAMPLE_WORDS = 128
_NO_INDEX = 0xFFFFFFFFFFFFFFFF
_POISON = bytes([POISON_BYTE])


def pattern_of(bench: Bench, seed: int) -> Pattern:
    """Return the pattern of a seed that can be made on this bench: by kernels where they run."""
    return DevicePattern(seed) if bench.kernels else HostPattern(seed)


def fill(bench: Bench, side: Side, address: int, size: int, pattern: Pattern) -> None:
    """Store the first ``size`` bytes of the pattern in a GPU's own memory.

    Raises:
        CudaError, MeasurementHung.
    """
    if isinstance(pattern, HostPattern):
        data = pattern.data(size)
        staging = bench.host[0]
        for offset in range(0, size, staging.size):
            piece = data[offset : offset + staging.size]
            staging.write(0, piece)
            side.stream.copy_to_device(address + offset, staging.pointer, len(piece))
            side.stream.finish("filling the source")
    elif isinstance(pattern, DevicePattern):
        side.gpu.launch("fill_pattern", side.stream, address, size // 8, pattern.seed, 0)
        side.stream.finish("filling the source")


def find_wrong_words(
    bench: Bench, side: Side, address: int, size: int, pattern: Pattern
) -> tuple[int, int] | None:
    """Return how many words a kernel of the owner finds wrong, and the index of the first.

    The index means nothing where none is wrong; None where kernels cannot run.

    Raises:
        CudaError, MeasurementHung.
    """
    if not isinstance(pattern, DevicePattern):
        return None
    bench.write_words(side, side.result, 0, _NO_INDEX)
    side.gpu.launch(
        "verify_pattern",
        side.stream,
        address,
        size // 8,
        pattern.seed,
        0,
        side.result.address,
    )
    side.stream.finish("the owner's comparison")
    wrong, first = bench.read_words(side, side.result, 2)
    return wrong, first


def count_wrong_words(
    bench: Bench, side: Side, address: int, size: int, pattern: Pattern
) -> int | None:
    """Return how many words a kernel of the owner finds wrong; None where kernels cannot run.

    Raises:
        CudaError, MeasurementHung.
    """
    found = find_wrong_words(bench, side, address, size, pattern)
    return None if found is None else found[0]


def pieces_of(size: int, piece: int, most: int) -> tuple[tuple[int, int], ...]:
    """Return offsets and lengths of pieces of a payload, in order, that do not overlap.

    All of it where that is at most ``most`` bytes; else ``most // piece`` pieces spread evenly,
    the first at its start and the last at its end.

    Args:
        size: of the payload; like ``piece`` a multiple of 8.
        piece: length of a piece, the last one of all of it may be shorter.
        most: at least twice ``piece``.
    """
    if size <= most:
        return tuple((offset, min(piece, size - offset)) for offset in range(0, size, piece))
    count = most // piece
    last = (size - piece) // 8
    return tuple((last * number // (count - 1) * 8, piece) for number in range(count))


def sample_wrong_words(
    bench: Bench,
    expected: Place,
    received: Place,
    pieces: Iterable[tuple[int, int]],
    pattern: Pattern,
) -> list[WrongWord]:
    """Return a sample of the words that differ, both places read to the host by their owners.

    Empty if none differs in ``pieces``, each an offset and a length that fits the bench's host
    buffers: every byte of them is compared.

    Raises:
        CudaError, MeasurementHung.
    """
    wanted, seen = bench.host
    sample: list[WrongWord] = []
    for offset, count in pieces:
        for (side, address), host in ((expected, wanted), (received, seen)):
            side.stream.copy_to_host(host.pointer, address + offset, count)
        expected[0].stream.finish("reading the source")
        received[0].stream.finish("reading the destination")
        # Windows spread over the chunk, so that a displacement shows at several places.
        window = max(8, count // _WINDOWS_PER_CHUNK)
        for start in range(0, count, window):
            if len(sample) >= _SAMPLE_WORDS:
                return sample
            byte = first_difference(wanted, seen, start, min(start + window, count))
            if byte is not None:
                index = byte // 8
                word = struct.unpack("<Q", seen.read(index * 8, 8))[0]
                index += offset // 8
                sample.append(WrongWord(index, word, pattern.word(index)))
    return sample


def overwritten_guard(bench: Bench, side: Side, buffer: Buffer, size: int) -> Finding | None:
    """Return what was found in the guard bands around a payload of ``size``; None if nothing.

    Raises:
        CudaError, MeasurementHung.
    """
    for name, offset in (("before", 0), ("behind", GUARD_BYTES + size)):
        seen = bench.read_small(side, buffer, offset, GUARD_BYTES)
        if seen != _POISON * GUARD_BYTES:
            place = next(i for i, byte in enumerate(seen) if byte != POISON_BYTE)
            detail = f"the guard band {name} the payload was overwritten at byte {place}"
            return Finding(DATA_CORRUPTED, offset + place - GUARD_BYTES, detail)
    return None
