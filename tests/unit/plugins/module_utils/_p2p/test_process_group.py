# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A group is gone when none of its processes runs, whoever has asked for their exit status."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ansible_collections.gpufleet.p2p.plugins.module_utils._p2p.process_group import left_in

PATIENCE_SECONDS = 20.0


@contextmanager
def group_of(script: str) -> Iterator[subprocess.Popen[str]]:
    """Start a process in a group of its own that says a line when it is ready."""
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        try:
            yield process
        finally:
            process.kill()


def test_a_group_that_runs_is_left_with_the_id_of_a_process() -> None:
    with group_of("import time; print('ready', flush=True); time.sleep(600)") as process:
        assert left_in(process.pid, 0.05) == process.pid


def test_a_group_that_ends_meanwhile_is_waited_for() -> None:
    script = "import time; print('ready', flush=True); time.sleep(0.3)"
    with group_of(script) as process:
        begin = time.monotonic()
        assert left_in(process.pid, PATIENCE_SECONDS) is None
        assert time.monotonic() - begin < PATIENCE_SECONDS


def test_one_that_has_ended_and_nobody_waited_for_is_gone() -> None:
    with group_of("print('ready', flush=True)") as process:
        assert left_in(process.pid, PATIENCE_SECONDS) is None
        os.killpg(process.pid, 0)  # the kernel still has it


def test_a_process_whose_first_thread_has_ended_still_runs() -> None:
    script = (
        "import ctypes, threading, time\n"
        "threading.Thread(target=time.sleep, args=(600,)).start()\n"
        "print('ready', flush=True)\n"
        "ctypes.CDLL(None).pthread_exit(None)\n"
    )
    with group_of(script) as process:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while _state(process.pid) != "Z" and time.monotonic() < deadline:
            time.sleep(0.01)
        assert _state(process.pid) == "Z"
        assert left_in(process.pid, 0.05) == process.pid


def test_a_group_that_never_was_is_gone() -> None:
    with group_of("print('ready', flush=True)") as process:
        process.wait(PATIENCE_SECONDS)
    assert left_in(process.pid, 0.0) is None


def _state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
