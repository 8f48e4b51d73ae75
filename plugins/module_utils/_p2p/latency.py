# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How long one small transfer takes: queued copies off and on, and a chain of dependent loads."""

from __future__ import annotations

import statistics
import struct
from collections.abc import Callable

from .bench import GUARD_BYTES, Bench, Side

_COPIES = 100
# The median of so many: the driver prepares its queues during the first, and others may work on
# the GPU during any.
_SAMPLES = 3
_COPY_BYTES = 16
_STRIDE_BYTES = 128
# No longer than what a run of loads goes along, so that no line is met twice and answered by a
# cache of the reading GPU; the owner's second-level cache holds all of it, as it does for the
# 970 KB that each of nvbandwidth's runs goes along.
_CHAIN_LOADS = 2048


def queued_copy_on(bench: Bench, source: Side, target: Side) -> float:
    """Return seconds per 16-byte peer copy, 100 of them queued behind a gate; median of three.

    Comparable with the "GPU" matrix of p2pBandwidthLatencyTest.

    Raises:
        CudaError, MeasurementHung.
    """

    def queue() -> None:
        source.stream.copy_between(target.incoming, source.outgoing, GUARD_BYTES, _COPY_BYTES)

    return _each_of_queued(bench, source, queue, "queued copies")


def queued_copy_off(bench: Bench, source: Side, target: Side) -> float:
    """Return seconds per 16-byte copy staged through the host, each after the one before.

    Likewise 100 behind a gate, three times.

    Raises:
        CudaError, MeasurementHung.
    """
    pinned = bench.host[0].pointer
    outgoing = source.outgoing.address + GUARD_BYTES
    incoming = target.incoming.address + GUARD_BYTES

    def queue() -> None:
        source.stream.copy_to_host(pinned, outgoing, _COPY_BYTES)
        source.end.record(source.stream)
        target.inbound.wait_for(source.end)
        target.inbound.copy_to_device(incoming, pinned, _COPY_BYTES)
        target.end.record(target.inbound)
        source.stream.wait_for(target.end)

    return _each_of_queued(bench, source, queue, "queued staged copies")


def pointer_chase(bench: Bench, source: Side, target: Side, loads: int) -> float:
    """Return seconds per dependent load by ``source`` from ``target``'s memory.

    Along a chain with a stride of 128 bytes, one cache line, as nvbandwidth has it. Its figure is
    the mean over all multiprocessors, which are not equally far from the link: here it is that of
    as many of them as ``loads`` allows, evenly spread.

    Raises:
        CudaError, MeasurementHung.
    """
    start = target.incoming.address + GUARD_BYTES
    _write_chain(bench, target, start)
    wanted = max(1, loads // _CHAIN_LOADS)
    blocks = source.gpu.multiprocessors
    chosen = range(0, blocks, max(1, -(-blocks // wanted)))
    # Once for nothing: the owner's cache and the translations are warm from then on.
    _chase(bench, source, start, chosen[0])
    seconds = [_chase(bench, source, start, block) for block in chosen]
    return sum(seconds) / len(seconds) / _CHAIN_LOADS


def _each_of_queued(bench: Bench, source: Side, queue: Callable[[], None], what: str) -> float:
    """Return the seconds each of 100 takes that ``queue`` puts into the source's stream."""

    def sample() -> float:
        with bench.gated(source):
            source.start.record(source.stream)
            for _copy in range(_COPIES):
                queue()
            source.mark.record(source.stream)
        source.mark.finish(what)
        return source.mark.seconds_since(source.start)

    return statistics.median(sample() for _number in range(_SAMPLES)) / _COPIES


def _write_chain(bench: Bench, owner: Side, start: int) -> None:
    chain = bytearray(_CHAIN_LOADS * _STRIDE_BYTES)
    for node in range(_CHAIN_LOADS):
        following = start + (node + 1) % _CHAIN_LOADS * _STRIDE_BYTES
        struct.pack_into("<Q", chain, node * _STRIDE_BYTES, following)
    staging = bench.host[0]
    staging.write(0, bytes(chain))
    owner.stream.copy_to_device(start, staging.pointer, len(chain))
    owner.stream.finish("writing the chain")


def _chase(bench: Bench, source: Side, start: int, block: int) -> float:
    bench.write_words(source, source.result, 0, 0)
    source.gpu.launch(
        "pointer_chase", source.stream, start, _CHAIN_LOADS, source.result.address, block
    )
    source.stream.finish("pointer_chase")
    return bench.read_words(source, source.result, 2)[1] / 1e9
