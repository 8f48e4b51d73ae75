# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who this controller run is: an identity that all its workers share and no other run has."""

from __future__ import annotations

import getpass
import multiprocessing
import os
import socket
from dataclasses import dataclass
from pathlib import Path

_PARTS = 4


@dataclass(frozen=True)
class RunIdentity:
    """The process that runs the playbook.

    ``boot`` and ``namespace`` say where its ``pid`` means something; ``start`` (clock ticks after
    boot) tells it from a later process of the same number.
    """

    boot: str
    namespace: str
    pid: int
    start: str

    def __str__(self) -> str:
        return f"{self.boot}/{self.namespace}/{self.pid}/{self.start}"


def parse_identity(text: str) -> RunIdentity | None:
    """Return the identity that a lock's ``run`` holds, None where it was made in another way."""
    parts = text.split("/")
    if len(parts) != _PARTS or not all(parts) or not (parts[2].isascii() and parts[2].isdigit()):
        return None
    return RunIdentity(parts[0], parts[1], int(parts[2]), parts[3])


def controlling_pid() -> int:
    """Return the process id of ansible-playbook itself.

    Tasks run in workers that it forks; they differ from task to task, their parent does not.
    """
    parent = multiprocessing.parent_process()
    return os.getpid() if parent is None or parent.pid is None else parent.pid


def this_run(proc: Path = Path("/proc")) -> RunIdentity:
    """Return the identity of the ansible-playbook process that this code works for.

    A controller without /proc (macOS) is named by its host and process alone: two of its runs are
    told apart, but a dead one is not recognised, and its lease has to run out.
    """
    pid = controlling_pid()
    start = process_start(pid, proc)
    if start is None:
        return RunIdentity(socket.gethostname(), "none", pid, "unknown")
    return RunIdentity(_boot_id(proc), _namespace(proc), pid, start)


def is_dead(other: RunIdentity, here: RunIdentity, proc: Path = Path("/proc")) -> bool:
    """Return whether another run's process is known to be gone.

    False for a run of another controller, container or boot: nothing can be known of it here.
    """
    if (other.boot, other.namespace) != (here.boot, here.namespace) or "unknown" in (
        other.start,
        here.start,
    ):
        return False
    return process_start(other.pid, proc) != other.start


def process_start(pid: int, proc: Path = Path("/proc")) -> str | None:
    """Return when a process started, in clock ticks after boot; None where there is none.

    A zombie has ended and counts as none. Field 22 of /proc/PID/stat (proc(5)); the command's
    name before it may hold spaces and parentheses.
    """
    try:
        text = (proc / str(pid) / "stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    fields = text.rpartition(")")[2].split()
    return None if fields[0] in ("Z", "X") else fields[19]


def describe_run(pid: int) -> str:
    """Return the run for people, as ``user@controller pid N``."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = str(os.getuid())  # a container may run under a number without a name
    return f"{user}@{socket.gethostname()} pid {pid}"


def _boot_id(proc: Path) -> str:
    return (proc / "sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


def _namespace(proc: Path) -> str:
    # "pid:[4026531836]": containers on one kernel share its boot id, not their process ids.
    link = (proc / "self/ns/pid").readlink()
    return "".join(character for character in str(link) if character.isdigit())
