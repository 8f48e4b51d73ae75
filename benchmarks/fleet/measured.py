# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs a command and tells what it and all that it started have cost, exactly.

As the subreaper of its descendants (prctl(2)) this process inherits those that outlive their
parents, such as ssh's persistent connections. They are ended when the command has ended, and every
one is waited for, so that the kernel has added its CPU time to the sum that getrusage(2) gives.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

_PR_SET_CHILD_SUBREAPER = 36


def main(arguments: list[str]) -> int:
    """Run ``REPORT COMMAND...``, write the costs into REPORT, return the command's status."""
    report, *command = arguments
    library = ctypes.CDLL(None, use_errno=True)
    if library.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")
    started = time.monotonic()
    status = subprocess.run(command, check=False).returncode
    wall = time.monotonic() - started
    outlived = _end_children()
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    costs = {
        "status": status,
        "wall_seconds": wall,
        "user_seconds": used.ru_utime,
        "system_seconds": used.ru_stime,
        "outlived": outlived,
    }
    Path(report).write_text(json.dumps(costs), encoding="utf-8")
    return status


def _end_children() -> int:
    """End and wait for what was inherited; return how many processes that were."""
    ended = 0
    while True:
        for child in _children():
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGTERM)
        try:
            os.wait()
        except ChildProcessError:
            return ended
        ended += 1


def _children() -> list[int]:
    own = os.getpid()
    return [int(word) for word in Path(f"/proc/{own}/task/{own}/children").read_text().split()]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
