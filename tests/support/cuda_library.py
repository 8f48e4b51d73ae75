# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""libcuda.so.1 by ctypes for programs of the tests, independent of the product's own binding."""

from __future__ import annotations

import ctypes
import time
from collections.abc import Iterator
from contextlib import contextmanager
from ctypes import byref, c_char_p, c_float, c_int, c_size_t, c_uint, c_uint64, c_void_p
from typing import Any

NOT_READY = 600
# The simulated driver dispatches kernels by name: the text need not mean anything.
PTX = (
    ".version 6.3\n.target sm_75\n"
    + "\n".join(
        f".visible .entry {name}(.param .u64 a) {{ ret; }}"
        for name in (
            "fill_pattern",
            "verify_pattern",
            "copy_words",
            "bulk_copy",
            "pointer_chase",
            "ping_pong",
            "gate",
            "unheard_of",
        )
    )
).encode()

_HOST_PORTABLE_AND_MAPPED = 3
_GATE_LOOKS = 5_000_000


class CudaFailure(Exception):
    """A call returned an error: its name and number."""

    @property
    def number(self) -> int:
        """The CUresult."""
        return int(self.args[1])

    def described(self) -> str:
        """Return the error's name and what the driver says of it."""
        name, text = c_char_p(), c_char_p()
        CUDA.status("cuGetErrorName", c_int(self.number), byref(name))
        CUDA.status("cuGetErrorString", c_int(self.number), byref(text))
        return f"[{(name.value or b'').decode()}] {(text.value or b'').decode()}"


class Library:
    """libcuda.so.1 with every handle passed as 64 bits."""

    def __init__(self) -> None:
        self.library = ctypes.CDLL("libcuda.so.1")

    def status(self, name: str, *arguments: Any) -> int:
        """Return the CUresult of a call; plain integers go as 64 bits."""
        converted = [c_uint64(a) if isinstance(a, int) else a for a in arguments]
        return int(getattr(self.library, name)(*converted))

    def call(self, name: str, *arguments: Any) -> None:
        """Call and raise CudaFailure unless it succeeded."""
        number = self.status(name, *arguments)
        if number:
            raise CudaFailure(name, number)

    def device_count(self) -> int:
        """Return the number of devices."""
        count = c_int()
        self.call("cuDeviceGetCount", byref(count))
        return count.value


CUDA = Library()


