# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host that stops for a while between two launches says nothing about the GPUs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from ansible_collections.gpufleet.p2p.plugins.module_utils._p2p.child import child_environment
from support.host_tree import build_host_tree, load_description
from support.simulated_gpus import environment_for

# Longer than a kernel waits for a turn of the other.
STALL_SECONDS = 0.8

# The checks of one pair, where the process stands still after each of the first launches.
_SCRIPT = """
import json, sys, time
from ansible_collections.gpufleet.p2p.plugins.module_utils._gpu.cuda import Cuda
from ansible_collections.gpufleet.p2p.plugins.module_utils._gpu.device import Gpu
from ansible_collections.gpufleet.p2p.plugins.module_utils._host.errors import GpufleetError
from ansible_collections.gpufleet.p2p.plugins.module_utils._p2p import ping_pong
from ansible_collections.gpufleet.p2p.plugins.module_utils._p2p.bench import Bench
from ansible_collections.gpufleet.p2p.plugins.module_utils._p2p.correctness import Checker

given = json.load(sys.stdin)
launches = []
launch = Gpu.launch

def stalling(gpu, name, *arguments, **options):
    launch(gpu, name, *arguments, **options)
    if name == "ping_pong":
        launches.append(gpu.bdf)
        if len(launches) <= given["stalls"]:
            time.sleep(given["seconds"])

Gpu.launch = stalling
ping_pong.GATE_LOOKS = given["patience"]
cuda = Cuda()
cuda.check("init", 0)
bench = Bench(cuda, given["addresses"], 1 << 20, 30.0)
bench.enable_peer_access()
checker = Checker(bench, 7, lambda _step: None, lambda _check, _state: None)
try:
    judged = checker.judge(*bench.sides.values())
    answer = {"ping_pong": judged.correctness.ping_pong, "code": judged.code}
    answer["seconds"] = judged.ping_pong_seconds
except GpufleetError as error:
    answer = {"code": error.code, "read": error.read}
print(json.dumps({**answer, "launches": len(launches)}))
"""


def judged(libraries: Path, tmp_path: Path, stalls: int, patience: int) -> dict[str, Any]:
    """Return what the checks say where the process stalls after so many launches.

    Args:
        patience: how many microseconds a kernel waits for the host.
    """
    tree = build_host_tree(tmp_path, load_description("alpha"))
    given = {"addresses": tree.gpus[:2], "stalls": stalls, "patience": patience}
    given["seconds"] = STALL_SECONDS
    done = subprocess.run(
        [sys.executable, "-c", _SCRIPT],
        input=json.dumps(given),
        env=child_environment(environment_for(libraries, tree)),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def test_a_stall_between_the_two_kernels_is_no_failure_of_the_link(
    libraries: Path, tmp_path: Path
) -> None:
    seen = judged(libraries, tmp_path, stalls=1, patience=10_000_000)
    assert (seen["code"], seen["ping_pong"]) == (None, "passed")
    assert seen["launches"] == 2
    # The stall is not in the time of a round either.
    assert seen["seconds"] < STALL_SECONDS / 1000


def test_a_stall_that_outlasts_a_kernel_starts_both_anew(libraries: Path, tmp_path: Path) -> None:
    seen = judged(libraries, tmp_path, stalls=1, patience=100_000)
    assert (seen["code"], seen["ping_pong"]) == (None, "passed")
    assert seen["launches"] >= 4


def test_a_host_that_stalls_every_time_is_said_to(libraries: Path, tmp_path: Path) -> None:
    seen = judged(libraries, tmp_path, stalls=100, patience=100_000)
    assert seen["code"] == "measurement_hung"
    assert seen["read"] == "ping_pong: the host was held up between two steps, 3 times"
    assert seen["launches"] == 6
