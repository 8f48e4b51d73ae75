# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Long-lived processes of the lab: recorded so that only our own is ever ended."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from ansible_collections.gpufleet.p2p.plugins.module_utils._host.errors import GpufleetError
from ansible_collections.gpufleet.p2p.plugins.module_utils._host.files import (
    atomic_write,
    read_text,
    remove,
)

_POLL_SECONDS = 0.1
# Fields of /proc/PID/stat after the command's closing parenthesis (proc(5) counts from 1):
# field 3 is the state, field 22 the start time in clock ticks since boot.
_STATE = 0
_START_TIME = 19


class ProcessStuck(GpufleetError):
    """A process of the lab outlived SIGKILL."""


@dataclass(frozen=True)
class ProcessRecord:
    """A process by its id and what tells it from a later one with the same id.

    Attributes:
        pid: process id.
        start_time: clock ticks since the machine's boot.
        boot_id: /proc/sys/kernel/random/boot_id of the boot that it runs in.
        mark: an argument that its command line must still hold.
    """

    pid: int
    start_time: int
    boot_id: str
    mark: str


def boot_id(proc: Path = Path("/proc")) -> str:
    """Return the id of this machine's running boot."""
    return (read_text(proc / "sys/kernel/random/boot_id") or "").strip()


def record_process(pid: int, mark: str, proc: Path = Path("/proc")) -> ProcessRecord | None:
    """Return the record of a running process, or None where it has ended."""
    fields = _stat_fields(pid, proc)
    if fields is None:
        return None
    return ProcessRecord(pid, int(fields[_START_TIME]), boot_id(proc), mark)


def is_running(record: ProcessRecord, proc: Path = Path("/proc")) -> bool:
    """Return whether the very process of the record still runs (a zombie does not)."""
    fields = _stat_fields(record.pid, proc)
    if fields is None or fields[_STATE] in "ZX" or int(fields[_START_TIME]) != record.start_time:
        return False
    if boot_id(proc) != record.boot_id:
        return False
    words = (read_text(proc / str(record.pid) / "cmdline") or "").split("\0")
    return record.mark in words


def write_record(path: Path, record: ProcessRecord) -> None:
    """Keep the record in a file."""
    atomic_write(path, json.dumps(asdict(record)).encode())


def read_record(path: Path) -> ProcessRecord | None:
    """Return the record in a file; None where there is none or a crash left half of one."""
    try:
        data = json.loads(read_text(path) or "")
        return ProcessRecord(
            int(data["pid"]), int(data["start_time"]), str(data["boot_id"]), str(data["mark"])
        )
    except (ValueError, KeyError, TypeError):
        return None


def running_record(path: Path) -> ProcessRecord | None:
    """Return the record in a file if its process runs; a stale file is removed."""
    record = read_record(path)
    if record is not None and is_running(record):
        return record
    remove(path)
    return None


def wait_for_end(record: ProcessRecord, seconds: float) -> bool:
    """Return whether the process ended within so many seconds."""
    deadline = time.monotonic() + seconds
    while is_running(record):
        _reap(record.pid)
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL_SECONDS)
    return True


def end_process(record: ProcessRecord, signals: Sequence[tuple[signal.Signals, float]]) -> None:
    """End the process of the record, by each signal in turn, waiting so many seconds after it.

    Raises:
        ProcessStuck: it still runs after the last.
    """
    for number, seconds in signals:
        # Between the check and the signal the id could only pass to another process if this
        # one were reaped and all other ids used up in between.
        if not is_running(record):
            return
        with contextlib.suppress(ProcessLookupError):
            os.kill(record.pid, number)
        if wait_for_end(record, seconds):
            return
    raise ProcessStuck(
        "lab_process_stuck",
        read=f"process {record.pid} still runs after {signals[-1][0].name}",
        want="an end of it",
        remedy=f"look at /proc/{record.pid}/stack and at this machine's disk, then run again",
    )


def _reap(pid: int) -> None:
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)


def _stat_fields(pid: int, proc: Path) -> list[str] | None:
    text = read_text(proc / str(pid) / "stat")
    if text is None:
        return None
    # The command stands in parentheses and may itself contain spaces and parentheses.
    return text.rpartition(")")[2].split()
