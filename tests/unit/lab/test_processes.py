# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Only the very process that was recorded is ever taken for ours."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from gpufleet.lab import processes
from gpufleet.lab.processes import ProcessRecord

MARK = "gpufleet-test-mark"


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)", MARK])
    yield process
    process.kill()
    process.wait()


def recorded(process: subprocess.Popen[bytes]) -> ProcessRecord:
    record = processes.record_process(process.pid, MARK)
    assert record is not None
    return record


def test_a_running_process_is_recognised(sleeper: subprocess.Popen[bytes], tmp_path: Path) -> None:
    record = recorded(sleeper)
    processes.write_record(tmp_path / "record", record)
    assert processes.running_record(tmp_path / "record") == record


@pytest.mark.parametrize(
    "other",
    [{"start_time": 1}, {"boot_id": "another"}, {"mark": "another"}, {"pid": 2**22 + 1}],
    ids=lambda other: next(iter(other)),
)
def test_another_process_with_its_id_is_neither_ours_nor_ended(
    sleeper: subprocess.Popen[bytes], tmp_path: Path, other: dict[str, object]
) -> None:
    stale = replace(recorded(sleeper), **other)
    processes.write_record(tmp_path / "record", stale)
    assert processes.running_record(tmp_path / "record") is None
    assert not (tmp_path / "record").exists()
    processes.end_process(stale, [(signal.SIGKILL, 1.0)])
    assert sleeper.poll() is None


@pytest.mark.parametrize("text", ["", "{", "{}", '{"pid": "x"}', "[]"])
def test_half_a_record_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "record").write_text(text)
    assert processes.running_record(tmp_path / "record") is None


def test_a_process_is_ended_and_a_zombie_counts_as_ended(
    sleeper: subprocess.Popen[bytes],
) -> None:
    record = recorded(sleeper)
    processes.end_process(record, [(signal.SIGTERM, 5.0), (signal.SIGKILL, 5.0)])
    assert not processes.is_running(record)


def test_signals_are_tried_in_turn_and_the_last_failure_is_told(
    sleeper: subprocess.Popen[bytes],
) -> None:
    record = recorded(sleeper)
    # SIGCONT ends nothing, as SIGKILL ends nothing that is stuck in the kernel.
    with pytest.raises(processes.ProcessStuck):
        processes.end_process(record, [(signal.SIGCONT, 0.2)])
    assert sleeper.poll() is None


def test_a_command_with_spaces_and_parentheses_is_read_right(tmp_path: Path) -> None:
    directory = tmp_path / "7"
    directory.mkdir()
    fields = ["S"] + ["0"] * 18 + ["4242"]
    (directory / "stat").write_text(f"7 (a ) b) {' '.join(fields)} 0\n")
    record = processes.record_process(7, MARK, proc=tmp_path)
    assert record is not None
    assert record.start_time == 4242
