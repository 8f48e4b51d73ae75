# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Streams, kernels, memory and the virtual clock, and NVML's structures as pynvml reads them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

NOT_READY = 600
# GB/s, from the link formula at a payload of 256 bytes: raw x 256 / 280 x 0.97.
GEN5_X8 = 32e9 * 8 * 128 / 130 / 8 * 256 / 280 * 0.97 / 1e9
GEN4_X4 = GEN5_X8 / 4
_MASK = (1 << 64) - 1


def mix64(value: int) -> int:
    value = (value + 0x9E3779B97F4A7C15) & _MASK
    value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9 & _MASK
    value = (value ^ (value >> 27)) * 0x94D049BB133111EB & _MASK
    return value ^ (value >> 31)


def test_kernels_mean_what_the_ptx_means(machine: Any) -> None:
    seen = machine.cuda("kernels", 0)
    assert seen["filled"] == mix64(100 ^ 7)
    assert seen["verified"] == [2, 105]
    assert seen["arrived"] == 8
    assert seen["nanoseconds"] == pytest.approx(1001 * 350, rel=0.01)


def test_a_compiled_image_has_the_kernels_it_names_and_no_other(machine: Any) -> None:
    assert machine.with_fault("no_jit").cuda("compiled_image") == {"known": 0, "unnamed": 500}


def test_the_kernels_of_other_tools_repeat_their_pattern(machine: Any) -> None:
    assert machine.cuda("repeating_kernels", 0, 1) == {"right": 0, "wrong": 1, "owner": "abababab"}


def test_ping_pong(machine: Any) -> None:
    seen = machine.cuda("ping_pong", 0, 1)
    assert seen["event_before_partner"] == NOT_READY
    assert seen["ends"] == [0, 0]
    for rounds, mismatches, gave_up, nanoseconds in seen["results"]:
        assert (rounds, mismatches, gave_up) == (200, 0, 0)
        assert nanoseconds == pytest.approx(199 * 4 * 480, rel=0.01)


def test_a_ping_pong_says_that_it_runs_and_leaves_where_nobody_opens_the_gate(
    machine: Any,
) -> None:
    seen = machine.cuda("ping_pong", 0, 1, 200, "shut")
    assert seen["running"] == [1, 1]
    assert [result[:3] for result in seen["results"]] == [[0, 0, 2], [0, 0, 2]]


def test_ping_pong_gives_up_where_data_is_lost(make_machine: Callable[..., Any]) -> None:
    seen = make_machine(iommu="DMA").cuda("ping_pong", 0, 1)
    assert seen["ends"] == [0, 0]
    assert [result[:3] for result in seen["results"]] == [[0, 0, 1], [0, 0, 1]]


def test_gate_holds_what_is_behind_it(machine: Any) -> None:
    seen = machine.cuda("gate", 0, 1)
    assert seen["held"] == {
        "stream": NOT_READY,
        "waiting": NOT_READY,
        "event": NOT_READY,
        "data": 0xA5,
    }
    assert (seen["ends"], seen["data"]) == ([0, 0], 1)


def test_rates_follow_the_links(machine: Any) -> None:
    seen = machine.cuda("rates", 0, 1)
    assert seen["on"] == pytest.approx(GEN5_X8, rel=0.01)
    assert seen["both"] == pytest.approx(2 * GEN5_X8, rel=0.01)
    assert seen["off"] == pytest.approx(0.8 * GEN5_X8, rel=0.05)
    assert seen["on_latency"] == pytest.approx(0.48, rel=0.01)
    assert seen["off_latency"] == pytest.approx(14.0, rel=0.01)


def test_kernels_copy_as_often_as_told_and_a_little_slower(machine: Any) -> None:
    seen = machine.cuda("bulk_copy", 0, 1)
    assert (seen["none"], seen["untouched"], seen["data"]) == (0.0, 0xA5, [True, True])
    assert seen["written"] == pytest.approx([0.95 * GEN5_X8] * 2, rel=0.01)
    assert seen["read"] == pytest.approx(0.95 * GEN5_X8, rel=0.01)


def test_rates_follow_the_payload_size_in_force(make_machine: Callable[..., Any]) -> None:
    seen = make_machine(payload_bytes=128).cuda("rates", 0, 1)
    assert seen["on"] == pytest.approx(GEN5_X8 * (128 / 152) / (256 / 280), rel=0.01)


def test_links_are_shared(make_machine: Callable[..., Any]) -> None:
    rig = make_machine("seven_gpu_rig")
    assert rig.cuda("rates", 4, 5)["on"] == pytest.approx(GEN4_X4, rel=0.01)
    # Both come up through the one chipset link; each side of the copies is a link of its own.
    assert rig.cuda("shared_link", 4, 0, 5, 1) == pytest.approx(GEN4_X4, rel=0.05)


def test_wrong_uses_are_answered_as_by_the_real_driver(machine: Any) -> None:
    assert machine.cuda("errors", 0, 1) == {
        "host_pointer_as_device": 1,
        "beyond_the_end": 1,
        "disable_not_enabled": 705,
        "stream": 400,
        "too_much": 2,
        "kernel": 500,
        "binary": 200,
        "launch": 0,
        "after_launch": 700,
        "sticky": 700,
        "after_reset": 0,
    }


def test_memory_is_counted(machine: Any) -> None:
    total, free = 34190917632, 134217728
    assert machine.cuda("memory") == [[free, total], [free - (1 << 20), total], [free, total]]


def test_nvml_lists_processes_with_a_context_while_they_live(machine: Any) -> None:
    seen = machine.cuda("processes")
    assert seen["listed"] == [[seen["pid"]], []]
    assert machine.nvml()["devices"][0]["processes"] == [0, 0]


def test_nvml_structures(machine: Any) -> None:
    seen = machine.nvml()
    assert (seen["driver"], seen["nvml"], seen["cuda"]) == ("595.58.03", "13.595.58.03", 13020)
    device = seen["devices"][1]
    assert device == {
        "index": 1,
        "same": [1, 1],
        "name": "NVIDIA GeForce RTX 5090",
        "uuid": "GPU-a1fa0000-0000-4000-8000-000000000001",
        "bus_id": "00000000:02:00.0",
        "bus_id_legacy": "0000:02:00.0",
        "pci_device_id": 0x00051B36,
        "memory": [34190917632] * 3,
        "bar1": 34359738368,
        "compute_capability": [12, 0],
        "current": [5, 8],
        "max": [5, 8],
        "display": [0, 0],
        "compute_mode": 0,
        "mig": {"error": 3},
        "ecc": {"error": 3},
        "ecc_errors": [{"error": 3}] * 2,
        "replays": 0,
        "processes": [0, 0],
        "nvlinks": [{"error": 3}] * 5,
    }
    assert seen["confidential"] == {"error": 3}
    assert seen["p2p_read"] == [[None, 0], [0, None]]
    assert seen["topology"] == [[0, 30], [30, 0]]


def test_topology_of_the_rig(make_machine: Callable[..., Any]) -> None:
    topology = make_machine("seven_gpu_rig").nvml()["topology"]
    assert topology[4][5] == topology[4][6] == 10
    assert topology[0][4] == topology[0][1] == 30
