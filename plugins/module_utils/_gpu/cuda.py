# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The CUDA driver API by ctypes: no toolkit, nothing compiled, nothing installed on a target.

Signatures are cuda.h's. Every function has its argument types: ctypes' default int would cut
64-bit handles. The names with ``_v2`` are the current ABI; without it they resolve to that of
CUDA 3, with 32-bit sizes.
"""

from __future__ import annotations

import ctypes
from ctypes import POINTER, c_char_p, c_float, c_int, c_size_t, c_ubyte, c_uint, c_uint64, c_void_p
from typing import Any, ClassVar

from .._host.errors import GpufleetError

LIBRARY = "libcuda.so.1"

SUCCESS = 0
OUT_OF_MEMORY = 2
DEVICE_UNAVAILABLE = 46
MAP_FAILED = 205
PEER_ACCESS_UNSUPPORTED = 217
JIT_COMPILER_NOT_FOUND = 221
UNSUPPORTED_PTX_VERSION = 222
NOT_READY = 600
PEER_ACCESS_ALREADY_ENABLED = 704
PEER_ACCESS_NOT_ENABLED = 705
TOO_MANY_PEERS = 711

# For messages when the library itself cannot tell (cuGetErrorName refuses before cuInit).
_NAMES = {
    1: "CUDA_ERROR_INVALID_VALUE",
    2: "CUDA_ERROR_OUT_OF_MEMORY",
    3: "CUDA_ERROR_NOT_INITIALIZED",
    46: "CUDA_ERROR_DEVICE_UNAVAILABLE",
    100: "CUDA_ERROR_NO_DEVICE",
    101: "CUDA_ERROR_INVALID_DEVICE",
    205: "CUDA_ERROR_MAP_FAILED",
    217: "CUDA_ERROR_PEER_ACCESS_UNSUPPORTED",
    221: "CUDA_ERROR_JIT_COMPILER_NOT_FOUND",
    222: "CUDA_ERROR_UNSUPPORTED_PTX_VERSION",
    304: "CUDA_ERROR_OPERATING_SYSTEM",
    400: "CUDA_ERROR_INVALID_HANDLE",
    600: "CUDA_ERROR_NOT_READY",
    700: "CUDA_ERROR_ILLEGAL_ADDRESS",
    702: "CUDA_ERROR_LAUNCH_TIMEOUT",
    704: "CUDA_ERROR_PEER_ACCESS_ALREADY_ENABLED",
    705: "CUDA_ERROR_PEER_ACCESS_NOT_ENABLED",
    711: "CUDA_ERROR_TOO_MANY_PEERS",
    719: "CUDA_ERROR_LAUNCH_FAILED",
    800: "CUDA_ERROR_NOT_PERMITTED",
    801: "CUDA_ERROR_NOT_SUPPORTED",
    802: "CUDA_ERROR_SYSTEM_NOT_READY",
    803: "CUDA_ERROR_SYSTEM_DRIVER_MISMATCH",
}
GPU_UNAVAILABLE = "gpu_unavailable"
USERSPACE_MISMATCH = "userspace_mismatch"
# The reason code and the remedy of an error that has ones of its own.
_KINDS = {
    46: (
        GPU_UNAVAILABLE,
        "free the GPU: another process holds it in exclusive mode, or its compute mode forbids use",
    ),
    100: ("no_device", "load the NVIDIA module and check that nvidia-smi lists the GPUs"),
    205: (
        "peer_mapping_failed",
        "detach displays and consoles from the GPU: its BAR1 could not be mapped",
    ),
    217: (
        "peer_access_refused",
        "load the peer-to-peer build of the driver; in a virtual machine, give both GPUs to it "
        "in one clique, or do without peer-to-peer (NCCL_P2P_DISABLE=1)",
    ),
    221: (
        "no_jit",
        "install libnvidia-ptxjitcompiler of the driver's version, so that kernels are judged",
    ),
    222: ("ptx_too_new", "update the driver: it is older than CUDA 10.0"),
    700: (
        "illegal_address",
        "look for Xid 31 (MMU fault) in dmesg: the peer's memory was not mapped although access "
        "was granted; do not use peer-to-peer on this pair",
    ),
    711: ("too_many_peers", "run again without other programs that hold peer mappings"),
    802: ("system_not_ready", "start nvidia-fabricmanager and wait until it is ready"),
    803: (
        USERSPACE_MISMATCH,
        f"install {LIBRARY} of exactly the loaded module's version",
    ),
}
_OTHER = ("cuda_error", "look for NVRM and Xid lines in dmesg")
# What to do about each reason code that a CudaError can have.
ERROR_REMEDIES = dict((*_KINDS.values(), _OTHER))
_OUT_INT = POINTER(c_int)
_OUT_HANDLE = POINTER(c_void_p)
_OUT_ADDRESS = POINTER(c_uint64)
_OUT_SIZE = POINTER(c_size_t)


class IpcMemHandle(ctypes.Structure):
    """CUipcMemHandle: 64 bytes that name memory to another process, passed by value."""

    _fields_: ClassVar = [("reserved", c_ubyte * 64)]


# Name here: (symbol, argument types). CUdeviceptr is 64 bits, CUdevice an int, the rest pointers.
_SIGNATURES: dict[str, tuple[str, tuple[Any, ...]]] = {
    "init": ("cuInit", (c_uint,)),
    "driver_version": ("cuDriverGetVersion", (_OUT_INT,)),
    "device_count": ("cuDeviceGetCount", (_OUT_INT,)),
    "device_get": ("cuDeviceGet", (_OUT_INT, c_int)),
    "device_attribute": ("cuDeviceGetAttribute", (_OUT_INT, c_int, c_int)),
    "device_bus_id": ("cuDeviceGetPCIBusId", (c_char_p, c_int, c_int)),
    "device_can_access_peer": ("cuDeviceCanAccessPeer", (_OUT_INT, c_int, c_int)),
    "primary_context_retain": ("cuDevicePrimaryCtxRetain", (_OUT_HANDLE, c_int)),
    "context_set_current": ("cuCtxSetCurrent", (c_void_p,)),
    "enable_peer_access": ("cuCtxEnablePeerAccess", (c_void_p, c_uint)),
    "memory_info": ("cuMemGetInfo_v2", (_OUT_SIZE, _OUT_SIZE)),
    "memory_alloc": ("cuMemAlloc_v2", (_OUT_ADDRESS, c_size_t)),
    "memory_free": ("cuMemFree_v2", (c_uint64,)),
    "ipc_export": ("cuIpcGetMemHandle", (POINTER(IpcMemHandle), c_uint64)),
    "ipc_open": ("cuIpcOpenMemHandle_v2", (_OUT_ADDRESS, IpcMemHandle, c_uint)),
    "ipc_close": ("cuIpcCloseMemHandle", (c_uint64,)),
    "memset_bytes": ("cuMemsetD8_v2", (c_uint64, c_ubyte, c_size_t)),
    "copy_to_device": ("cuMemcpyHtoDAsync_v2", (c_uint64, c_void_p, c_size_t, c_void_p)),
    "copy_to_host": ("cuMemcpyDtoHAsync_v2", (c_void_p, c_uint64, c_size_t, c_void_p)),
    "copy": ("cuMemcpyAsync", (c_uint64, c_uint64, c_size_t, c_void_p)),
    "copy_to_peer": (
        "cuMemcpyPeerAsync",
        (c_uint64, c_void_p, c_uint64, c_void_p, c_size_t, c_void_p),
    ),
    "host_alloc": ("cuMemHostAlloc", (_OUT_HANDLE, c_size_t, c_uint)),
    "host_device_pointer": ("cuMemHostGetDevicePointer_v2", (_OUT_ADDRESS, c_void_p, c_uint)),
    "stream_create": ("cuStreamCreate", (_OUT_HANDLE, c_uint)),
    "stream_query": ("cuStreamQuery", (c_void_p,)),
    "stream_wait_event": ("cuStreamWaitEvent", (c_void_p, c_void_p, c_uint)),
    "event_create": ("cuEventCreate", (_OUT_HANDLE, c_uint)),
    "event_record": ("cuEventRecord", (c_void_p, c_void_p)),
    "event_query": ("cuEventQuery", (c_void_p,)),
    "event_elapsed": ("cuEventElapsedTime", (POINTER(c_float), c_void_p, c_void_p)),
    "event_destroy": ("cuEventDestroy_v2", (c_void_p,)),
    "module_load": (
        "cuModuleLoadDataEx",
        (_OUT_HANDLE, c_void_p, c_uint, POINTER(c_int), POINTER(c_void_p)),
    ),
    "module_function": ("cuModuleGetFunction", (_OUT_HANDLE, c_void_p, c_char_p)),
    "launch": (
        "cuLaunchKernel",
        (c_void_p, *(c_uint,) * 7, c_void_p, POINTER(c_void_p), POINTER(c_void_p)),
    ),
}


class CudaError(GpufleetError):
    """A driver call returned an error: ``number`` and ``name`` as in cuda.h, and the ``call``.

    Its code is ``cuda_error`` unless what to do about it is known.
    """

    def __init__(self, call: str, number: int, name: str) -> None:
        code, remedy = _KINDS.get(number, _OTHER)
        super().__init__(
            code,
            read=f"{call} returned {number} ({name})",
            want="CUDA_SUCCESS",
            remedy=remedy,
        )
        self.call = call
        self.number = number
        self.name = name


class CudaUnavailable(GpufleetError):
    """libcuda.so.1 is missing, cannot be loaded, or lacks a function."""


class Cuda:
    """The loaded library; ``check(name, …)`` calls, ``status(name, …)`` returns the number."""

    def __init__(self, library: str = LIBRARY) -> None:
        """Load the library by its soname, through the loader's own search path.

        Raises:
            CudaUnavailable: it is not there or not a driver library.
        """
        try:
            self._library = ctypes.CDLL(library)
            self._functions = {
                name: self._bound(symbol, arguments)
                for name, (symbol, arguments) in _SIGNATURES.items()
            }
            self._error_name = self._bound("cuGetErrorName", (c_int, POINTER(c_char_p)))
        except (OSError, AttributeError) as error:
            raise CudaUnavailable(
                "cuda_unavailable",
                read=f"{library}: {error}",
                want="the driver's CUDA library",
                remedy="install libcuda1 (or the .run userspace) of the loaded module's version",
            ) from error

    def status(self, name: str, *arguments: Any) -> int:
        """Call a function and return its CUresult."""
        return int(self._functions[name](*arguments))

    def check(self, name: str, *arguments: Any) -> None:
        """Call a function.

        Raises:
            CudaError: it returned anything but CUDA_SUCCESS.
        """
        number = self.status(name, *arguments)
        if number != SUCCESS:
            raise self.error(name, number)

    def error(self, name: str, number: int) -> CudaError:
        """Return the error that a function's result ``number`` stands for."""
        text = c_char_p()
        self._error_name(number, ctypes.byref(text))
        known = (text.value or b"").decode("ascii", "replace")
        symbol = _SIGNATURES[name][0]
        return CudaError(symbol, number, known or _NAMES.get(number, "unknown error"))

    def integer(self, name: str, *arguments: Any) -> int:
        """Call a function whose first argument is an int it fills in, and return that.

        Raises:
            CudaError: it refused.
        """
        value = c_int()
        self.check(name, ctypes.byref(value), *arguments)
        return value.value

    def handle(self, name: str, *arguments: Any) -> int:
        """Call a function whose first argument is a handle or pointer it fills in.

        Raises:
            CudaError: it refused.
        """
        value = c_void_p()
        self.check(name, ctypes.byref(value), *arguments)
        return value.value or 0

    def address(self, name: str, *arguments: Any) -> int:
        """Call a function whose first argument is a CUdeviceptr it fills in.

        Raises:
            CudaError: it refused.
        """
        value = c_uint64()
        self.check(name, ctypes.byref(value), *arguments)
        return value.value

    def _bound(self, symbol: str, arguments: tuple[Any, ...]) -> Any:
        function = self._library[symbol]
        function.argtypes = list(arguments)
        function.restype = c_int
        return function
