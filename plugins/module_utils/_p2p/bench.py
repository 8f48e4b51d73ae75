# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The two GPUs of a pair with all that the measurements share: streams, buffers, pinned memory."""

from __future__ import annotations

import ctypes
import itertools
import struct
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager

from .._gpu.cuda import JIT_COMPILER_NOT_FOUND, UNSUPPORTED_PTX_VERSION, Cuda, CudaError
from .._gpu.device import Buffer, Event, Gpu, HostBuffer, Stream
from .._gpu.kernels import ENTRIES
from .._host.errors import GpufleetError
from .at_once import at_once

GUARD_BYTES = 64 << 10
HOST_CHUNK_BYTES = 16 << 20
_SMALLEST_PAYLOAD_BYTES = 1 << 20
_GRANULE_BYTES = 1 << 20
_FREE_SHARE = 8
_RESULT_BYTES = 64
# What kernels on a GPU may wait for the host: looks at its memory take about a microsecond each,
# so that this is a second or two, below what a display's watchdog allows.
GATE_LOOKS = 1_000_000
# A flag of gated() and two words for each kernel of a ping-pong, on cache lines of their own.
_FLAGS_BYTES = 256
_U32 = struct.Struct("<I")

_memcmp = ctypes.CDLL(None).memcmp
_memcmp.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t]
_memcmp.restype = ctypes.c_int


class Side:
    """One GPU of the pair.

    ``outgoing`` is what others get from it, ``incoming`` what they write; both have guard bands
    of GUARD_BYTES before and behind the payload. ``stream`` carries its own transfers and
    kernels, ``inbound`` what is staged to it from the host.
    """

    def __init__(self, gpu: Gpu, room_bytes: int) -> None:
        size = room_bytes + 2 * GUARD_BYTES
        self.gpu = gpu
        self.stream = Stream(gpu)
        self.inbound = Stream(gpu)
        self.outgoing = Buffer(gpu, size)
        self.incoming = Buffer(gpu, size)
        self.result = Buffer(gpu, _RESULT_BYTES)
        self.mailbox = Buffer(gpu, GUARD_BYTES)
        self.start = Event(gpu)
        self.end = Event(gpu)
        self.mark = Event(gpu)


