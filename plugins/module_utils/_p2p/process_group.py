# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is left of a process group after it was killed: a child may have started others."""

from __future__ import annotations

import os
import time
from pathlib import Path

from .._host.files import read_text

_LOOK_EVERY_SECONDS = 0.005
# Places of fields in proc(5)'s stat, behind the command.
_GROUP = 2
_THREADS = 17
# Processes that have ended, whether or not someone asks for their exit status (proc(5)).
_ENDED = ("Z", "X")


def left_in(group: int, patience: float) -> int | None:
    """Return the id of a process that a killed group still has after ``patience`` seconds.

    None as soon as all have ended. One that does not is uninterruptible in the kernel (state D).
    """
    deadline = time.monotonic() + patience
    while True:
        left = _running_in(group)
        if not left or time.monotonic() >= deadline:
            return min(left, default=None)
        time.sleep(_LOOK_EVERY_SECONDS)


def _running_in(group: int) -> list[int]:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return []
    # The kernel counts those that have ended until they are waited for, which may be never.
    pids = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    return [pid for pid in pids if _runs_in(pid, group)]


def _runs_in(pid: int, group: int) -> bool:
    stat = read_text(Path(f"/proc/{pid}/stat"))
    if stat is None:
        return False
    # A command may have blanks and brackets of its own.
    fields = stat.rpartition(")")[2].split()
    state, of, threads = fields[0], int(fields[_GROUP]), int(fields[_THREADS])
    # A process's first thread may have ended where another one hangs.
    return of == group and (state not in _ENDED or threads > 1)
