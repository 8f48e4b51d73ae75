# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hosts as their owners have them: groups, verdicts and causes from described machines."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from ansible_collections.gpufleet.p2p.plugins.module_utils._p2p.result import Result

Verify = Callable[..., Result]
OTHER_BUILD = "00112233445566778899aabbccddeeff00112233"


def codes(result: Result) -> list[str]:
    return [cause.code for cause in result.causes]


@pytest.mark.parametrize("kind", ["DMA-FQ", "DMA"])
def test_a_translating_iommu_is_found_out_at_the_owner_and_named(verify: Verify, kind: str) -> None:
    result = verify(tree={"iommu": kind})
    assert result.verdict == "fail"
    assert all(pair.capability.cuda for pair in result.pairs)
    assert all(pair.reasons[0].startswith("data_") for pair in result.pairs)
    assert all(pair.correctness.copy_write == "failed" for pair in result.pairs)
    assert codes(result) == ["iommu_translating"]
    for gpu in result.gpus:
        assert gpu.bdf in result.causes[0].evidence
    assert kind in result.causes[0].evidence
    assert set(result.iommu_groups.values()) == {kind}


def test_a_host_without_an_iommu_passes(verify: Verify) -> None:
    result = verify(tree={"iommu": None})
    assert result.verdict == "pass"
    assert set(result.iommu_groups.values()) == {"none"}


@pytest.mark.parametrize("expected", ["8f3d1c5a7b9e02468ace13579bdf02468ace1357", None])
def test_the_stock_module_is_named(verify: Verify, expected: str | None) -> None:
    result = verify(tree={"patched": False, "build_id": OTHER_BUILD}, expected_build_id=expected)
    assert result.verdict == "fail"
    assert codes(result) == ["stock_module_loaded"]
    assert OTHER_BUILD in result.causes[0].evidence
    assert all(pair.reasons == ("p2p_unsupported",) for pair in result.pairs)
    assert all(pair.capability.nvml_write == "CNS" for pair in result.pairs)


def test_a_small_bar_is_named(verify: Verify) -> None:
    def shrink(description: dict[str, object]) -> None:
        description["gpus"][1]["bar1_bytes"] = 256 << 20  # type: ignore[index]  # plain JSON

    result = verify(change=shrink)
    assert codes(result) == ["bar1_small"]
    assert "BAR1 256 MiB" in result.causes[0].evidence


def test_turing_is_unsupported_even_where_the_driver_claims_it(verify: Verify) -> None:
    def age(description: dict[str, object]) -> None:
        for gpu in description["gpus"]:  # type: ignore[attr-defined]  # plain JSON
            gpu["compute_capability"] = [7, 5]

    result = verify(change=age)
    assert result.verdict == "fail"
    assert codes(result) == ["generation_unsupported"]
    assert all(pair.verdict == "not_applicable" for pair in result.pairs)


def test_devices_are_chosen_by_index_uuid_and_address(verify: Verify) -> None:
    result = verify(
        "seven_gpu_rig",
        devices=["2", "GPU-5e7e0000-0000-4000-8000-000000000003", "0000:01:00.0"],
    )
    assert [gpu.index for gpu in result.gpus] == [0, 2, 3]
    assert result.groups == ((2, 3),)


def test_an_unknown_device_is_refused_with_those_there_are(verify: Verify) -> None:
    with pytest.raises(AssertionError, match=r"device_unknown.*7.*GPU-"):
        verify(devices=["7"])


def test_one_gpu_is_not_enough(verify: Verify) -> None:
    result = verify(devices=["0"])
    assert (result.verdict, result.pairs, codes(result)) == ("fail", (), ["too_few_gpus"])


def test_the_buffer_is_what_was_asked_for_and_fits(verify: Verify) -> None:
    assert verify(buffer_bytes=4 << 20).buffer_bytes == 4 << 20
