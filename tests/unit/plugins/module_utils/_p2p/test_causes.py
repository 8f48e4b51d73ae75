# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Causes come from what the host shows, and name it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from ansible_collections.gpufleet.p2p.plugins.module_utils._gpu.cuda import CudaError
from ansible_collections.gpufleet.p2p.plugins.module_utils._p2p.causes import causes_of
from ansible_collections.gpufleet.p2p.plugins.module_utils._p2p.result import (
    Bandwidth,
    Capability,
    Cause,
    Driver,
    Rates,
)
from support.evidence import EXPECTED, evidence, gpu, pair

OTHER = "0123" * 10


def codes(causes: tuple[Cause, ...]) -> list[str]:
    return [cause.code for cause in causes]


DROPPED = (pair(0, 1, "fail", "data_dropped"), pair(1, 0, "fail", "data_dropped"))
REFUSED = tuple(
    pair(*ends, "fail", "p2p_unsupported", capability=Capability(False, "CNS", "CNS"))
    for ends in ((0, 1), (1, 0))
)


def test_a_good_host_has_no_causes() -> None:
    assert causes_of(evidence(pair(0, 1, "pass"), pair(1, 0, "pass"))) == ()


@pytest.mark.parametrize("kind", ["DMA", "DMA-FQ"])
def test_a_translating_iommu_is_named_with_address_and_type(kind: str) -> None:
    causes = causes_of(evidence(*DROPPED, groups={"0000:01:00.0": (12, kind)}))
    assert codes(causes) == ["iommu_translating"]
    assert f"0000:01:00.0 is in group 12 of type {kind}" in causes[0].evidence


def test_a_group_that_translates_beside_others_that_do_not_needs_another_remedy() -> None:
    groups = {"0000:01:00.0": (12, "identity"), "0000:02:00.0": (13, "DMA-FQ")}
    (cause,) = causes_of(evidence(*DROPPED, groups=groups))
    assert (cause.code, "0000:01:00.0" in cause.evidence) == ("iommu_translating", False)
    assert "external" in cause.remedy
    assert "iommu=pt" not in cause.remedy


def test_an_identity_group_is_not_blamed() -> None:
    causes = causes_of(evidence(*DROPPED, groups={"0000:01:00.0": (12, "identity")}))
    assert codes(causes) == ["data_dropped"]


@pytest.mark.parametrize("expected", [EXPECTED, None])
def test_the_stock_module_is_told_by_its_refusal(expected: str | None) -> None:
    driver = Driver("595.58.03", OTHER, None)
    causes = causes_of(evidence(*REFUSED, driver=driver, expected_build_id=expected))
    assert codes(causes) == ["stock_module_loaded"]
    assert OTHER in causes[0].evidence
    assert "CNS" in causes[0].evidence


def test_the_stock_module_is_told_though_nvlink_joins_a_pair() -> None:
    driver = Driver("595.58.03", OTHER, None)
    joined = [pair(*ends, "pass", path="NV4") for ends in ((0, 1), (1, 0))]
    refused = [
        replace(REFUSED[0], source=source, target=target)
        for source, target in ((0, 2), (2, 0), (1, 2), (2, 1))
    ]
    gpus = tuple(gpu(index) for index in range(3))
    (cause,) = causes_of(evidence(*joined, *refused, driver=driver, gpus=gpus))
    assert cause.code == "stock_module_loaded"
    assert cause.evidence.startswith("no pair without NVLink can access its peer")


def test_refusal_by_the_expected_module_is_not_the_stock_module() -> None:
    assert codes(causes_of(evidence(*REFUSED))) == ["p2p_unsupported"]


def test_another_module_that_claims_access_is_the_wrong_one() -> None:
    causes = causes_of(evidence(*DROPPED, driver=Driver("595.58.03", OTHER, False)))
    assert codes(causes) == ["wrong_module_loaded"]


def test_a_small_bar_is_the_cards_where_another_shows_that_the_board_can() -> None:
    small = {"bar1_bytes": 256 << 20}
    (all_small,) = causes_of(evidence(*DROPPED, gpus=(gpu(0, **small), gpu(1, **small))))
    assert "Above 4G Decoding" in all_small.remedy
    (one_small,) = causes_of(evidence(*DROPPED, gpus=(gpu(0, **small), gpu(1))))
    assert "as GPU 1 0000:02:00.0 shows" in one_small.remedy
    assert "VBIOS" in one_small.remedy


