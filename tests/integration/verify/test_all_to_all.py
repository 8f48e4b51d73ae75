# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Groups are measured with all their GPUs at once, and held against the links they share."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from ansible_collections.gpufleet.p2p.plugins.module_utils._p2p.child import child_environment
from ansible_collections.gpufleet.p2p.plugins.module_utils._p2p.result import Result
from support.host_tree import build_host_tree, load_description
from support.simulated_gpus import environment_for

Verify = Callable[..., Result]
# Behind one switch, each on four lanes of generation 4.
THREE = ["4", "5", "6"]
GEN4_X4 = 16e9 * 4 * 128 / 130 / 8 * 256 / 280 / 1e9


def codes(result: Result) -> list[str]:
    return [note.code for note in result.notes]


def test_a_group_is_measured_at_once(verify: Verify) -> None:
    result = verify("seven_gpu_rig", devices=THREE, quick=False)
    (together,) = result.all_to_all
    assert (together.gpus, together.data, together.detail) == ((4, 5, 6), "passed", "")
    assert together.ceiling == pytest.approx(3 * GEN4_X4, rel=1e-6)
    assert together.fraction == pytest.approx(0.97, abs=0.02)
    assert sum(together.per_gpu.values()) == pytest.approx(together.total, rel=0.02)
    assert (together.sharing, set(together.per_gpu)) == (2, {4, 5, 6})
    assert not [code for code in codes(result) if code.startswith("all_to_all")]


def test_two_gpus_are_told_from_their_pair(verify: Verify) -> None:
    result = verify()
    (together,) = result.all_to_all
    pair = result.pair(0, 1)
    assert pair is not None
    assert (together.gpus, together.total) == ((0, 1), pair.bandwidth.on.bidi)
    assert together.data == "not_run"
    assert together.fraction == pytest.approx(0.97, abs=0.02)


def test_a_quick_run_leaves_larger_groups_out(verify: Verify) -> None:
    assert verify("seven_gpu_rig", devices=THREE).all_to_all == ()


def test_without_a_group_there_is_nothing_to_tell(verify: Verify) -> None:
    assert verify(fault="drop", quick=False).all_to_all == ()


def test_without_kernels_the_data_is_not_judged(verify: Verify) -> None:
    result = verify("seven_gpu_rig", "no_jit", devices=THREE, quick=False)
    (together,) = result.all_to_all
    assert together.data == "not_run"
    assert together.total == pytest.approx(3 * GEN4_X4 * 0.97, rel=0.05)


# The traffic of three GPUs, in which copies from the first to the second are lost from a moment on.
_SCRIPT = """
import json, sys
from ansible_collections.gpufleet.p2p.plugins.module_utils._gpu.device import Stream
from ansible_collections.gpufleet.p2p.plugins.module_utils._p2p.all_to_all import (
    AllToAllJob,
    _Traffic,
)

given = json.load(sys.stdin)
traffic = _Traffic(AllToAllJob(tuple(given["addresses"]), 4 << 20, 30.0, True, 7))
first, second = (traffic.bench.sides[address] for address in given["addresses"][:2])
lost = range(second.incoming.address, second.incoming.address + second.incoming.size)
copy = Stream.copy
counted = []

def losing(stream, target, source, count):
    if stream.gpu is first.gpu and target in lost:
        counted.append(target)
        if len(counted) > given["arriving"]:
            return
    copy(stream, target, source, count)

Stream.copy = losing
traffic.measure()
print(json.dumps({"copies": len(counted), "data": traffic.data_state()}))
"""


@pytest.mark.parametrize(("arriving", "data"), [(10**6, "passed"), (1, "failed"), (0, "failed")])
def test_what_arrived_once_does_not_stand_for_what_is_lost_later(
    libraries: Path, tmp_path: Path, arriving: int, data: str
) -> None:
    tree = build_host_tree(tmp_path, load_description("seven_gpu_rig"))
    done = subprocess.run(
        [sys.executable, "-c", _SCRIPT],
        input=json.dumps({"addresses": tree.gpus[4:7], "arriving": arriving}),
        env=child_environment(environment_for(libraries, tree)),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    assert seen["copies"] > 2
    assert seen["data"] == data
