# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""nvbandwidth's method for GPU to GPU: fill, copy and compare, all by the GPU that initiates.

Both buffers are filled and the destination is compared by kernels in the initiator's context, so
what the initiator sees is what counts. The pattern repeats every 2 MiB. The first difference ends
the program. Tests: read and write, by copy engine and by kernel.
"""

from __future__ import annotations

import ctypes
import statistics
import struct
from ctypes import c_size_t
from itertools import permutations

from support.cuda_library import CUDA, Gpu
from support.elf_objects import cubin_image
from support.other_tools.reporting import checked, run, stop, synchronise, tell

_BYTES = 4 << 20  # 512 MiB in the tool
_PATTERN_BYTES = 2 << 20
_WORD_BYTES = 4
_VECTOR_BYTES = 16
_SAMPLES = 3
_WARM_UPS = 4
_LOOPS = 16
_SOURCE_SEED = 0xBAADF00D
_TARGET_SEED = 0xCAFEBABE
_ALREADY_ENABLED = 704
# The tool is compiled for the GPUs it runs on: the driver has nothing to compile.
_IMAGE = cubin_image(["gate", "copy_words", "fill_repeating", "compare_repeating"])

TESTS = (
    "device_to_device_memcpy_read_ce",
    "device_to_device_memcpy_write_ce",
    "device_to_device_memcpy_read_sm",
    "device_to_device_memcpy_write_sm",
)


def xorshift(seed: int) -> bytes:
    """Return 2 MiB of Marsaglia's 32-bit xorshift (2003)."""
    words = []
    value = seed
    for _index in range(_PATTERN_BYTES // _WORD_BYTES):
        value ^= value << 13 & 0xFFFFFFFF
        value ^= value >> 17
        value ^= value << 5 & 0xFFFFFFFF
        words.append(value)
    return struct.pack(f"<{len(words)}I", *words)


_PATTERNS = {seed: xorshift(seed) for seed in (_SOURCE_SEED, _TARGET_SEED)}


def fill(initiator: Gpu, address: int, seed: int) -> None:
    """Store the pattern all over a buffer, by a kernel of the initiator."""
    pattern = initiator.allocate(_PATTERN_BYTES)
    initiator.write(pattern, _PATTERNS[seed])
    launch(
        initiator,
        "fill_repeating",
        address,
        _BYTES // _WORD_BYTES,
        pattern,
        _PATTERN_BYTES // _WORD_BYTES,
    )
    synchronise(initiator)
    initiator.free(pattern)


def compare(initiator: Gpu, address: int) -> None:
    """Look at the destination by a kernel of the initiator; a difference ends the program."""
    pattern, flag = initiator.allocate(_PATTERN_BYTES), initiator.allocate(_WORD_BYTES)
    initiator.write(pattern, _PATTERNS[_SOURCE_SEED])
    initiator.write(flag, bytes(_WORD_BYTES))
    launch(
        initiator,
        "compare_repeating",
        address,
        _BYTES // _WORD_BYTES,
        pattern,
        _PATTERN_BYTES // _WORD_BYTES,
        flag,
    )
    synchronise(initiator)
    if initiator.read(flag, _WORD_BYTES) != bytes(_WORD_BYTES):
        stop("a value differs from the pattern")
    initiator.free(pattern, flag)


def launch(gpu: Gpu, kernel: str, *parameters: int) -> None:
    """Launch a kernel or raise CudaFailure."""
    checked(gpu.launch(kernel, *parameters), "cuLaunchKernel")


def queue_copies(initiator: Gpu, target: int, source: int, count: int, *, by_kernel: bool) -> None:
    """Queue copies of the whole buffer in the initiator's stream."""
    for _copy in range(count):
        if by_kernel:
            launch(initiator, "copy_words", target, source, _BYTES // _VECTOR_BYTES)
        else:
            initiator.use()
            CUDA.call("cuMemcpyDtoDAsync_v2", target, source, c_size_t(_BYTES), initiator.stream)


def sample(initiator: Gpu, target: int, source: int, *, by_kernel: bool) -> float:
    """Return the GB/s of one sample whose data was looked at."""
    fill(initiator, target, _TARGET_SEED)
    fill(initiator, source, _SOURCE_SEED)
    start, end = initiator.event(), initiator.event()
    with initiator.gated():
        queue_copies(initiator, target, source, _WARM_UPS, by_kernel=by_kernel)
        initiator.record(start)
        queue_copies(initiator, target, source, _LOOPS, by_kernel=by_kernel)
        initiator.record(end)
    synchronise(initiator)
    compare(initiator, target)
    return _BYTES * _LOOPS / initiator.seconds_between(start, end) / 1e9


def enable(one: Gpu, two: Gpu) -> None:
    """Enable access both ways; that it is enabled already is no error."""
    for gpu, peer in ((two, one), (one, two)):
        result = gpu.enable(peer)
        checked(0 if result == _ALREADY_ENABLED else result, "cuCtxEnablePeerAccess")


def run_test(test: str, gpus: list[Gpu]) -> None:
    """Run one test on all pairs that the driver calls peers; without any it is waived."""
    pairs = [pair for pair in permutations(gpus, 2) if pair[0].can_access(pair[1])]
    if not pairs:
        tell(waived=test)
    for initiator, peer in pairs:
        own, theirs = initiator.allocate(_BYTES), peer.allocate(_BYTES)
        enable(initiator, peer)
        target, source = (own, theirs) if "_read_" in test else (theirs, own)
        samples = [
            sample(initiator, target, source, by_kernel=test.endswith("_sm"))
            for _sample in range(_SAMPLES)
        ]
        cell = f"{initiator.ordinal}>{peer.ordinal}"
        tell(figure=f"{test} {cell}", value=statistics.median(samples))
        initiator.free(own)
        peer.free(theirs)


def main() -> None:
    """Run the tests in the tool's order."""
    CUDA.call("cuInit", ctypes.c_uint(0))
    gpus = [Gpu(ordinal, _IMAGE) for ordinal in range(CUDA.device_count())]
    for test in TESTS:
        run_test(test, gpus)


if __name__ == "__main__":
    run(main)
