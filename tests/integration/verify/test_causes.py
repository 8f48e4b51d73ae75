# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Causes from what a whole host shows while it is measured against the simulated driver."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.gpufleet.p2p.plugins.module_utils._host.kernel_log import KernelLog
from ansible_collections.gpufleet.p2p.plugins.module_utils._p2p.result import (
    Cause,
    GpuCounters,
    Result,
)
from support.host_tree import build_host_tree, load_description
from support.simulated_gpus import environment_for, verify_in

Verify = Callable[..., Result]


def cause(result: Result, code: str) -> Cause:
    """Return the one cause with a code."""
    (found,) = (cause for cause in result.causes if cause.code == code)
    return found


def codes(result: Result) -> list[str]:
    return [cause.code for cause in result.causes]


@pytest.mark.parametrize(
    ("host", "words"),
    [
        ("alpha", "DMAR: [DMA Write NO_PASID] Request device [01:00.0]"),
        ("beta", "nvidia 0000:01:00.0: AMD-Vi: Event logged [IO_PAGE_FAULT domain="),
    ],
)
def test_what_the_iommu_logs_is_evidence(verify: Verify, host: str, words: str) -> None:
    result = verify(host, tree={"iommu": "DMA", "kernel_log": True})
    assert codes(result) == ["iommu_translating", "iommu_fault"]
    assert f"GPU 0 0000:01:00.0: {words}" in cause(result, "iommu_fault").evidence
    assert "and " in cause(result, "iommu_fault").evidence, "more lines than are shown"
    assert not [note for note in result.notes if note.code.startswith("kernel_log")]


def test_an_xid_of_the_run_is_evidence(verify: Verify) -> None:
    result = verify(fault="error_700", tree={"kernel_log": True})
    assert codes(result) == ["xid", "illegal_address"]
    assert "NVRM: Xid (PCI:0000:01:00): 31" in cause(result, "xid").evidence


def test_what_was_logged_before_the_run_is_not_its_doing(verify: Verify, tmp_path: Path) -> None:
    verify(fault="error_700", tree={"kernel_log": True})
    log = tmp_path / "dev/kmsg"
    assert "Xid" in log.read_text()
    with closing(KernelLog(tmp_path)) as reader:
        assert reader.read().messages == ()


def test_a_host_without_a_log_says_so_once(verify: Verify) -> None:
    result = verify()
    assert (result.verdict, result.causes) == ("pass", ())
    (note,) = (note for note in result.notes if note.code == "kernel_log_unread")
    assert note.evidence == "/dev/kmsg: no such file or directory"


def test_what_is_verified_and_what_nccl_would_use_are_told_apart(verify: Verify) -> None:
    result = verify("alpha")
    assert (result.verdict, result.causes) == ("pass", ())
    assert [pair.nccl.would_use for pair in result.pairs] == [False, False]
    (note,) = (note for note in result.notes if note.code == "nccl_gate")
    assert "path PHB is beyond PXB" in note.evidence


def test_two_gpus_on_amd_need_no_setting(verify: Verify) -> None:
    result = verify("beta")
    assert [pair.nccl.would_use for pair in result.pairs] == [True, True]
    assert "nccl_gate" not in {note.code for note in result.notes}


def changed(**changes: object) -> Callable[[dict[str, Any]], None]:
    """Return a change of a description's second GPU."""
    return lambda description: description["gpus"][1].update(changes)


def test_a_link_that_sends_again_and_a_memory_that_errs_are_counted(verify: Verify) -> None:
    errors = {"pcie_replays": 2, "ecc_uncorrected": 1}
    result = verify(change=changed(ecc=True, errors_per_transfer=errors))
    assert (result.verdict, codes(result)) == ("pass", ["link_errors", "ecc_errors"])
    first, second = result.gpus
    assert first.counters == GpuCounters(0, None, None)
    assert second.counters.pcie_replays and second.counters.ecc_uncorrected
    assert second.counters.pcie_replays == 2 * second.counters.ecc_uncorrected
    assert second.counters.ecc_corrected == 0
    words = f"GPU 1 {second.bdf}: {second.counters.pcie_replays} PCIe replays"
    assert cause(result, "link_errors").evidence.startswith(words)


def test_errors_from_before_the_run_are_not_its_own(verify: Verify, tmp_path: Path) -> None:
    counter = tmp_path / "run/gpufleet-lab/errors/1.0"
    counter.parent.mkdir(parents=True)
    counter.write_bytes(bytes(1_000_000))
    result = verify(change=changed(errors_per_transfer={"pcie_replays": 1}))
    replays = result.gpus[1].counters.pcie_replays
    assert replays is not None and 0 < replays < 1_000_000
    assert counter.stat().st_size == 1_000_000 + replays


def test_confidential_gpus_are_named(verify: Verify) -> None:
    result = verify(change=lambda description: description.update(confidential_compute=True))
    assert result.verdict == "fail"
    assert codes(result) == ["confidential_compute"]
    assert [gpu.state.confidential_compute for gpu in result.gpus] == [True, True]


def test_an_exclusive_gpu_that_another_process_holds(verify: Verify, tmp_path: Path) -> None:
    contexts = tmp_path / "run/gpufleet-lab/contexts"
    contexts.mkdir(parents=True)
    (contexts / f"{os.getpid()}.1").touch()
    result = verify(change=changed(compute_mode="exclusive_process"), allow_busy=True)
    assert codes(result) == ["compute_exclusive"]
    assert "GPU 1 0000:02:00.0 is in compute mode exclusive_process" in result.causes[0].evidence


def test_a_console_in_a_gpu_that_fails(verify: Verify, tmp_path: Path) -> None:
    # The description's tree is made by the run itself; the map of memory is not part of it.
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/iomem").write_text(
        "c0000000-cfffffff : 0000:02:00.0\n  c0000000-c02fffff : BOOTFB\n"
    )
    result = verify(fault="one_way", tree={"iommu": "identity"})
    assert codes(result)[0] == "console_on_gpu"
    assert cause(result, "console_on_gpu").evidence == (
        "BOOTFB in /proc/iomem in the memory of GPU 1 0000:02:00.0"
    )


def test_cards_with_nvlink_that_no_bridge_joins_are_a_note(verify: Verify) -> None:
    result = verify("seven_gpu_rig", devices=["4", "5", "6"])
    assert (result.verdict, result.causes) == ("pass", ())
    (note,) = (note for note in result.notes if note.code == "nvlink_inactive")
    assert "GPU 4" in note.evidence and "GPU 5" in note.evidence


def test_a_module_of_another_release_is_refused_with_its_name(
    libraries: Path, tmp_path: Path
) -> None:
    tree = build_host_tree(tmp_path, load_description("alpha"))
    version = tree.root / "proc/driver/nvidia/version"
    version.write_text(version.read_text().replace("595.58.03", "595.45.04"))
    with pytest.raises(AssertionError, match=r"userspace_mismatch: read nvmlInit"):
        verify_in(environment_for(libraries, tree), tree)


def test_the_running_kernels_log_is_read_without_what_programs_write() -> None:
    assert os.geteuid() == 0, "needs root: /dev/kmsg is closed to others"
    line = "NVRM: Xid (PCI:0000:01:00): 79, said by a test of gpufleet"
    with closing(KernelLog()) as log:
        with Path("/dev/kmsg").open("w") as device:
            device.write(f"<3>{line}\n")
        reading = log.read()
    assert reading.messages is not None
    assert line not in reading.messages
