# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the kernels' text does, run instruction by instruction without a GPU."""

from __future__ import annotations

import random
import struct
from collections.abc import Iterator

import pytest
from ansible_collections.gpufleet.p2p.plugins.module_utils._gpu.kernels import (
    ENTRIES,
    VECTOR_BYTES,
    ptx_of,
)
from ansible_collections.gpufleet.p2p.plugins.module_utils._gpu.resident_kernels import (
    GATE_STAYED_SHUT,
    GAVE_UP,
    PING_PONG_BYTES,
)
from ansible_collections.gpufleet.p2p.plugins.module_utils._p2p.pattern import DevicePattern
from hypothesis import given, settings
from hypothesis import strategies as st
from support.ptx import Memory, Program

PTX = ptx_of(ENTRIES)
SOURCE, TARGET, RESULT = 0x10000000, 0x20000000, 0x30000000
GUARD = bytes([0xA5]) * 64
NO_INDEX = 0xFFFFFFFFFFFFFFFF
BLOCKS = st.integers(1, 3)
THREADS = st.integers(1, 4)


def noise(size: int) -> bytes:
    return random.Random(size).randbytes(size)


def words(data: bytes) -> tuple[int, ...]:
    return struct.unpack(f"<{len(data) // 8}Q", data)


@given(st.integers(0, 200), st.integers(1, 3), BLOCKS, THREADS)
@settings(max_examples=60, deadline=None)
def test_bulk_copy_moves_every_vector_once_a_pass_and_nothing_else(
    vectors: int, passes: int, blocks: int, threads: int
) -> None:
    size = vectors * VECTOR_BYTES
    memory = Memory()
    memory.add(SOURCE, noise(size))
    memory.add(TARGET - len(GUARD), GUARD + bytes(size) + GUARD)
    Program(PTX, "bulk_copy").run(memory, [TARGET, SOURCE, vectors, passes], blocks, threads)
    assert memory.data(TARGET - len(GUARD)) == GUARD + noise(size) + GUARD
    places = range(SOURCE, SOURCE + size, 8)
    assert sorted(memory.loads) == sorted(list(places) * passes)


def test_bulk_copy_has_all_its_loads_under_way_before_it_stores() -> None:
    memory = Memory()
    memory.add(SOURCE, noise(12 * VECTOR_BYTES))
    # Only room for loads: the first store is an illegal access, and ends the kernel.
    with pytest.raises(AssertionError, match="illegal access"):
        Program(PTX, "bulk_copy").run(memory, [TARGET, SOURCE, 12, 1])
    assert len(memory.loads) == 2 * 12


def test_bulk_copy_without_a_pass_touches_nothing() -> None:
    memory = Memory()
    Program(PTX, "bulk_copy").run(memory, [TARGET, SOURCE, 100, 0], 2, 2)
    assert memory.loads == []


@given(
    st.integers(1, 40),
    st.integers(0, 2**64 - 1),
    st.integers(0, 2**40),
    st.sets(st.integers(0, 39)),
)
@settings(max_examples=40, deadline=None)
def test_what_is_filled_is_the_pattern_and_what_was_damaged_is_counted(
    count: int, seed: int, first: int, damaged: set[int]
) -> None:
    memory = Memory()
    memory.add(SOURCE, bytes(8 * count))
    memory.add(RESULT, struct.pack("<2Q", 0, NO_INDEX))
    Program(PTX, "fill_pattern").run(memory, [SOURCE, count, seed, first], 2, 3)
    filled = words(memory.data(SOURCE))
    pattern = DevicePattern(seed)
    assert filled == tuple(pattern.word(first + k) for k in range(count))
    wrong = sorted(k for k in damaged if k < count)
    for k in wrong:
        memory.store(SOURCE + 8 * k, 8, filled[k] ^ 1)
    Program(PTX, "verify_pattern").run(memory, [SOURCE, count, seed, first, RESULT], 2, 3)
    assert words(memory.data(RESULT)) == (
        len(wrong),
        first + wrong[0] if wrong else NO_INDEX,
    )


@pytest.mark.parametrize("block", [0, 3])
def test_one_block_goes_along_the_chain_and_each_line_once(block: int) -> None:
    nodes, stride = 16, 128
    chain = bytearray(nodes * stride)
    for node in range(nodes):
        struct.pack_into("<Q", chain, node * stride, SOURCE + (node + 1) % nodes * stride)
    memory = Memory()
    memory.add(SOURCE, bytes(chain))
    memory.add(RESULT, bytes(16))
    Program(PTX, "pointer_chase").run(memory, [SOURCE, nodes, RESULT, block], 4, 1)
    arrived, nanoseconds = words(memory.data(RESULT))
    assert memory.loads == [SOURCE + node * stride for node in range(nodes)]
    assert arrived == SOURCE
    assert nanoseconds > nodes


def in_turns(*threads: Iterator[None]) -> None:
    """Run threads side by side, each until its next look at a flag."""
    running = list(threads)
    while running:
        running = [thread for thread in running if next(thread, "done") is None]


