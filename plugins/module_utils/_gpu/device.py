# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""GPUs, memory, streams, events and kernels as objects over the driver API.

Nothing here blocks in the driver: every wait polls against a deadline, because a peer transfer
that hangs would otherwise take the process with it before it can say where it was.
"""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable, Collection
from ctypes import byref, c_char_p, c_float, c_size_t, c_uint64, c_void_p
from typing import Any

from .._host.errors import GpufleetError
from .._host.pci_address import normalise_bdf
from .cuda import NOT_READY, PEER_ACCESS_ALREADY_ENABLED, SUCCESS, Cuda, IpcMemHandle
from .kernels import ENTRIES, ptx_of

# CUdevice_attribute.
_MULTIPROCESSOR_COUNT = 16
# Flags of cuMemHostAlloc, cuStreamCreate, cuIpcOpenMemHandle.
_HOST_PORTABLE = 1
_HOST_MAPPED = 2
_STREAM_NON_BLOCKING = 1
_IPC_LAZY_ENABLE_PEER_ACCESS = 1

_LEGACY_STREAM = 0
_BUS_ID_BYTES = 32
_SPIN_SECONDS = 0.0005
_NAP_SECONDS = 0.0002


class MeasurementHung(GpufleetError):
    """Work on a GPU did not finish within its limit."""


class Deadline:
    """A limit on one piece of work, in seconds from now."""

    def __init__(self, seconds: float, what: str) -> None:
        self._seconds = seconds
        self._what = what
        self._begin = time.monotonic()

    def poll(self) -> None:
        """Give way to others for a moment; spin at first, since most work takes microseconds.

        Raises:
            MeasurementHung: the time is over.
        """
        passed = time.monotonic() - self._begin
        if passed > self._seconds:
            raise MeasurementHung(
                "measurement_hung",
                read=f"{self._what} not finished after {self._seconds:g} s",
                want="it to finish",
                remedy="look for Xid, DMAR and IO_PAGE_FAULT lines in dmesg",
            )
        if passed > _SPIN_SECONDS:
            time.sleep(_NAP_SECONDS)


class Gpu:
    """One CUDA device with its primary context, found by PCI address.

    Attributes:
        limit_seconds: how long any wait on this GPU may take.
        multiprocessors: for sizing grids.
    """

    def __init__(self, cuda: Cuda, bdf: str, limit_seconds: float) -> None:
        """Retain the device's primary context, until this process ends.

        Raises:
            CudaError: the driver refused.
            GpufleetError: CUDA does not list a GPU at this address.
        """
        self.cuda = cuda
        self.bdf = bdf
        self.limit_seconds = limit_seconds
        self._ordinal = _ordinal_of(cuda, bdf)
        self.multiprocessors = self._attribute(_MULTIPROCESSOR_COUNT)
        self.context = cuda.handle("primary_context_retain", self._ordinal)
        self._functions: dict[str, int] = {}

    def can_access(self, peer: Gpu) -> bool:
        """Return what the driver claims; see Capability for its worth."""
        return bool(self.cuda.integer("device_can_access_peer", self._ordinal, peer._ordinal))

    def enable_peer_access(self, peer: Gpu) -> None:
        """Map the peer's memory into this GPU's context.

        Raises:
            CudaError: the driver refused.
        """
        self.use()
        number = self.cuda.status("enable_peer_access", peer.context, 0)
        if number not in (SUCCESS, PEER_ACCESS_ALREADY_ENABLED):
            raise self.cuda.error("enable_peer_access", number)

    def use(self) -> None:
        """Make this GPU's context the calling thread's."""
        self.cuda.check("context_set_current", self.context)

    def free_bytes(self) -> int:
        """Return the memory that can still be allocated."""
        self.use()
        free, total = c_size_t(), c_size_t()
        self.cuda.check("memory_info", byref(free), byref(total))
        return free.value

    def load_kernels(self, names: Collection[str] = tuple(ENTRIES)) -> None:
        """Compile kernels and look all of them up, before anything waits for another.

        Raises:
            CudaError: 221 or 222 where the driver cannot compile PTX.
        """
        self.use()
        text = c_char_p(ptx_of(names).encode("ascii"))
        module = self.cuda.handle("module_load", ctypes.cast(text, c_void_p), 0, None, None)
        self._functions = {
            name: self.cuda.handle("module_function", module, name.encode("ascii"))
            for name in names
        }

    def launch(self, name: str, stream: Stream, *arguments: int, single: bool = False) -> None:
        """Launch a kernel of kernels.py with 64-bit arguments on this GPU.

        Args:
            single: one thread, for the resident kernels; otherwise the kernel's own shape.

        Raises:
            CudaError: the driver refused.
        """
        self.use()
        values = [c_uint64(argument) for argument in arguments]
        pointers = (c_void_p * len(values))(
            *(ctypes.cast(ctypes.pointer(value), c_void_p) for value in values)
        )
        shape = ENTRIES[name]
        blocks = 1 if single else self.multiprocessors * shape.blocks_per_multiprocessor
        threads = 1 if single else shape.threads_per_block
        function = self._functions[name]
        # The driver copies the values before it returns, so they need to live only until then.
        self.cuda.check(
            "launch", function, blocks, 1, 1, threads, 1, 1, 0, stream.handle, pointers, None
        )

    def fill_bytes(self, address: int, value: int, count: int) -> None:
        """Set ``count`` bytes to ``value`` and wait until it is done.

        Raises:
            CudaError, MeasurementHung.
        """
        self.use()
        self.cuda.check("memset_bytes", address, value, count)
        self._wait("stream_query", _LEGACY_STREAM, "a memset")

    def _wait(
        self, query: str, handle: int, what: str, enough: Callable[[], bool] | None = None
    ) -> None:
        self.use()
        deadline = Deadline(self.limit_seconds, f"{what} on {self.bdf}")
        while (number := self.cuda.status(query, handle)) == NOT_READY:
            if enough is not None and enough():
                return
            deadline.poll()
        if number != SUCCESS:
            raise self.cuda.error(query, number)

    def _attribute(self, number: int) -> int:
        return self.cuda.integer("device_attribute", number, self._ordinal)


class Buffer:
    """Memory of one GPU, freed with its context or by ``close``."""

    def __init__(self, gpu: Gpu, size: int) -> None:
        """Allocate ``size`` bytes.

        Raises:
            CudaError: 2 where there is not enough.
        """
        gpu.use()
        self.gpu = gpu
        self.size = size
        self.address = gpu.cuda.address("memory_alloc", size)

    def export(self) -> bytes:
        """Return the handle, 64 bytes, by which another process can open this memory.

        Raises:
            CudaError: the driver or the system does not offer it.
        """
        self.gpu.use()
        handle = IpcMemHandle()
        self.gpu.cuda.check("ipc_export", byref(handle), self.address)
        return bytes(handle)

    def close(self) -> None:
        """Free the memory."""
        self.gpu.use()
        self.gpu.cuda.status("memory_free", self.address)


class OpenedBuffer:
    """Memory that another process exported, mapped into the context of one of this one's GPUs."""

    def __init__(self, gpu: Gpu, handle: bytes) -> None:
        """Open the memory; access to the GPU that owns it is enabled on the way.

        Raises:
            CudaError: the driver refused.
        """
        gpu.use()
        self.gpu = gpu
        named = IpcMemHandle.from_buffer_copy(handle)
        self.address = gpu.cuda.address("ipc_open", named, _IPC_LAZY_ENABLE_PEER_ACCESS)

    def close(self) -> None:
        """Unmap the memory; it stays its owner's."""
        self.gpu.use()
        self.gpu.cuda.status("ipc_close", self.address)


