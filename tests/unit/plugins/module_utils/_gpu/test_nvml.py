# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""NVML's answers become plain data, and what a GPU does not have becomes None."""

from __future__ import annotations

import base64
import sys
import zlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from ansible_collections.gpufleet.p2p.plugins.module_utils._gpu.nvml import (
    Counters,
    NvmlUnavailable,
    open_nvml,
)
from ansible_collections.gpufleet.p2p.plugins.module_utils._host.pci import Link

# A pynvml as a target gets it, answering for a GPU without NVLink, MIG and display.
FAKE = """
import types

class NVMLError(Exception):
    value = 3

class VersionMismatch(NVMLError):
    value = 18

def nvmlInit(): pass
def nvmlShutdown(): pass
def nvmlSystemGetDriverVersion(): return "595.58.03"
def nvmlDeviceGetCount(): return 2
def nvmlDeviceGetHandleByIndex(index): return index
BUSES = ["00000000:81:00.0", "00000000:01:00.0"]
def nvmlDeviceGetPciInfo(handle): return types.SimpleNamespace(busId=BUSES[handle].encode())
def nvmlDeviceGetUUID(handle): return f"GPU-{handle}"
def nvmlDeviceGetName(handle): return b"NVIDIA GeForce RTX 5090"
def nvmlDeviceGetCudaComputeCapability(handle): return (12, 0)
def nvmlDeviceGetMemoryInfo(handle): return types.SimpleNamespace(total=34190917632)
def nvmlDeviceGetCurrPcieLinkGeneration(handle): return 5
def nvmlDeviceGetCurrPcieLinkWidth(handle): return 16
def nvmlDeviceGetMaxPcieLinkGeneration(handle): return 5
def nvmlDeviceGetMaxPcieLinkWidth(handle): return 16
def nvmlDeviceGetComputeMode(handle): return 3
def nvmlDeviceGetComputeRunningProcesses(handle):
    return [types.SimpleNamespace(pid=4242, usedGpuMemory=1 << 20)] if handle else []
def nvmlDeviceGetGraphicsRunningProcesses(handle): return []
def nvmlSystemGetProcessName(pid): return "/usr/bin/python3"
def nvmlDeviceGetP2PStatus(first, second, index):
    assert isinstance(index, int)
    return {0: 0, 1: 1, 2: 5}.get(index, 99)
def _refuse(*arguments): raise NVMLError("Not Supported")
nvmlDeviceGetBAR1MemoryInfo = nvmlDeviceGetMigMode = nvmlDeviceGetDisplayMode = _refuse
nvmlDeviceGetDisplayActive = nvmlDeviceGetNvLinkState = nvmlDeviceGetPcieReplayCounter = _refuse
"""


def packed(source: str) -> str:
    return base64.b64encode(zlib.compress(source.encode())).decode()


@pytest.fixture(name="carried")
def _carried() -> Iterator[str]:
    yield packed(FAKE)
    sys.modules.pop("pynvml", None)


def test_devices_are_ordered_by_address_and_lack_what_they_lack(carried: str) -> None:
    with open_nvml(carried) as nvml:
        first, second = nvml.devices()
        assert nvml.driver_version() == "595.58.03"
    assert (first.index, first.bdf, first.uuid) == (0, "0000:01:00.0", "GPU-1")
    assert (second.index, second.bdf) == (1, "0000:81:00.0")
    assert first.link == Link(5, 16)
    assert first.compute_mode == "exclusive_process"
    assert first.bar1_bytes is None
    assert (first.mig, first.nvlinks, first.replay_count) == (False, (), None)
    assert not first.has_display("030000")
    assert [process.name for process in first.processes] == ["/usr/bin/python3"]


def test_a_gpu_without_outputs_has_a_display_only_if_one_is_active(carried: str) -> None:
    # Read on an H200, class 0302, driver 580.159.04: "Display Attached: Yes", "Active: Disabled".
    with open_nvml(carried) as nvml:
        device = replace(nvml.devices()[0], display_attached=True)
    assert device.has_display("030000")
    assert not device.has_display("030200")
    assert replace(device, display_active=True).has_display("030200")


def test_status_words_are_nvidia_smis(carried: str) -> None:
    with open_nvml(carried) as nvml:
        status = nvml.p2p_status(0, 1)
    assert status == {"read": "OK", "write": "CNS", "nvlink": "NS", "atomics": "U", "pci": "U"}


def test_counters_that_a_gpu_does_not_have_are_unknown(carried: str) -> None:
    # This pynvml is older than the questions about ECC and confidential computing.
    with open_nvml(carried) as nvml:
        assert nvml.counters(0) == Counters(None, None, None)
        assert nvml.confidential_compute() is None


@pytest.mark.usefixtures("carried")
def test_counters_and_the_confidential_mode_of_a_gpu_that_has_them() -> None:
    extended = packed(
        FAKE
        + """
def nvmlDeviceGetPcieReplayCounter(handle): return 10 + handle
def nvmlDeviceGetTotalEccErrors(handle, kind, counter):
    assert counter == 0  # volatile
    return 100 * (kind + 1)
def nvmlSystemGetConfComputeState(): return types.SimpleNamespace(ccFeature=1)
"""
    )
    with open_nvml(extended) as nvml:
        assert nvml.counters(0) == Counters(11, 100, 200)
        assert nvml.confidential_compute() is True


@pytest.mark.usefixtures("carried")
def test_a_library_of_another_release_is_refused_with_both(tmp_path: Path) -> None:
    refusing = packed(
        FAKE + "\ndef nvmlInit(): raise VersionMismatch('Driver/library version mismatch')\n"
    )
    for name, text in {
        "sys/module/nvidia/version": "595.58.03\n",
        "usr/lib64/libnvidia-ml.so.1": "",
    }.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True)
        path.write_text(text)
    (tmp_path / "usr/lib64/libnvidia-ml.so.1").rename(tmp_path / "usr/lib64/libnvidia-ml.so.570.1")
    (tmp_path / "usr/lib64/libnvidia-ml.so.1").symlink_to("libnvidia-ml.so.570.1")
    with pytest.raises(NvmlUnavailable) as caught, open_nvml(refusing, tmp_path):
        pass
    assert caught.value.code == "userspace_mismatch"
    assert caught.value.read == (
        "nvmlInit: Driver/library version mismatch; "
        "module 595.58.03 (/sys/module/nvidia/version); libnvidia-ml.so.1 570.1"
    )


@pytest.mark.parametrize("spoilt", ["", "not base64!", "AAAA", packed("def ("), packed("\0")])
def test_a_pynvml_that_came_along_spoilt_is_a_refusal(spoilt: str) -> None:
    with pytest.raises(NvmlUnavailable) as caught, open_nvml(spoilt):
        pass
    assert caught.value.code == "nvml_unavailable"
    assert "came along" in caught.value.read


def test_nothing_that_came_along_and_nothing_installed_is_a_refusal(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    with pytest.raises(NvmlUnavailable) as caught, open_nvml(None):
        pass
    assert "import pynvml" in caught.value.read