class Bench:
    """GPUs ready to be measured, a pair of them as a rule; the process's end gives them back.

    Attributes:
        sides: by PCI address.
        host: two page-locked buffers, for what is compared there or goes on its way through it.
        flags: page-locked words that kernels and the host tell each other by; the first 64 bytes
            are those of ``gated``.
        no_kernels: the code of why the driver did not compile them, so that only copy engines
            are judged; None where it did.
        kernels: whether it did.
        payload_bytes: what each check moves, a multiple of 1 MiB.
        copy_bytes: most that one copy of a bandwidth sample moves, likewise.
    """

    def __init__(
        self,
        cuda: Cuda,
        addresses: Sequence[str],
        wanted_bytes: int,
        limit_seconds: float,
        host_bytes: int = HOST_CHUNK_BYTES,
        *,
        copy_bytes: int = 0,
        kernels: Collection[str] = tuple(ENTRIES),
    ) -> None:
        """Open the GPUs and allocate.

        Args:
            wanted_bytes: what each check is to move; less where memory is short.
            host_bytes: the size of each buffer in ``host``.
            copy_bytes: what a copy whose rate is taken is to move; likewise.
            kernels: those that will be launched; most of a compilation is for ``ping_pong``.

        Raises:
            CudaError: the driver refused.
            GpufleetError: a GPU is not listed or has too little memory left.
        """
        # A driver takes some 0.1 s to open a GPU, and as long to compile the kernels for it.
        opened = at_once(lambda bdf: _opened(cuda, bdf, limit_seconds, kernels), addresses)
        gpus = [gpu for gpu, _code in opened]
        room = _affordable(gpus, max(wanted_bytes, copy_bytes))
        self.payload_bytes, self.copy_bytes = min(wanted_bytes, room), min(copy_bytes, room)
        self.no_kernels = next((code for _gpu, code in opened if code is not None), None)
        self.kernels = self.no_kernels is None
        sides = at_once(lambda gpu: Side(gpu, room), gpus)
        self.sides = {side.gpu.bdf: side for side in sides}
        self._gpus = gpus
        self.host = (HostBuffer(gpus[0], host_bytes), HostBuffer(gpus[0], host_bytes))
        self._scratch = HostBuffer(gpus[0], GUARD_BYTES)
        self.flags = HostBuffer(gpus[0], _FLAGS_BYTES)

    def can_access(self, source: Side, target: Side) -> bool:
        """Return whether the driver claims both directions of access that a pair needs."""
        return source.gpu.can_access(target.gpu) and target.gpu.can_access(source.gpu)

    def enable_peer_access(self) -> None:
        """Map each GPU's memory into the others' contexts.

        Raises:
            CudaError: the driver refused.
        """
        for gpu, peer in itertools.permutations(self._gpus, 2):
            gpu.enable_peer_access(peer)

    def write_small(self, side: Side, buffer: Buffer, offset: int, data: bytes) -> None:
        """Store up to GUARD_BYTES in a GPU's memory and wait for it."""
        self._scratch.write(0, data)
        side.stream.copy_to_device(buffer.address + offset, self._scratch.pointer, len(data))
        side.stream.finish("a copy from the host")

    def read_small(self, side: Side, buffer: Buffer, offset: int, count: int) -> bytes:
        """Return up to GUARD_BYTES of a GPU's memory, read by that GPU."""
        side.stream.copy_to_host(self._scratch.pointer, buffer.address + offset, count)
        side.stream.finish("a copy to the host")
        return self._scratch.read(0, count)

    def write_words(self, side: Side, buffer: Buffer, *words: int) -> None:
        """Store 64-bit words at the start of a small buffer."""
        self.write_small(side, buffer, 0, struct.pack(f"<{len(words)}Q", *words))

    def read_words(self, side: Side, buffer: Buffer, count: int) -> tuple[int, ...]:
        """Return the 64-bit words at the start of a small buffer."""
        return struct.unpack(f"<{count}Q", self.read_small(side, buffer, 0, 8 * count))

    @contextmanager
    def gated(self, side: Side) -> Iterator[None]:
        """Hold what is queued in a side's stream inside the block, and let it go at its end.

        So the time between two events is the GPU's and not that of queueing. Without kernels
        nothing is held.
        """
        if not self.kernels:
            yield
            return
        self.flags.write(0, _U32.pack(0))
        flag = self.flags.mapped_address(side.gpu)
        side.gpu.launch("gate", side.stream, flag, GATE_LOOKS, single=True)
        try:
            yield
        finally:
            self.flags.write(0, _U32.pack(1))


def first_difference(first: HostBuffer, second: HostBuffer, start: int, end: int) -> int | None:
    """Return the lowest offset in [start, end) at which two host buffers differ, or None.

    memcmp halves the range until the byte is found: the standard library compares memory views
    element by element, a hundred times slower.
    """
    if not _differ(first, second, start, end):
        return None
    while end - start > 1:
        middle = (start + end) // 2
        if _differ(first, second, start, middle):
            end = middle
        else:
            start = middle
    return start


def _differ(first: HostBuffer, second: HostBuffer, start: int, end: int) -> bool:
    return bool(_memcmp(first.pointer + start, second.pointer + start, end - start))


def _affordable(gpus: list[Gpu], wanted_bytes: int) -> int:
    free = min(gpu.free_bytes() for gpu in gpus)
    size = min(wanted_bytes, free // _FREE_SHARE) // _GRANULE_BYTES * _GRANULE_BYTES
    if size < _SMALLEST_PAYLOAD_BYTES:
        raise GpufleetError(
            "gpu_memory_short",
            read=f"{free >> 20} MiB free",
            want=f"{_FREE_SHARE * _SMALLEST_PAYLOAD_BYTES >> 20} MiB free on every GPU",
            remedy="stop the programs that hold GPU memory, then run again",
        )
    return size


def _opened(
    cuda: Cuda, address: str, limit_seconds: float, kernels: Collection[str]
) -> tuple[Gpu, str | None]:
    """Return a GPU with these kernels, or without them and the code of why."""
    gpu = Gpu(cuda, address, limit_seconds)
    try:
        gpu.load_kernels(kernels)
    except CudaError as error:
        if error.number in (JIT_COMPILER_NOT_FOUND, UNSUPPORTED_PTX_VERSION):
            return gpu, error.code
        raise
    return gpu, None