class HostBuffer:
    """Page-locked host memory that every context can copy from and to, and kernels can map."""

    def __init__(self, gpu: Gpu, size: int) -> None:
        """Allocate ``size`` bytes.

        Raises:
            CudaError: not enough lockable memory.
        """
        gpu.use()
        self.size = size
        self.pointer = gpu.cuda.handle("host_alloc", size, _HOST_PORTABLE | _HOST_MAPPED)

    def mapped_address(self, gpu: Gpu) -> int:
        """Return the address at which kernels of ``gpu`` see this memory."""
        gpu.use()
        return gpu.cuda.address("host_device_pointer", self.pointer, 0)

    def read(self, offset: int, count: int) -> bytes:
        """Return a copy of ``count`` bytes."""
        return ctypes.string_at(self.pointer + offset, count)

    def write(self, offset: int, data: bytes) -> None:
        """Store bytes."""
        ctypes.memmove(self.pointer + offset, data, len(data))


class Stream:
    """A queue of work on one GPU that does not wait for the default stream."""

    def __init__(self, gpu: Gpu) -> None:
        gpu.use()
        self.gpu = gpu
        self.handle = gpu.cuda.handle("stream_create", _STREAM_NON_BLOCKING)

    def copy_to_host(self, target: int, source: int, count: int) -> None:
        """Queue a copy from this GPU's memory to page-locked host memory (a raw pointer)."""
        self._queue("copy_to_host", target, source, count)

    def copy_to_device(self, target: int, source: int, count: int) -> None:
        """Queue a copy from page-locked host memory (a raw pointer) to this GPU's memory."""
        self._queue("copy_to_device", target, source, count)

    def copy(self, target: int, source: int, count: int) -> None:
        """Queue a copy between addresses of any GPUs' memory that this one may reach.

        The GPU of this stream is the initiator, as in nvbandwidth.
        """
        self._queue("copy", target, source, count)

    def copy_between(self, target: Buffer, source: Buffer, offset: int, count: int) -> None:
        """Queue a peer copy of ``count`` bytes at the same offset of two GPUs' buffers.

        The GPU of this stream is the initiator: its copy engine writes to or reads from the other.
        """
        self.gpu.use()
        self.gpu.cuda.check(
            "copy_to_peer",
            target.address + offset,
            target.gpu.context,
            source.address + offset,
            source.gpu.context,
            count,
            self.handle,
        )

    def wait_for(self, event: Event) -> None:
        """Hold what is queued from now on until the event's last recording has passed."""
        self.gpu.use()
        self.gpu.cuda.check("stream_wait_event", self.handle, event.handle, 0)

    def finish(self, what: str) -> None:
        """Wait until everything queued is done.

        Raises:
            MeasurementHung: ``what`` is not done within the GPU's limit.
            CudaError: it failed.
        """
        self.gpu._wait("stream_query", self.handle, what)

    def wait_until(self, enough: Callable[[], bool], what: str) -> None:
        """Wait until ``enough`` returns true, or everything queued is done without it.

        Raises:
            MeasurementHung: neither is so within the GPU's limit.
            CudaError: what is queued failed.
        """
        self.gpu._wait("stream_query", self.handle, what, enough)

    def _queue(self, name: str, *arguments: Any) -> None:
        self.gpu.use()
        self.gpu.cuda.check(name, *arguments, self.handle)


