# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""When do peer transfers arrive: the machine's true state decides, not the driver's claim."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.host_tree import load_description

ALL_RIGHT = dict.fromkeys(("copy_write", "copy_read", "sm_write", "sm_read"), "right")
LOST = {
    "copy_write": "unchanged",
    "copy_read": "zeros",
    "sm_write": "unchanged",
    "sm_read": "zeros",
}
VERSION_FILE = "proc/driver/nvidia/version"


def test_right_with_patched_module_and_identity_groups(machine: Any) -> None:
    assert machine.cuda("transfer", 0, 1) == ALL_RIGHT
    assert machine.cuda("capability", 0, 1) == {"can": 1, "enable": 0, "again": 704}


def test_right_without_an_iommu(make_machine: Callable[..., Any]) -> None:
    assert make_machine(iommu=None).cuda("transfer", 0, 1) == ALL_RIGHT


@pytest.mark.parametrize("kind", ["DMA", "DMA-FQ"])
def test_translating_iommu_loses_data_without_an_error(
    make_machine: Callable[..., Any], kind: str
) -> None:
    machine = make_machine(iommu=kind)
    assert machine.cuda("capability", 0, 1)["can"] == 1
    assert machine.cuda("transfer", 0, 1) == LOST


def test_stock_module_claims_nothing(make_machine: Callable[..., Any]) -> None:
    machine = make_machine(patched=False)
    assert machine.cuda("capability", 0, 1) == {"can": 0, "enable": 217, "again": 217}
    assert machine.nvml()["p2p_read"] == [[None, 1], [1, None]]


def test_without_access_copies_are_staged_and_kernels_fault(machine: Any) -> None:
    seen = machine.cuda("transfer", 0, 1, 65536, 0)
    assert seen == {"copy_write": "right", "copy_read": "right", "sm_write": 700}


def test_rig_of_mixed_generations_has_exactly_its_groups(make_machine: Callable[..., Any]) -> None:
    machine = make_machine("seven_gpu_rig")
    right = {
        (first, second)
        for first in range(7)
        for second in range(first + 1, 7)
        if machine.cuda("transfer", first, second, 4096) == ALL_RIGHT
    }
    assert right == {(0, 1), (2, 3), (4, 5), (4, 6), (5, 6)}


def test_ports_that_redirect_cost_their_own_switch(make_machine: Callable[..., Any]) -> None:
    machine = make_machine("plx_eight_a6000", acs_redirect=True)
    apart, together = (machine.cuda("rates", 0, gpu) for gpu in (4, 1))
    assert together["on"] == pytest.approx(apart["on"] / 4, rel=0.02)
    # Up to the host and down again, past what another pair of the switch needs.
    assert machine.cuda("shared_link", 0, 1, 2, 3) == pytest.approx(together["on"], rel=0.02)


def test_ports_that_do_not_redirect_cost_nothing(make_machine: Callable[..., Any]) -> None:
    machine = make_machine("plx_eight_a6000")
    together = machine.cuda("rates", 0, 1)["on"]
    assert machine.cuda("rates", 0, 4)["on"] == pytest.approx(together, rel=0.01)
    assert machine.cuda("shared_link", 0, 1, 2, 3) == pytest.approx(2 * together, rel=0.02)


def test_sockets_hand_on_a_part(make_machine: Callable[..., Any]) -> None:
    machine = make_machine("dual_epyc_eight_5090")
    rates = {gpu: machine.cuda("rates", 0, gpu) for gpu in (1, 4)}
    assert rates[4]["on"] == pytest.approx(0.8 * rates[1]["on"], rel=0.01)
    assert rates[4]["off"] == pytest.approx(rates[1]["off"], rel=0.01)


def test_chipsets_hand_on_a_part(make_machine: Callable[..., Any]) -> None:
    machine = make_machine("chipset_seven_3090")
    usual = machine.cuda("rates", 0, 2)["on"]
    assert machine.cuda("rates", 0, 3)["on"] == pytest.approx(0.64 * usual, rel=0.01)


def test_a_link_runs_as_it_trained(make_machine: Callable[..., Any]) -> None:
    machine = make_machine("riser_eight_4090")
    usual = machine.cuda("rates", 0, 3)["on"]
    machine.tree.train_link(3, 4, 4)
    assert machine.cuda("rates", 0, 3)["on"] == pytest.approx(usual / 4, rel=0.02)
    device = machine.nvml()["devices"][3]
    assert (device["current"], device["max"]) == ([4, 4], [4, 16])


