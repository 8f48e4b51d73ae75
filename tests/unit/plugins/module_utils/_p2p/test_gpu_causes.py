# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Causes in a GPU: its modes, what it shows, what it counted, and NVLink that is not there."""

from __future__ import annotations

import pytest
from ansible_collections.gpufleet.p2p.plugins.module_utils._gpu.nvml import Counters
from ansible_collections.gpufleet.p2p.plugins.module_utils._p2p.causes import causes_of
from ansible_collections.gpufleet.p2p.plugins.module_utils._p2p.notes import notes_of
from ansible_collections.gpufleet.p2p.plugins.module_utils._p2p.result import (
    Capability,
    Cause,
    Driver,
    Gpu,
    GpuCounters,
    GpuState,
)
from ansible_collections.gpufleet.p2p.plugins.module_utils._p2p.watch import counters_between
from hypothesis import given
from hypothesis import strategies as st
from support.evidence import EXPECTED, evidence, gpu, pair

RIGHT = (pair(0, 1, "pass"), pair(1, 0, "pass"))
DROPPED = (pair(0, 1, "fail", "data_dropped"), pair(1, 0, "fail", "data_dropped"))
REFUSED = tuple(
    pair(*ends, "fail", "p2p_unsupported", capability=Capability(False, "CNS", "CNS"))
    for ends in ((0, 1), (1, 0))
)
OLD_BUILD = Driver("570.148.08", EXPECTED, True)


def codes(causes: tuple[Cause, ...]) -> list[str]:
    return [cause.code for cause in causes]


def with_state(**state: object) -> tuple[Gpu, Gpu]:
    """Return two GPUs of which the second is in a state."""
    return gpu(0), gpu(1, state=GpuState(**state))  # type: ignore[arg-type]  # field names


def test_a_monitor_is_told_by_the_driver_or_by_its_connector() -> None:
    gpus = (gpu(0, display=True), gpu(1, state=GpuState(connectors=("card1-DP-2",))))
    (cause,) = causes_of(evidence(*DROPPED, gpus=gpus))
    assert cause.code == "display_attached"
    assert "GPU 0 0000:01:00.0 (the driver says so)" in cause.evidence
    assert "GPU 1 0000:02:00.0 (connector card1-DP-2 is connected)" in cause.evidence


def test_a_console_is_a_framebuffer_in_a_gpus_memory() -> None:
    gpus = with_state(framebuffers=("fb0 (EFI VGA)",), boot_vga=True)
    (cause,) = causes_of(evidence(*DROPPED, gpus=gpus))
    assert cause.code == "console_on_gpu"
    assert cause.evidence == (
        "fb0 (EFI VGA) in the memory of GPU 1 0000:02:00.0, which the firmware chose as display"
    )


def test_the_firmwares_choice_alone_explains_nothing() -> None:
    assert codes(causes_of(evidence(*DROPPED, gpus=with_state(boot_vga=True)))) == ["data_dropped"]


def test_what_a_gpu_shows_is_no_cause_where_nothing_failed() -> None:
    gpus = with_state(framebuffers=("fb0",), connectors=("card0-DP-1",), boot_vga=True)
    assert causes_of(evidence(*RIGHT, gpus=gpus)) == ()


def test_confidential_gpus_are_named_in_place_of_the_module() -> None:
    gpus = with_state(confidential_compute=True)
    causes = causes_of(evidence(*REFUSED, gpus=gpus, driver=Driver("595.58.03", "0123", None)))
    assert set(codes(causes)) == {"confidential_compute", "wrong_module_loaded"}
    (cause,) = causes_of(evidence(*REFUSED, gpus=gpus))
    assert cause.evidence == "GPU 1 0000:02:00.0 is in that mode"


def test_an_exclusive_gpu_is_named_where_a_process_was_kept_out() -> None:
    gpus = with_state(compute_mode="exclusive_process")
    kept_out = pair(0, 1, "fail", "gpu_unavailable", detail="… returned 46 …")
    assert codes(causes_of(evidence(kept_out, gpus=gpus))) == ["compute_exclusive"]
    assert codes(causes_of(evidence(kept_out))) == ["gpu_unavailable"]
    assert causes_of(evidence(*RIGHT, gpus=gpus)) == ()


def test_errors_that_were_counted_are_told_even_where_all_passed() -> None:
    gpus = (
        gpu(0, counters=GpuCounters(3, 0, 0)),
        gpu(1, counters=GpuCounters(0, 2, 1)),
    )
    link, memory = causes_of(evidence(*RIGHT, gpus=gpus))
    assert (link.code, link.evidence) == (
        "link_errors",
        "GPU 0 0000:01:00.0: 3 PCIe replays during the run",
    )
    assert (memory.code, memory.evidence) == (
        "ecc_errors",
        "GPU 1 0000:02:00.0: 2 corrected and 1 uncorrected ECC errors during the run",
    )


