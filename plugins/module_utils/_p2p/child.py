# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Starting a measuring child, listening to it, and ending it within its limit whatever it does."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import IO, Any, Callable

# Loaded here so that Ansible ships it: the child imports it by name in a process of its own.
from . import worker
from .protocol import FINISHED, Job

# Hiding GPUs; making launches wait for their end, which two kernels that wait for each other
# never reach; forbidding the driver to compile.
_UNFIT = ("CUDA_VISIBLE_DEVICES", "CUDA_LAUNCH_BLOCKING", "CUDA_DISABLE_PTX_JIT")
_LEAVE_SECONDS = 10.0
_KILL_WAIT_SECONDS = 5.0
_LAST_WORDS_BYTES = 2000
_READ_BYTES = 65536


@dataclass(frozen=True)
class ChildEnd:
    """How a child ended.

    Attributes:
        finished: it told everything and said so.
        timed_out: it was killed at its limit.
        unkillable: it did not die of SIGKILL: uninterruptible in the kernel (state D), left.
        status: exit status, negative for a signal; None where it is still there.
        said: last lines of its standard error.
    """

    finished: bool
    timed_out: bool
    unkillable: bool
    status: int | None
    said: str
    pid: int


def child_environment(inherited: Mapping[str, str]) -> dict[str, str]:
    """Return the environment a child is started with.

    Device numbers follow PCI addresses and all GPUs are visible; kernels are compiled from the
    text at hand and before anything runs; modules are found where this process finds them.
    """
    environment = {name: value for name, value in inherited.items() if name not in _UNFIT}
    environment.update(
        CUDA_DEVICE_ORDER="PCI_BUS_ID",
        CUDA_CACHE_DISABLE="1",
        CUDA_MODULE_LOADING="EAGER",
        PYTHONPATH=os.pathsep.join(entry for entry in sys.path if entry),
    )
    return environment


def run_child(
    job: Job,
    *,
    limit_seconds: float,
    on_event: Callable[[Mapping[str, Any]], None],
    environment: Mapping[str, str],
    argv: Sequence[str] | None = None,
) -> ChildEnd:
    """Run one child to its end and pass on each event as it comes.

    Args:
        limit_seconds: until its process group is killed.
        on_event: called with each event, in order.
        environment: the child's, see child_environment.
        argv: what to start instead of this package's worker.

    Raises:
        OSError: it could not be started.
    """
    command = list(argv) if argv is not None else _command()
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            env=dict(environment),
            start_new_session=True,
        )
        try:
            finished, timed_out = _listen(process, job, time.monotonic() + limit_seconds, on_event)
            if not timed_out:
                # It closed its output: let it leave by itself, for its own exit status.
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(_LEAVE_SECONDS)
        finally:
            # Also when this process is interrupted: nothing may be left measuring.
            gone = _end(process)
        return ChildEnd(
            finished=finished,
            timed_out=timed_out,
            unkillable=not gone,
            status=process.returncode,
            said=_last_words(errors),
            pid=process.pid,
        )


def _command() -> list[str]:
    return [sys.executable, "-c", f"from {worker.__name__} import main; main()"]


def _listen(
    process: subprocess.Popen[bytes],
    job: Job,
    deadline: float,
    on_event: Callable[[Mapping[str, Any]], None],
) -> tuple[bool, bool]:
    """Return whether the child finished and whether it ran out of time."""
    to_child, from_child = process.stdin, process.stdout
    if to_child is None or from_child is None:
        raise AssertionError("run_child() starts every child with both pipes")
    try:
        # A job is a few hundred bytes: it fits the pipe, so that this cannot block.
        to_child.write(job.to_json().encode("ascii"))
        to_child.close()
    except BrokenPipeError:
        return False, False
    finished = False
    pending = b""
    with selectors.DefaultSelector() as selector:
        selector.register(from_child, selectors.EVENT_READ)
        while True:
            left = deadline - time.monotonic()
            if left <= 0 or not selector.select(left):
                return finished, True
            piece = os.read(from_child.fileno(), _READ_BYTES)
            if not piece:
                return finished, False
            *lines, pending = (pending + piece).split(b"\n")
            for line in lines:
                event = _event(line)
                if event is not None:
                    finished = finished or event["event"] == FINISHED
                    on_event(event)


def _event(line: bytes) -> Mapping[str, Any] | None:
    """Return the event in a line; None for what a library may have printed in between."""
    try:
        event = json.loads(line)
    except ValueError:
        return None
    return event if isinstance(event, dict) and isinstance(event.get("event"), str) else None


def _end(process: subprocess.Popen[bytes]) -> bool:
    """Kill the process group and return whether the child is gone."""
    if process.stdout is not None:
        process.stdout.close()
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    try:
        process.wait(_KILL_WAIT_SECONDS)
    except subprocess.TimeoutExpired:
        return False
    return True


def _last_words(errors: IO[bytes]) -> str:
    size = errors.seek(0, os.SEEK_END)
    errors.seek(max(0, size - _LAST_WORDS_BYTES))
    return errors.read().decode("utf-8", "replace").strip()