class Event:
    """A point in a stream's work, with its time on the GPU's clock."""

    def __init__(self, gpu: Gpu) -> None:
        gpu.use()
        self.gpu = gpu
        self.handle = gpu.cuda.handle("event_create", 0)

    def record(self, stream: Stream) -> None:
        """Place the event behind what is queued in a stream of the same GPU."""
        self.gpu.use()
        self.gpu.cuda.check("event_record", self.handle, stream.handle)

    def finish(self, what: str) -> None:
        """Wait until the event has passed.

        Raises:
            MeasurementHung: ``what`` is not done within the GPU's limit.
            CudaError: it failed.
        """
        self.gpu._wait("event_query", self.handle, what)

    def seconds_since(self, start: Event) -> float:
        """Return the seconds from ``start`` to this event, both passed and of the same GPU."""
        self.gpu.use()
        milliseconds = c_float()
        self.gpu.cuda.check("event_elapsed", byref(milliseconds), start.handle, self.handle)
        return milliseconds.value / 1000.0

    def close(self) -> None:
        """Destroy the event."""
        self.gpu.use()
        self.gpu.cuda.status("event_destroy", self.handle)


def _ordinal_of(cuda: Cuda, bdf: str) -> int:
    seen: list[str] = []
    for ordinal in range(cuda.integer("device_count")):
        device = cuda.integer("device_get", ordinal)
        text = ctypes.create_string_buffer(_BUS_ID_BYTES)
        cuda.check("device_bus_id", text, _BUS_ID_BYTES, device)
        seen.append(normalise_bdf(text.value.decode("ascii", "replace")))
        if seen[-1] == bdf:
            return device
    raise GpufleetError(
        "gpu_missing_in_cuda",
        read=f"CUDA lists {', '.join(seen) or 'no GPU'}",
        want=f"a GPU at {bdf}",
        remedy="check MIG, compute mode and dmesg for a GPU that fell off the bus",
    )
