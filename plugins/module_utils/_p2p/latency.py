# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How long one small transfer takes: queued copies off and on, and a chain of dependent loads."""

from __future__ import annotations

import struct

from .bench import GUARD_BYTES, Bench, Side

_COPIES = 100
_COPY_BYTES = 16
_STRIDE_BYTES = 128
_CHAIN_BYTES = 1 << 20
_LOADS = 20_000


def queued_copy_on(bench: Bench, source: Side, target: Side) -> float:
    """Return seconds per 16-byte peer copy, 100 of them queued behind a gate.

    Comparable with the "GPU" matrix of p2pBandwidthLatencyTest.

    Raises:
        CudaError, MeasurementHung.
    """
    with bench.gated(source):
        source.start.record(source.stream)
        for _copy in range(_COPIES):
            source.stream.copy_between(target.incoming, source.outgoing, GUARD_BYTES, _COPY_BYTES)
        source.mark.record(source.stream)
    source.mark.finish("queued copies")
    return source.mark.seconds_since(source.start) / _COPIES


def queued_copy_off(bench: Bench, source: Side, target: Side) -> float:
    """Return seconds per 16-byte copy staged through the host, each after the one before.

    Raises:
        CudaError, MeasurementHung.
    """
    pinned = bench.host[0].pointer
    outgoing = source.outgoing.address + GUARD_BYTES
    incoming = target.incoming.address + GUARD_BYTES
    with bench.gated(source):
        source.start.record(source.stream)
        for _copy in range(_COPIES):
            source.stream.copy_to_host(pinned, outgoing, _COPY_BYTES)
            source.end.record(source.stream)
            target.inbound.wait_for(source.end)
            target.inbound.copy_to_device(incoming, pinned, _COPY_BYTES)
            target.end.record(target.inbound)
            source.stream.wait_for(target.end)
        source.mark.record(source.stream)
    source.mark.finish("queued staged copies")
    return source.mark.seconds_since(source.start) / _COPIES


def pointer_chase(bench: Bench, source: Side, target: Side) -> float:
    """Return seconds per dependent load by ``source`` from ``target``'s memory.

    A ring with a stride of 128 bytes, one cache line, as nvbandwidth has it; the loads are
    volatile, so that no cache of the reading GPU answers them.

    Raises:
        CudaError, MeasurementHung.
    """
    start = target.incoming.address + GUARD_BYTES
    nodes = _CHAIN_BYTES // _STRIDE_BYTES
    chain = bytearray(_CHAIN_BYTES)
    for node in range(nodes):
        following = start + (node + 1) % nodes * _STRIDE_BYTES
        struct.pack_into("<Q", chain, node * _STRIDE_BYTES, following)
    staging = bench.host[0]
    staging.write(0, bytes(chain))
    target.stream.copy_to_device(start, staging.pointer, len(chain))
    target.stream.finish("writing the chain")
    bench.write_words(source, source.result, 0, 0)
    source.gpu.launch(
        "pointer_chase", source.stream, start, _LOADS, source.result.address, single=True
    )
    source.stream.finish("pointer_chase")
    return bench.read_words(source, source.result, 2)[1] / 1e9 / _LOADS