class Gpu:
    """A device with its primary context, one stream of its own and loaded kernels.

    Args:
        image: what the kernels are loaded from when the first is launched, PTX or compiled.
    """

    def __init__(self, ordinal: int, image: bytes = PTX) -> None:
        self.ordinal = ordinal
        self.image = image
        self.context = c_void_p()
        CUDA.call("cuDevicePrimaryCtxRetain", byref(self.context), c_int(ordinal))
        self.use()
        self.stream = c_void_p()
        CUDA.call("cuStreamCreate", byref(self.stream), c_uint(1))
        self.module = c_void_p()

    def use(self) -> None:
        """Make its context the current one."""
        CUDA.call("cuCtxSetCurrent", self.context)

    def can_access(self, peer: Gpu) -> bool:
        """Return what the driver claims."""
        can = c_int()
        CUDA.call("cuDeviceCanAccessPeer", byref(can), c_int(self.ordinal), c_int(peer.ordinal))
        return bool(can.value)

    def enable(self, peer: Gpu) -> int:
        """Return the result of enabling access to the peer."""
        self.use()
        return CUDA.status("cuCtxEnablePeerAccess", peer.context, c_uint(0))

    def disable(self, peer: Gpu) -> int:
        """Return the result of disabling access to the peer."""
        self.use()
        return CUDA.status("cuCtxDisablePeerAccess", peer.context)

    def allocate(self, size: int) -> int:
        """Return the address of new device memory."""
        self.use()
        address = c_uint64()
        CUDA.call("cuMemAlloc_v2", byref(address), c_size_t(size))
        return address.value

    def free(self, *addresses: int) -> None:
        """Free device memory."""
        self.use()
        for address in addresses:
            CUDA.call("cuMemFree_v2", address)

    def write(self, address: int, data: bytes) -> None:
        """Copy from the host and wait."""
        self.use()
        CUDA.call("cuMemcpyHtoD_v2", address, data, c_size_t(len(data)))

    def read(self, address: int, size: int) -> bytes:
        """Copy to the host and wait."""
        self.use()
        buffer = ctypes.create_string_buffer(size)
        CUDA.call("cuMemcpyDtoH_v2", buffer, address, c_size_t(size))
        return buffer.raw

    def event(self) -> c_void_p:
        """Return a new event."""
        self.use()
        event = c_void_p()
        CUDA.call("cuEventCreate", byref(event), c_uint(0))
        return event

    def record(self, event: c_void_p) -> None:
        """Record the event in the stream."""
        self.use()
        CUDA.call("cuEventRecord", event, self.stream)

    def wait_for(self, event: c_void_p) -> None:
        """Let the stream wait for the event."""
        self.use()
        CUDA.call("cuStreamWaitEvent", self.stream, event, c_uint(0))

    def launch(self, kernel: str, *parameters: int) -> int:
        """Launch by name and return the result."""
        self.use()
        if not self.module:
            CUDA.call("cuModuleLoadDataEx", byref(self.module), self.image, c_uint(0), None, None)
        function = c_void_p()
        CUDA.call("cuModuleGetFunction", byref(function), self.module, kernel.encode())
        words = [c_uint64(parameter) for parameter in parameters]
        pointers = (c_void_p * len(words))(*(ctypes.addressof(word) for word in words))
        shape = [c_uint(1)] * 6
        return CUDA.status(
            "cuLaunchKernel", function, *shape, c_uint(0), self.stream, pointers, None
        )

    @contextmanager
    def gated(self) -> Iterator[None]:
        """Hold what is queued in the stream inside the block behind a kernel that spins."""
        self.use()
        flag, seen_as = c_void_p(), c_uint64()
        CUDA.call("cuMemHostAlloc", byref(flag), c_size_t(64), c_uint(_HOST_PORTABLE_AND_MAPPED))
        CUDA.call("cuMemHostGetDevicePointer_v2", byref(seen_as), flag, c_uint(0))
        word = ctypes.cast(flag, ctypes.POINTER(c_uint))
        word[0] = 0
        result = self.launch("gate", seen_as.value, _GATE_LOOKS)
        if result:
            raise CudaFailure("cuLaunchKernel", result)
        try:
            yield
        finally:
            word[0] = 1

    def synchronise(self) -> None:
        """Wait in the driver for the stream, however long that takes."""
        self.use()
        CUDA.call("cuStreamSynchronize", self.stream)

    def finish(self, limit: float = 10.0) -> int:
        """Poll the stream until it is done or the limit is over; return its last answer."""
        self.use()
        end = time.monotonic() + limit
        while True:
            answer = CUDA.status("cuStreamQuery", self.stream)
            if answer != NOT_READY or time.monotonic() > end:
                return answer
            time.sleep(0.002)

    def seconds_between(self, start: c_void_p, end: c_void_p) -> float:
        """Return the virtual time between two finished events."""
        milliseconds = c_float()
        CUDA.call("cuEventElapsedTime", byref(milliseconds), start, end)
        return milliseconds.value / 1e3

    def copy_peer(self, to: tuple[Gpu, int], source: tuple[Gpu, int], size: int) -> int:
        """Enqueue a peer copy on this GPU's stream and return the result."""
        self.use()
        return CUDA.status(
            "cuMemcpyPeerAsync",
            to[1],
            to[0].context,
            source[1],
            source[0].context,
            c_size_t(size),
            self.stream,
        )
