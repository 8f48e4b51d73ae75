# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the kernel logged during a run becomes causes of the GPUs it names, and of no others."""

from __future__ import annotations

import pytest
from ansible_collections.gpufleet.p2p.plugins.module_utils._host.kernel_faults import faults_in
from ansible_collections.gpufleet.p2p.plugins.module_utils._p2p.causes import causes_of
from ansible_collections.gpufleet.p2p.plugins.module_utils._p2p.host_evidence import KernelWords
from ansible_collections.gpufleet.p2p.plugins.module_utils._p2p.notes import notes_of
from ansible_collections.gpufleet.p2p.plugins.module_utils._p2p.result import Cause
from support.evidence import evidence, pair

RIGHT = (pair(0, 1, "pass"), pair(1, 0, "pass"))
DROPPED = (pair(0, 1, "fail", "data_dropped"), pair(1, 0, "fail", "data_dropped"))
DMAR = "DMAR: [DMA Write NO_PASID] Request device [01:00.0] fault addr 0xf0 [fault reason 0x05] PTE"
AER = "pcieport 0000:00:01.0: AER: Correctable error message received from 0000:00:01.0"
XID = "NVRM: Xid (PCI:0000:02:00): {}, pid=7, name=python3, what the driver saw"
UPSTREAM = {"0000:01:00.0": ("0000:00:01.0",), "0000:02:00.0": ("0000:00:02.0",)}


def causes(*lines: str, pairs: tuple[object, ...] = RIGHT, **changes: object) -> tuple[Cause, ...]:
    kernel = KernelWords(faults_in(lines))
    return causes_of(evidence(*pairs, kernel=kernel, upstream=UPSTREAM, **changes))


def test_a_fault_of_the_iommu_explains_lost_data() -> None:
    (cause,) = causes(DMAR, DMAR, pairs=DROPPED)
    assert cause.code == "iommu_fault"
    assert cause.evidence == f"GPU 0 0000:01:00.0: {DMAR}"
    assert "iommu=pt" in cause.remedy


def test_with_groups_that_pass_through_the_remedy_is_another() -> None:
    groups = {bdf: (number, "identity") for number, bdf in enumerate(UPSTREAM)}
    (cause,) = causes(DMAR, pairs=DROPPED, groups=groups)
    assert "iommu=pt" not in cause.remedy


def test_faults_of_other_devices_are_not_ours() -> None:
    assert (
        causes(DMAR.replace("01:00.0", "07:00.0"), "pcieport 0000:09:00.0: AER: aer_status: ") == ()
    )


def test_an_error_on_the_port_above_belongs_to_the_gpu_below() -> None:
    (cause,) = causes(AER)
    assert (cause.code, cause.evidence) == ("pcie_error", f"GPU 0 0000:01:00.0: {AER}")


@pytest.mark.parametrize(("number", "word"), [(79, "power"), (48, "memory"), (999, "catalogue")])
def test_an_xid_has_the_remedy_of_its_number(number: int, word: str) -> None:
    (cause,) = causes(XID.format(number))
    assert cause.code == "xid"
    assert cause.evidence == f"GPU 1 0000:02:00.0: {XID.format(number)}"
    assert word in cause.remedy


def test_several_xids_have_all_their_remedies() -> None:
    (cause,) = causes(XID.format(79), XID.format(48))
    assert "power" in cause.remedy and "memory" in cause.remedy


def test_other_words_of_the_driver_count_only_where_a_pair_failed() -> None:
    line = "NVRM: GPU 0000:01:00.0: BAR1 is not aligned at 0x20000000"
    assert causes(line) == ()
    found = causes(line, pairs=DROPPED)
    assert [cause.code for cause in found] == ["driver_message", "data_dropped"]
    assert found[0].evidence == line


def test_evidence_is_bounded() -> None:
    lines = [XID.format(31) + "x" * 1000 + str(number) for number in range(50)]
    lines += [XID.format(31) + str(number) for number in range(50)]
    (cause,) = causes(*lines)
    assert cause.evidence.endswith("; and 48 more")
    assert len(cause.evidence) < 1000


def test_a_log_that_was_closed_is_noted_and_no_cause() -> None:
    closed = KernelWords(read=False, remark="/dev/kmsg: permission denied")
    host = evidence(*RIGHT, kernel=closed)
    assert causes_of(host) == ()
    (note,) = notes_of(host)
    assert (note.code, note.evidence) == ("kernel_log_unread", "/dev/kmsg: permission denied")
    assert "root" in note.remedy


def test_a_log_with_a_gap_is_noted() -> None:
    (note,) = notes_of(evidence(*RIGHT, kernel=KernelWords(remark="the log overflowed")))
    assert note.code == "kernel_log_incomplete"


def test_a_log_that_was_read_is_not_worth_a_note() -> None:
    assert notes_of(evidence(*RIGHT)) == ()
