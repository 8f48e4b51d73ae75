# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A node of Slurm by what scontrol prints; test_real_slurm.py has the real one."""

from __future__ import annotations

import pytest
from ansible_collections.gpufleet.p2p.plugins.module_utils._drain.slurm import parse_node

SHOWN = """\
NodeName=gpu01 Arch=x86_64 CoresPerSocket=1
   CPUAlloc=1 CPUEfctv=2 CPUTot=2 CPULoad=0.46
   State={state} ThreadsPerCore=1 TmpDisk=0 Weight=1 Owner=N/A MCS_label=N/A
   Comment=State=DRAIN
{reason}
"""


@pytest.mark.parametrize(
    ("state", "drained", "working"),
    [
        ("IDLE", False, False),
        ("IDLE*", False, False),
        ("IDLE+DRAIN", True, False),
        ("DOWN*+DRAIN", True, False),
        ("ALLOCATED+DRAIN", True, True),
        ("MIXED+DRAIN", True, True),
        ("MIXED", False, True),
        ("IDLE+COMPLETING+DRAIN", True, True),
        ("ALLOCATED+DRAIN*", True, True),
        ("DRAINED", True, False),
        ("DOWN", False, False),
    ],
)
def test_states(state: str, drained: bool, working: bool) -> None:
    node = parse_node(SHOWN.format(state=state, reason=""))
    assert node is not None
    assert (node.is_drained, node.is_working) == (drained, working)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("   Reason=gpufleet 3f1c [root@2026-11-23T09:30:00]", "gpufleet 3f1c"),
        ("   Reason=fan [left] [ada@2026-11-23T09:30:00]", "fan [left]"),
        ("   Reason=no brackets", "no brackets"),
        ("", ""),
    ],
)
def test_reasons(line: str, reason: str) -> None:
    node = parse_node(SHOWN.format(state="IDLE+DRAIN", reason=line))
    assert node is not None
    assert node.reason == reason


def test_a_node_that_slurm_does_not_know() -> None:
    assert parse_node("Node gpu77 not found\n") is None
