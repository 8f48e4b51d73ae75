# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Pairs that share nothing are checked at the same time; nothing outlives the run."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from ansible_collections.gpufleet.p2p.plugins.module_utils._p2p.result import Result
from support.host_tree import build_host_tree, load_description
from support.simulated_gpus import environment_for, processes_with, start_verifying

LIMIT_SECONDS = 300.0
WORKER = "_p2p.worker import"
RANK = "_p2p.ipc_rank import"
# Pairs of the rig whose GPUs hang off root ports of their own: 0 and 1, 2 and 3.
FOUR = ["0", "1", "2", "3"]


@contextmanager
def verification(
    libraries: Path, tmp_path: Path, fault: str = "none", **options: object
) -> Iterator[subprocess.Popen[str]]:
    tree = build_host_tree(tmp_path, load_description("seven_gpu_rig"))
    environment = environment_for(libraries, tree, fault)
    with start_verifying(environment, tree, **options) as process:
        try:
            yield process
        finally:
            process.kill()


def measuring(tmp_path: Path, name: str) -> list[int]:
    return [pid for pid, command in processes_with(str(tmp_path)).items() if name in command]


def wait_for(tmp_path: Path, name: str, count: int, process: subprocess.Popen[str]) -> None:
    """Wait until so many processes of a kind are there at the same time."""
    end = time.monotonic() + LIMIT_SECONDS
    while len(measuring(tmp_path, name)) < count:
        assert process.poll() is None, "the run ended without them"
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="one processor: one pair at a time")
def test_two_pairs_are_there_at_the_same_time(libraries: Path, tmp_path: Path) -> None:
    with verification(libraries, tmp_path, devices=FOUR) as process:
        wait_for(tmp_path, WORKER, 2, process)
        printed, errors = process.communicate(timeout=LIMIT_SECONDS)
    assert process.returncode == 0, errors
    result = Result.from_dict(json.loads(printed))
    assert set(result.groups) == {(0, 1), (2, 3)}


def test_a_pair_that_hangs_costs_none_of_those_beside_it(libraries: Path, tmp_path: Path) -> None:
    with verification(libraries, tmp_path, "hang:0>1", devices=FOUR, child_timeout=60) as process:
        printed, errors = process.communicate(timeout=LIMIT_SECONDS)
    assert process.returncode == 0, errors
    result = Result.from_dict(json.loads(printed))
    assert result.groups == ((2, 3),)
    verdicts = {(pair.source, pair.target): pair for pair in result.pairs}
    assert verdicts[(0, 1)].reasons == ("measurement_hung",)
    assert verdicts[(2, 3)].bandwidth.on.bidi is not None


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_nothing_is_left_of_a_run_that_is_ended(
    libraries: Path, tmp_path: Path, number: signal.Signals
) -> None:
    with verification(
        libraries, tmp_path, "hang", devices=["0", "1"], child_timeout=LIMIT_SECONDS
    ) as process:
        wait_for(tmp_path, WORKER, 1, process)
        wait_for(tmp_path, RANK, 1, process)
        process.send_signal(number)
        process.wait(LIMIT_SECONDS)
        end = time.monotonic() + LIMIT_SECONDS
        while processes_with(str(tmp_path)):
            assert time.monotonic() < end, processes_with(str(tmp_path))
            time.sleep(0.05)
