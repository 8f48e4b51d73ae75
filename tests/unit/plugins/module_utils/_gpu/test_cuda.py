# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Errors of the driver API and of a missing library are told by name."""

from __future__ import annotations

import pytest
from ansible_collections.gpufleet.p2p.plugins.module_utils._gpu.cuda import (
    _SIGNATURES,
    Cuda,
    CudaError,
    CudaUnavailable,
)
from ansible_collections.gpufleet.p2p.plugins.module_utils._gpu.device import (
    Deadline,
    MeasurementHung,
)

# Facts: these resolve to the ABI of CUDA 3 without their suffix.
VERSIONED = (
    "cuMemAlloc",
    "cuMemFree",
    "cuMemGetInfo",
    "cuMemcpyHtoDAsync",
    "cuMemcpyDtoHAsync",
    "cuMemsetD8",
    "cuMemHostGetDevicePointer",
    "cuEventDestroy",
)


def test_a_missing_library_is_a_refusal_that_names_it() -> None:
    with pytest.raises(CudaUnavailable) as caught:
        Cuda("libcuda-of-nobody.so.1")
    assert "libcuda-of-nobody.so.1" in caught.value.read
    assert "userspace" in caught.value.remedy


def test_a_library_that_is_not_cuda_is_refused() -> None:
    with pytest.raises(CudaUnavailable):
        Cuda("libc.so.6")


def test_errors_carry_number_name_and_what_to_do() -> None:
    error = CudaError("cuCtxEnablePeerAccess", 217, "CUDA_ERROR_PEER_ACCESS_UNSUPPORTED")
    assert error.number == 217
    assert "cuCtxEnablePeerAccess returned 217 (CUDA_ERROR_PEER_ACCESS_UNSUPPORTED)" in str(error)
    assert "peer-to-peer build" in error.remedy


def test_the_current_abi_is_asked_for() -> None:
    symbols = {symbol for symbol, _ in _SIGNATURES.values()}
    assert {f"{name}_v2" for name in VERSIONED} <= symbols
    assert not set(VERSIONED) & symbols


def test_a_deadline_ends_a_wait() -> None:
    deadline = Deadline(0.0, "a copy")
    with pytest.raises(MeasurementHung) as caught:
        for _ in range(1000):
            deadline.poll()
    assert "a copy" in caught.value.read