ROUNDS, LOOKS, PATIENCE = 5, 100, 1000
GATES = 0x40000000
RESULTS = (RESULT, RESULT + 0x1000)
OPEN, SHUT = 1, 0


def players(memory: Memory, mailboxes: tuple[int, int], gates: int) -> list[Iterator[None]]:
    """Return the two kernels, the first leading; their gates are as told."""
    program = Program(PTX, "ping_pong")
    memory.add(GATES, struct.pack("<4Q", 0, gates, 0, gates))
    made = []
    for number, (mine, theirs) in enumerate((mailboxes, mailboxes[::-1])):
        result = memory.add(RESULTS[number], bytes(32))
        gate = GATES + 16 * number
        arguments = [mine, theirs, ROUNDS, 1 - number, result, LOOKS, gate, PATIENCE]
        made += program.threads(memory, arguments)
    return made


def ping_pong(memory: Memory, mailboxes: tuple[int, int]) -> list[tuple[int, ...]]:
    in_turns(*players(memory, mailboxes, OPEN))
    return [words(memory.data(result)) for result in RESULTS]


def test_two_kernels_pass_the_flag_to_each_other() -> None:
    memory = Memory()
    boxes = (
        memory.add(SOURCE, bytes(PING_PONG_BYTES)),
        memory.add(TARGET, bytes(PING_PONG_BYTES)),
    )
    for completed, wrong, gave_up, nanoseconds in ping_pong(memory, boxes):
        assert (completed, wrong, gave_up) == (ROUNDS, 0, 0)
        assert nanoseconds > 0


class LateMemory(Memory):
    """A word of payload that stays as it was, though the flag behind it arrives."""

    def store(self, address: int, size: int, value: int) -> None:
        if address != TARGET + 8 * 7:
            super().store(address, size, value)


def test_payload_that_comes_later_than_its_flag_is_counted() -> None:
    memory = LateMemory()
    boxes = (
        memory.add(SOURCE, bytes(PING_PONG_BYTES)),
        memory.add(TARGET, bytes(PING_PONG_BYTES)),
    )
    leader, follower = ping_pong(memory, boxes)
    assert leader[:3] == (ROUNDS, 0, 0)
    assert follower[:3] == (ROUNDS, ROUNDS, 0)


class LostMemory(Memory):
    """A mailbox that nothing reaches."""

    def store(self, address: int, size: int, value: int) -> None:
        if not TARGET <= address < TARGET + PING_PONG_BYTES:
            super().store(address, size, value)


def test_a_flag_that_never_comes_ends_both() -> None:
    memory = LostMemory()
    boxes = (
        memory.add(SOURCE, bytes(PING_PONG_BYTES)),
        memory.add(TARGET, bytes(PING_PONG_BYTES)),
    )
    assert [result[:3] for result in ping_pong(memory, boxes)] == [(0, 0, GAVE_UP)] * 2


def test_a_kernel_whose_partner_is_started_late_waits_for_it_at_the_gate() -> None:
    memory = Memory()
    boxes = (
        memory.add(SOURCE, bytes(PING_PONG_BYTES)),
        memory.add(TARGET, bytes(PING_PONG_BYTES)),
    )
    first, second = players(memory, boxes, SHUT)
    # Longer than it waits for any turn.
    for _look in range(3 * LOOKS):
        assert next(first, "done") is None
    assert words(memory.data(GATES)) == (1, 0, 0, 0)
    assert next(second, "done") is None
    assert words(memory.data(GATES)) == (1, 0, 1, 0)
    assert memory.data(TARGET) == bytes(PING_PONG_BYTES), "nothing is sent before the gate opens"
    memory.store(GATES + 8, 8, OPEN)
    memory.store(GATES + 24, 8, OPEN)
    in_turns(first, second)
    for result in RESULTS:
        assert words(memory.data(result))[:3] == (ROUNDS, 0, 0)


def test_a_gate_that_stays_shut_keeps_no_kernel_and_is_told_apart_from_a_lost_flag() -> None:
    memory = Memory()
    boxes = (
        memory.add(SOURCE, bytes(PING_PONG_BYTES)),
        memory.add(TARGET, bytes(PING_PONG_BYTES)),
    )
    first, second = players(memory, boxes, SHUT)
    assert sum(1 for _look in first) == PATIENCE
    # The host was away: it opens both gates when one kernel has left.
    memory.store(GATES + 24, 8, OPEN)
    in_turns(second)
    assert words(memory.data(RESULTS[0]))[:3] == (0, 0, GATE_STAYED_SHUT)
    assert words(memory.data(RESULTS[1]))[:3] == (0, 0, GAVE_UP)


def test_the_gate_opens_when_told_and_by_itself_when_not() -> None:
    program = Program(PTX, "gate")
    memory = Memory()
    flag = memory.add(RESULT, bytes(64))
    (held,) = program.threads(memory, [flag, 1000])
    for _look in range(10):
        assert next(held, "open") is None
    memory.store(flag, 4, 1)
    assert next(held, "open") == "open"
    memory.store(flag, 4, 0)
    (bounded,) = program.threads(memory, [flag, 1000])
    assert sum(1 for _look in bounded) == 1000
