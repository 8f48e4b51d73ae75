# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A child's end of the line to the process that started it: it dies with it, reads and tells."""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
from typing import Any

_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def die_with_parent(parent: int) -> None:
    """Have the kernel end this process with the one that started it, whose id is ``parent``.

    Ansible ends a module that outlasts its task by a signal: nothing may be left measuring.
    """
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        # It died before the kernel was told.
        os._exit(1)


def leave() -> None:
    """End this process at once, and give the GPUs and all memory of it back with it.

    The kernel takes contexts back however they are left. Giving them back by the driver's calls, or
    by what libraries do at an orderly end, takes longer, and waits for what hangs on a GPU.
    """
    sys.stderr.flush()
    os._exit(0)


def read_line() -> str:
    """Return the next line that the parent wrote; empty where it will write no more."""
    return sys.stdin.readline()


def tell(event: str, direction: tuple[int, int], **content: Any) -> None:
    """Tell the parent an event of protocol.py about an ordered pair of the job's GPUs."""
    source, target = direction
    line = json.dumps({"event": event, "from": source, "to": target, **content})
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
