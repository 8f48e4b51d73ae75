# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A program for the tests: prints what pynvml says of the machine as JSON."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pynvml


def _ask(question: Callable[..., Any], *arguments: Any) -> Any:
    """Return the answer, or the number of NVML's error."""
    try:
        return question(*arguments)
    except pynvml.NVMLError as error:
        return {"error": error.value}


def _link(handle: Any, number: int) -> Any:
    state = _ask(pynvml.nvmlDeviceGetNvLinkState, handle, number)
    if state != 1:
        return state
    field = pynvml.nvmlDeviceGetFieldValues(handle, [(164, number)])[0]
    remote = pynvml.nvmlDeviceGetNvLinkRemotePciInfo(handle, number).busId
    return {"remote": remote, "megabytes": field.value.uiVal, "field": field.nvmlReturn}


def _device(handle: Any) -> Any:
    memory = pynvml.nvmlDeviceGetMemoryInfo(handle)
    memory_2 = pynvml.nvmlDeviceGetMemoryInfo(handle, version=pynvml.nvmlMemory_v2)
    pci = pynvml.nvmlDeviceGetPciInfo(handle)
    by_address = pynvml.nvmlDeviceGetHandleByPciBusId(pci.busId)
    by_uuid = pynvml.nvmlDeviceGetHandleByUUID(pynvml.nvmlDeviceGetUUID(handle))
    return {
        "index": pynvml.nvmlDeviceGetIndex(handle),
        "same": [pynvml.nvmlDeviceGetIndex(other) for other in (by_address, by_uuid)],
        "name": pynvml.nvmlDeviceGetName(handle),
        "uuid": pynvml.nvmlDeviceGetUUID(handle),
        "bus_id": pci.busId,
        "bus_id_legacy": pci.busIdLegacy,
        "pci_device_id": pci.pciDeviceId,
        "memory": [memory.total, memory_2.total, memory_2.free + memory_2.reserved],
        "bar1": pynvml.nvmlDeviceGetBAR1MemoryInfo(handle).bar1Total,
        "compute_capability": pynvml.nvmlDeviceGetCudaComputeCapability(handle),
        "current": [
            pynvml.nvmlDeviceGetCurrPcieLinkGeneration(handle),
            pynvml.nvmlDeviceGetCurrPcieLinkWidth(handle),
        ],
        "max": [
            pynvml.nvmlDeviceGetMaxPcieLinkGeneration(handle),
            pynvml.nvmlDeviceGetMaxPcieLinkWidth(handle),
        ],
        "display": [
            pynvml.nvmlDeviceGetDisplayMode(handle),
            pynvml.nvmlDeviceGetDisplayActive(handle),
        ],
        "compute_mode": pynvml.nvmlDeviceGetComputeMode(handle),
        "mig": _ask(pynvml.nvmlDeviceGetMigMode, handle),
        "ecc": _ask(pynvml.nvmlDeviceGetEccMode, handle),
        "ecc_errors": [
            _ask(pynvml.nvmlDeviceGetTotalEccErrors, handle, kind, 0) for kind in (0, 1)
        ],
        "replays": pynvml.nvmlDeviceGetPcieReplayCounter(handle),
        "processes": [
            len(pynvml.nvmlDeviceGetComputeRunningProcesses(handle)),
            len(pynvml.nvmlDeviceGetGraphicsRunningProcesses(handle)),
        ],
        "nvlinks": [_link(handle, number) for number in range(5)],
    }


def report() -> Any:
    """Return everything; only the error where the library does not initialise."""
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        return {"error": error.value, "text": str(error)}
    handles = [
        pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(pynvml.nvmlDeviceGetCount())
    ]
    return {
        "confidential": _ask(lambda: pynvml.nvmlSystemGetConfComputeState().ccFeature),
        "driver": pynvml.nvmlSystemGetDriverVersion(),
        "nvml": pynvml.nvmlSystemGetNVMLVersion(),
        "cuda": pynvml.nvmlSystemGetCudaDriverVersion(),
        "devices": [_device(handle) for handle in handles],
        "p2p_read": [
            [pynvml.nvmlDeviceGetP2PStatus(a, b, 0) if a is not b else None for b in handles]
            for a in handles
        ],
        "topology": [
            [pynvml.nvmlDeviceGetTopologyCommonAncestor(a, b) for b in handles] for a in handles
        ],
    }


if __name__ == "__main__":
    print(json.dumps(report()))