def test_a_small_bar_and_a_display_on_failing_gpus() -> None:
    gpus = (gpu(0, bar1_bytes=256 << 20), gpu(1, display=True))
    causes = causes_of(evidence(*DROPPED, gpus=gpus))
    assert codes(causes) == ["bar1_small", "display_attached"]
    assert "BAR1 256 MiB, memory 32768 MiB" in causes[0].evidence


def test_what_the_host_does_not_explain_is_told_as_symptom_with_a_remedy() -> None:
    for code in (
        "data_mirrored",
        "data_aliased",
        "data_stale",
        "data_bit_flip",
        "measurement_hung",
    ):
        (cause,) = causes_of(evidence(pair(0, 1, "fail", code, detail="word at byte 8 …")))
        assert (cause.code, cause.evidence) == (code, "0>1: word at byte 8 …")
        assert cause.remedy


def test_what_was_too_fast_is_named_with_its_way() -> None:
    bandwidth = Bandwidth(
        on=Rates(27.0, 54.0), copy_read=Rates(27.0, 54.0), sm_read=Rates(61.2, 30.0), ceiling=28.8
    )
    (cause,) = causes_of(evidence(pair(0, 1, "fail", "too_fast", bandwidth=bandwidth)))
    assert cause.evidence == "0>1: sm_read 61.2 GB/s, ceiling 28.8 GB/s"


def test_slow_kernels_are_told_beside_the_copy_engine() -> None:
    bandwidth = Bandwidth(
        on=Rates(27.0, 54.0),
        copy_read=Rates(26.0, 50.0),
        sm_write=Rates(3.0, 6.0),
        sm_read=Rates(2.5, 5.0),
    )
    (cause,) = causes_of(evidence(pair(0, 1, "warn", "sm_slow", bandwidth=bandwidth)))
    assert cause.evidence == (
        "0>1: sm_write 3.0 GB/s, by copy engine 27.0 GB/s; "
        "sm_read 2.5 GB/s, by copy engine 26.0 GB/s"
    )
    assert "Relaxed Ordering" in cause.remedy


def test_mixed_generations_are_explained_once() -> None:
    gpus = (gpu(0), gpu(1, name="NVIDIA GeForce RTX 4090", generation="ada"))
    apart = [
        pair(*ends, "not_applicable", "mixed_generations", "data_dropped")
        for ends in ((0, 1), (1, 0))
    ]
    (cause,) = causes_of(evidence(*apart, gpus=gpus))
    assert cause.code == "mixed_generations"
    assert cause.evidence.startswith("2 pairs: NVIDIA GeForce RTX 4090 (ada) and")


@pytest.mark.parametrize("number", [1, 46, 100, 205, 217, 221, 222, 700, 711, 802, 803])
def test_every_refusal_of_the_driver_is_a_cause_with_its_remedy(number: int) -> None:
    error = CudaError("cuCtxEnablePeerAccess", number, "CUDA_ERROR_OF_THE_TEST")
    (cause,) = causes_of(evidence(pair(0, 1, "fail", error.code, detail=error.read)))
    assert (cause.code, cause.remedy) == (error.code, error.remedy)
    assert f"returned {number} (CUDA_ERROR" in cause.evidence or number in (221, 222)


@pytest.mark.parametrize("code", ["cuda_unavailable", "gpu_missing_in_cuda"])
def test_what_a_child_refuses_before_the_driver_does_is_a_cause(code: str) -> None:
    (cause,) = causes_of(evidence(pair(0, 1, "fail", code, detail="libcuda.so.1: no such file")))
    assert (cause.code, bool(cause.remedy)) == (code, True)


def test_one_gpu_is_too_few() -> None:
    assert codes(causes_of(evidence(gpus=(gpu(0),)))) == ["too_few_gpus"]


def test_a_refusal_that_no_one_foresaw_costs_no_result() -> None:
    (cause,) = causes_of(evidence(pair(0, 1, "fail", "pci_address_invalid")))
    assert cause.code == "pci_address_invalid"
    assert cause.remedy
