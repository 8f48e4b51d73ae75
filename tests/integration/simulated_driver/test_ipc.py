# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Memory of one process that another opens: real between them, and faults befall it."""

from __future__ import annotations

from typing import Any

import pytest

NOT_READY = 600
RIGHT = {
    "open": 0,
    "end": 0,
    "copy": "right",
    "sm": "right",
    "again_the_same": True,
    "free": 1,
    "close": [0, 0, 1],
}


def test_what_one_process_writes_the_other_has(machine: Any) -> None:
    seen = machine.cuda("ipc", 1, 0)
    assert seen == {"initiator": RIGHT, "copy": "right", "sm": "right"}


@pytest.mark.parametrize("fault", ["mirror", "ipc_mirror", "ipc_mirror:0>1"])
def test_a_mirror_deceives_the_other_process(machine: Any, fault: str) -> None:
    seen = machine.with_fault(fault).cuda("ipc", 1, 0)
    assert seen == {"initiator": RIGHT, "copy": "unchanged", "sm": "unchanged"}


@pytest.mark.parametrize("fault", ["drop", "ipc_drop"])
def test_what_is_dropped_neither_sees(machine: Any, fault: str) -> None:
    seen = machine.with_fault(fault).cuda("ipc", 1, 0)
    assert (seen["initiator"]["copy"], seen["initiator"]["sm"]) == ("zeros", "zeros")
    assert (seen["copy"], seen["sm"]) == ("unchanged", "unchanged")


def test_a_fault_of_ipc_leaves_one_process_alone(machine: Any) -> None:
    faulty = machine.with_fault("ipc_drop")
    assert set(faulty.cuda("transfer", 0, 1).values()) == {"right"}
    assert faulty.cuda("capability", 0, 1)["enable"] == 0


def test_a_hang(machine: Any) -> None:
    seen = machine.with_fault("ipc_hang").cuda("ipc", 1, 0)
    assert seen["initiator"] == {"open": 0, "end": NOT_READY}


@pytest.mark.parametrize("code", [205, 217, 304, 711, 800, 801])
def test_refusals_of_opening(machine: Any, code: int) -> None:
    faulty = machine.with_fault(f"ipc_error_{code}:0>1")
    assert faulty.cuda("ipc", 1, 0)["initiator"] == {"open": code}
    assert faulty.cuda("ipc", 0, 1)["initiator"]["open"] == 0


def test_opening_enables_access_and_is_refused_where_that_is(make_machine: Any) -> None:
    assert make_machine(patched=False).cuda("ipc", 1, 0)["initiator"] == {"open": 217}


def test_a_platform_without_ipc(machine: Any) -> None:
    seen = machine.with_fault("error_801").cuda("ipc", 1, 0)
    assert seen == {"call": "cuIpcGetMemHandle", "error": 801}


def test_wrong_uses(machine: Any) -> None:
    assert machine.cuda("ipc_misuse", 0) == {
        "own_process": 201,
        "flags": 1,
        "garbage": 400,
        "freed": 400,
        "host_memory": 1,
        "not_opened": 1,
    }