def test_small_bar1_loses_data(make_machine: Callable[..., Any]) -> None:
    description = load_description("alpha")
    description["gpus"][1]["bar1_bytes"] = 256 << 20
    assert make_machine(description).cuda("transfer", 0, 1) == LOST


def test_nvlink_works_with_the_stock_module_behind_a_translating_iommu(
    make_machine: Callable[..., Any],
) -> None:
    description = load_description("alpha")
    for gpu, peer in ((0, 1), (1, 0)):
        description["gpus"][gpu]["nvlink"] = [
            {"peer": peer, "links": 4, "bytes_per_second_per_link": 14062500000}
        ]
    machine = make_machine(description, patched=False, iommu="DMA")
    assert machine.cuda("transfer", 0, 1) == ALL_RIGHT
    links = machine.nvml()["devices"][0]["nvlinks"]
    assert links[:4] == [{"remote": "00000000:02:00.0", "megabytes": 14062, "field": 0}] * 4
    assert links[4] == {"error": 3}
    assert machine.cuda("rates", 0, 1)["on"] == pytest.approx(4 * 14.0625 * 0.97, rel=0.02)


def test_ports_without_a_bridge_are_inactive(make_machine: Callable[..., Any]) -> None:
    description = load_description("alpha")
    description["gpus"][0]["nvlink_ports"] = 4
    machine = make_machine(description)
    assert machine.nvml()["devices"][0]["nvlinks"] == [0, 0, 0, 0, {"error": 3}]


def test_errors_are_counted_for_each_transfer_over_all_processes(
    make_machine: Callable[..., Any],
) -> None:
    description = load_description("alpha")
    description["gpus"][1].update(
        ecc=True, errors_per_transfer={"pcie_replays": 2, "ecc_corrected": 1}
    )
    machine = make_machine(description)
    device = machine.nvml()["devices"][1]
    assert (device["replays"], device["ecc_errors"], device["ecc"]) == (0, [0, 0], [1, 1])
    assert machine.cuda("transfer", 0, 1) == ALL_RIGHT
    device = machine.nvml()["devices"][1]
    assert device["replays"] == 2 * device["ecc_errors"][0] > 0
    assert device["ecc_errors"][1] == 0
    assert machine.nvml()["devices"][0]["replays"] == 0


def test_between_confidential_gpus_there_is_no_access(make_machine: Callable[..., Any]) -> None:
    machine = make_machine({**load_description("alpha"), "confidential_compute": True})
    seen = machine.nvml()
    assert seen["confidential"] == 1
    assert seen["p2p_read"] == [[None, 1], [1, None]]


def test_a_prohibited_gpu_takes_no_context(make_machine: Callable[..., Any]) -> None:
    description = load_description("alpha")
    description["gpus"][0]["compute_mode"] = "prohibited"
    machine = make_machine(description)
    assert machine.nvml()["devices"][0]["compute_mode"] == 2
    denied = {"call": "cuDevicePrimaryCtxRetain", "error": 46}
    assert machine.cuda("transfer", 0, 1) == denied


def test_module_not_loaded(machine: Any) -> None:
    (machine.tree.root / VERSION_FILE).unlink()
    assert machine.cuda("initialise") == {"result": 100, "count": 3}
    assert machine.nvml()["error"] == 9


def test_libraries_of_another_release_than_the_module(machine: Any) -> None:
    path: Path = machine.tree.root / VERSION_FILE
    path.write_text(path.read_text().replace("595.58.03", "595.45.04"))
    assert machine.cuda("initialise")["result"] == 803
    assert machine.nvml()["error"] == 18


def test_gpus_missing_from_the_bus_are_missing_here(make_machine: Callable[..., Any]) -> None:
    machine = make_machine()
    machine.environment["GPUFLEET_LAB_MATCH"] = "10de:2b85"
    assert machine.cuda("initialise")["result"] == 100
    assert machine.nvml()["devices"] == []


def test_visible_devices(machine: Any) -> None:
    machine.environment["CUDA_VISIBLE_DEVICES"] = "1"
    assert machine.cuda("initialise") == {"result": 0, "count": 1}
    machine.environment["CUDA_VISIBLE_DEVICES"] = "1,7,0"
    assert machine.cuda("initialise") == {"result": 0, "count": 1}


def test_wrong_description_is_refused(machine: Any) -> None:
    machine.tree.description_path.write_text('{"schema": 1, "gpus": [')
    assert machine.cuda("initialise")["result"] == 999


def test_unknown_fault_is_refused(machine: Any) -> None:
    assert machine.with_fault("mirorr").cuda("initialise")["result"] == 999
    assert machine.with_fault("drop:0>0").cuda("initialise")["result"] == 999