@pytest.mark.parametrize("none", [GpuCounters(), GpuCounters(0, 0, 0)])
def test_no_errors_and_no_counters_are_no_cause(none: GpuCounters) -> None:
    assert causes_of(evidence(*RIGHT, gpus=(gpu(0, counters=none), gpu(1)))) == ()


COUNTS = st.none() | st.integers(0, 2**63)


@given(st.builds(Counters, COUNTS, COUNTS, COUNTS), st.builds(Counters, COUNTS, COUNTS, COUNTS))
def test_what_was_counted_in_between_is_known_and_not_negative(
    before: Counters, after: Counters
) -> None:
    found = counters_between(before, after)
    for name in ("pcie_replays", "ecc_corrected", "ecc_uncorrected"):
        first, last, difference = (getattr(one, name) for one in (before, after, found))
        assert (difference is None) == (first is None or last is None)
        if difference is not None:
            assert difference == (last - first if last >= first else last)


def ampere(index: int, **state: object) -> Gpu:
    return gpu(
        index,
        name="NVIDIA GeForce RTX 3090",
        generation="ampere",
        state=GpuState(**state),  # type: ignore[arg-type]  # field names
    )


@pytest.mark.parametrize(
    ("ports", "words"),
    [(4, "none of 4 NVLinks active"), (0, "the model has NVLink, the driver lists none")],
)
def test_nvlink_that_an_old_build_lost(ports: int, words: str) -> None:
    gpus = (ampere(0, nvlink_ports=ports), ampere(1, nvlink_ports=ports))
    (cause,) = causes_of(evidence(*RIGHT, gpus=gpus, driver=OLD_BUILD))
    assert cause.code == "nvlink_inactive"
    assert f"GPU 1 0000:02:00.0 NVIDIA GeForce RTX 3090: {words}" in cause.evidence
    assert "570.148.08" in cause.remedy and "595.58.03" in cause.remedy
    assert "nvlink_inactive" not in codes(notes_of(evidence(*RIGHT, gpus=gpus, driver=OLD_BUILD)))


def test_with_a_build_that_prefers_nvlink_it_is_only_a_note() -> None:
    host = evidence(*RIGHT, gpus=(ampere(0), ampere(1)))
    assert causes_of(host) == ()
    assert "nvlink_inactive" in codes(notes_of(host))


@pytest.mark.parametrize(
    "driver", [Driver("570.148.08", "0123", False), Driver("595.58.03", EXPECTED, True)]
)
def test_neither_the_stock_driver_nor_a_new_build_is_blamed(driver: Driver) -> None:
    host = evidence(*RIGHT, gpus=(ampere(0), ampere(1)), driver=driver, expected_build_id=None)
    assert "nvlink_inactive" not in codes(causes_of(host))


def test_cards_that_are_joined_cannot_be_or_are_alone_lost_nothing() -> None:
    joined = tuple(pair(*ends, "pass", path="NV4") for ends in ((0, 1), (1, 0)))
    for pairs, gpus in (
        (joined, (ampere(0, nvlink_ports=4, nvlink_active=4), ampere(1, nvlink_active=4))),
        (RIGHT, (gpu(0), gpu(1))),
        (RIGHT, (gpu(0), ampere(1))),
    ):
        host = evidence(*pairs, gpus=gpus, driver=OLD_BUILD)
        assert causes_of(host) == ()
        assert "nvlink_inactive" not in codes(notes_of(host))


def test_libraries_of_another_release_are_named_with_the_modules() -> None:
    detail = "cuInit returned 803 (CUDA_ERROR_SYSTEM_DRIVER_MISMATCH)"
    refused = pair(0, 1, "fail", "userspace_mismatch", detail=detail)
    host = {
        "loaded_release": ("595.58.03", "/proc/driver/nvidia/version"),
        "libraries": {"libcuda.so.1": "570.86.16", "libnvidia-ml.so.1": "595.58.03"},
    }
    (cause,) = causes_of(evidence(refused, **host))
    assert cause.code == "userspace_mismatch"
    assert cause.evidence == (
        "the loaded module is 595.58.03 (/proc/driver/nvidia/version), libcuda.so.1 is 570.86.16"
    )
    # Found by name and not by what the loader took: never blamed for anything else.
    assert codes(causes_of(evidence(*DROPPED, **host))) == ["data_dropped"]


def test_libraries_that_cannot_be_found_leave_cudas_own_words() -> None:
    refused = pair(0, 1, "fail", "userspace_mismatch", detail="cuInit returned 803")
    (cause,) = causes_of(evidence(refused))
    assert (cause.code, cause.evidence) == ("userspace_mismatch", "0>1: cuInit returned 803")
