# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Causes from what a whole host shows while it is measured against the simulated driver."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from ansible_collections.gpufleet.p2p.plugins.module_utils._host.kernel_log import KernelLog
from ansible_collections.gpufleet.p2p.plugins.module_utils._p2p.result import Cause, Result

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
    with KernelLog(tmp_path) as reader:
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


def test_the_running_kernels_log_is_read_without_what_programs_write() -> None:
    assert os.geteuid() == 0, "needs root: /dev/kmsg is closed to others"
    line = "NVRM: Xid (PCI:0000:01:00): 79, said by a test of gpufleet"
    with KernelLog() as log:
        with Path("/dev/kmsg").open("w") as device:
            device.write(f"<3>{line}\n")
        reading = log.read()
    assert reading.messages is not None
    assert line not in reading.messages
