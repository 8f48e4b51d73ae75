# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every fault does what the README's table says, and only that."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

ALL_RIGHT = dict.fromkeys(("copy_write", "copy_read", "sm_write", "sm_read"), "right")
LOST = {
    "copy_write": "unchanged",
    "copy_read": "zeros",
    "sm_write": "unchanged",
    "sm_read": "zeros",
}
MEGABYTE = 1 << 20
NOT_READY = 600


def test_none(machine: Any) -> None:
    assert machine.with_fault("none").cuda("transfer", 0, 1) == ALL_RIGHT


def test_fault_from_the_file(machine: Any) -> None:
    (machine.tree.root / "etc/gpufleet-lab/fault").write_text("drop\n")
    assert machine.cuda("transfer", 0, 1) == LOST


def test_mirror_deceives_the_writer_only(machine: Any) -> None:
    seen = machine.with_fault("mirror").cuda("mirror_readback", 0, 1)
    assert seen == {"initiator": "right", "owner": "unchanged"}


def test_mirror_restricted_to_a_pair(machine: Any) -> None:
    faulty = machine.with_fault("mirror:0>1")
    assert faulty.cuda("transfer", 1, 0) == ALL_RIGHT
    assert faulty.cuda("mirror_readback", 0, 1) == {"initiator": "right", "owner": "unchanged"}


def test_a_fault_of_all_that_goes_to_one_gpu(make_machine: Callable[..., Any]) -> None:
    faulty = make_machine("seven_gpu_rig").with_fault("drop:*>5")
    assert faulty.cuda("transfer", 4, 5, 4096) == LOST
    assert faulty.cuda("transfer", 5, 4, 4096) == faulty.cuda("transfer", 4, 6, 4096) == ALL_RIGHT


def test_drop(machine: Any) -> None:
    assert machine.with_fault("drop").cuda("transfer", 0, 1) == LOST
    assert machine.with_fault("drop:1>0").cuda("transfer", 0, 1) == ALL_RIGHT
    assert machine.with_fault("drop:1>0").cuda("transfer", 1, 0) == LOST


def test_stale_delivers_the_earlier_transfer(machine: Any) -> None:
    assert machine.with_fault("stale").cuda("stale_write", 0, 1) == [0xA5, 1]


def test_stale_payload_behind_a_punctual_flag(machine: Any) -> None:
    seen = machine.with_fault("stale").cuda("ping_pong", 0, 1)
    rounds, mismatches, gave_up, _ = seen["results"][0]
    assert (rounds, gave_up) == (200, 0)
    assert mismatches == 200 * 32


def test_bit_flip_hits_large_transfers_only(machine: Any) -> None:
    faulty = machine.with_fault("bit_flip")
    assert faulty.cuda("wrong_places", 0, 1, 4 * MEGABYTE)["bits"] == 1
    assert faulty.cuda("transfer", 0, 1, 65536) == ALL_RIGHT


def test_alias_2mib(machine: Any) -> None:
    seen = machine.with_fault("alias_2mib").cuda("wrong_places", 0, 1, 4 * MEGABYTE)
    assert seen["first_word"] == 2 * MEGABYTE // 8 + 1
    assert seen["beyond_2mib_written"] is False
    assert machine.with_fault("alias_2mib").cuda("transfer", 0, 1, MEGABYTE) == ALL_RIGHT


def test_one_way(machine: Any) -> None:
    assert machine.with_fault("one_way").cuda("transfer", 0, 1) == ALL_RIGHT
    assert machine.with_fault("one_way").cuda("transfer", 1, 0) == LOST
    assert machine.with_fault("one_way:1>0").cuda("transfer", 1, 0) == ALL_RIGHT
    assert machine.with_fault("one_way:1>0").cuda("transfer", 0, 1) == LOST


def test_hang_stays_not_ready(machine: Any) -> None:
    seen = machine.with_fault("hang").cuda("transfer", 0, 1)
    assert set(seen.values()) == {NOT_READY}
    assert machine.with_fault("hang").cuda("ping_pong", 0, 1)["ends"][0] == NOT_READY


def test_too_fast_and_slow_change_the_rate_alone(machine: Any) -> None:
    usual = machine.cuda("rates", 0, 1)
    fast = machine.with_fault("too_fast").cuda("rates", 0, 1)
    slow = machine.with_fault("slow").cuda("rates", 0, 1)
    assert fast["on"] == pytest.approx(4.5 * usual["on"], rel=0.02)
    assert slow["on"] == pytest.approx(usual["on"] / 5, rel=0.02)
    assert fast["off"] == slow["off"] == usual["off"]
    assert machine.with_fault("too_fast").cuda("transfer", 0, 1) == ALL_RIGHT


@pytest.mark.parametrize(("fault", "code"), [("none", 0), ("no_jit", 221), ("ptx_too_new", 222)])
def test_kernels_that_do_not_compile(machine: Any, fault: str, code: int) -> None:
    assert machine.with_fault(fault).cuda("module_load") == code


@pytest.mark.parametrize("code", [205, 217, 711])
def test_errors_of_enabling_access(machine: Any, code: int) -> None:
    faulty = machine.with_fault(f"error_{code}:0>1")
    assert faulty.cuda("capability", 0, 1) == {"can": 1, "enable": code, "again": code}
    assert faulty.cuda("capability", 1, 0)["enable"] == 0


def test_error_700_comes_with_the_first_kernel(machine: Any) -> None:
    seen = machine.with_fault("error_700").cuda("ping_pong", 0, 1)
    assert seen == {"call": "cuEventRecord", "error": 700}
    assert machine.with_fault("error_700:1>0").cuda("transfer", 0, 1)["sm_read"] == 700


def test_error_46_denies_the_context(machine: Any) -> None:
    denied = {"call": "cuDevicePrimaryCtxRetain", "error": 46}
    assert machine.with_fault("error_46").cuda("transfer", 0, 1) == denied


def test_error_802_denies_everything(machine: Any) -> None:
    assert machine.with_fault("error_802").cuda("initialise")["result"] == 802


def test_faults_do_not_touch_what_is_staged(machine: Any, make_machine: Callable[..., Any]) -> None:
    faulty = machine.with_fault("drop")
    assert faulty.cuda("rates", 0, 1)["off"] > 0
    assert faulty.cuda("kernels", 0)["verified"] == [2, 105]
