# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""p2pBandwidthLatencyTest's method: copies timed by events, of buffers that nobody looks at.

Whether two GPUs are peers is what the driver claims. Access is enabled for one pair at a time and
only copy engines copy. The row of a matrix is the source.
"""

from __future__ import annotations

import ctypes
from ctypes import c_size_t, c_ubyte
from itertools import permutations

from support.cuda_library import CUDA, Gpu
from support.elf_objects import cubin_image
from support.other_tools.reporting import checked, run, synchronise, tell

_REPEATS = 5
_BYTES = 4 << 20  # 160 MB in the sample
_SMALL_REPEATS = 100
_SMALL_BYTES = 16
# The sample is compiled for the GPUs it runs on: the driver has nothing to compile.
_IMAGE = cubin_image(["gate"])

Memory = dict[Gpu, int]


def one_way(source: Gpu, target: Gpu, memory: Memory, repeats: int, size: int) -> float:
    """Return the seconds of queued copies in the source's stream, behind a spinning kernel."""
    start, stop = source.event(), source.event()
    with source.gated():
        source.record(start)
        for _repeat in range(repeats):
            queue_copy(source, source, target, memory, size)
        source.record(stop)
    synchronise(source)
    return source.seconds_between(start, stop)


def both_ways(one: Gpu, two: Gpu, memory: Memory) -> float:
    """Return the seconds from the start of both directions to the end of the later."""
    start, theirs, stop = one.event(), two.event(), one.event()
    with one.gated():
        one.record(start)
        two.wait_for(start)
        for _repeat in range(_REPEATS):
            queue_copy(two, two, one, memory, _BYTES)
        for _repeat in range(_REPEATS):
            queue_copy(one, one, two, memory, _BYTES)
        two.record(theirs)
        one.wait_for(theirs)
        one.record(stop)
    synchronise(one)
    synchronise(two)
    return one.seconds_between(start, stop)


def queue_copy(stream_of: Gpu, source: Gpu, target: Gpu, memory: Memory, size: int) -> None:
    """Queue one copy."""
    result = stream_of.copy_peer((target, memory[target]), (source, memory[source]), size)
    checked(result, "cuMemcpyPeerAsync")


def measure(gpus: list[Gpu], memory: Memory, *, peers: bool) -> None:
    """Print the matrices with peer access or without."""
    state = "on" if peers else "off"
    for row, column in permutations(gpus, 2):
        access = peers and row.can_access(column)
        if access:
            checked(row.enable(column), "cuCtxEnablePeerAccess")
            checked(column.enable(row), "cuCtxEnablePeerAccess")
        cell = f"{state} {row.ordinal}>{column.ordinal}"
        seconds = one_way(row, column, memory, _REPEATS, _BYTES)
        tell(figure=f"bandwidth {cell}", value=_BYTES * _REPEATS / seconds / 1e9)
        tell(
            figure=f"bidirectional {cell}",
            value=2 * _BYTES * _REPEATS / both_ways(row, column, memory) / 1e9,
        )
        seconds = one_way(row, column, memory, _SMALL_REPEATS, _SMALL_BYTES)
        tell(figure=f"latency {cell}", value=seconds / _SMALL_REPEATS * 1e6)
        if access:
            checked(row.disable(column), "cuCtxDisablePeerAccess")
            checked(column.disable(row), "cuCtxDisablePeerAccess")


def main() -> None:
    """Print what is claimed, then all figures without and with peer access."""
    CUDA.call("cuInit", ctypes.c_uint(0))
    gpus = [Gpu(ordinal, _IMAGE) for ordinal in range(CUDA.device_count())]
    for row, column in permutations(gpus, 2):
        if not row.can_access(column):
            tell(waived=f"{row.ordinal}>{column.ordinal} cannot access its peer")
    memory = {gpu: gpu.allocate(_BYTES) for gpu in gpus}
    for gpu, address in memory.items():
        gpu.use()
        CUDA.call("cuMemsetD8_v2", address, c_ubyte(0), c_size_t(_BYTES))
    measure(gpus, memory, peers=False)
    measure(gpus, memory, peers=True)


if __name__ == "__main__":
    run(main)
