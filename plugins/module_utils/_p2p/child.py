# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Starting measuring children, listening to them, and ending them within their limit.

One thread serves them all: a child is ended by the kernel with the thread that started it.
"""

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
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import IO, Any, Callable

from .process_group import left_in
from .protocol import FINISHED, WAITING

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
        unkillable: it or one that it started did not die of SIGKILL: uninterruptible in the kernel
            (state D), left.
        status: exit status, negative for a signal; None where it is still there.
        said: last lines of its standard error.
        pid: its process id; where one was left, that one's.
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


def child_command(main: Callable[[int], None]) -> list[str]:
    """Return the command that runs ``main`` of a module in a process of its own.

    ``main`` is called with the id of this process.
    """
    name = main.__name__
    return [sys.executable, "-c", f"from {main.__module__} import {name}; {name}({os.getpid()})"]


class Child:
    """One child: started with its job, listened to by ``listen``, ended by leaving its block.

    Attributes:
        waiting: it said that it waits for a line; see ``go_on``.
    """

    def __init__(
        self,
        command: Sequence[str],
        job: str,
        *,
        on_event: Callable[[Mapping[str, Any]], None],
        environment: Mapping[str, str],
    ) -> None:
        """Start the child in a process group of its own and give it its job.

        Args:
            command: what to start, see child_command.
            job: one line of text.
            on_event: called with each event it tells, in order.
            environment: see child_environment.

        Raises:
            OSError: it could not be started.
        """
        self.waiting = False
        self._on_event = on_event
        # Closed by end(), which reads what the child said last.
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115
        self._process = subprocess.Popen(
            list(command),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env=dict(environment),
            start_new_session=True,
        )
        self._pending = b""
        self._finished = False
        self._closed = False
        self._end: ChildEnd | None = None
        self.go_on(job)

    def __enter__(self) -> Child:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # Also when this process is interrupted: nothing may be left measuring.
        self.end(timed_out=False, patience=_LEAVE_SECONDS if kind is None else 0.0)

    @property
    def pid(self) -> int:
        """Its process id, and that of its group."""
        return self._process.pid

    @property
    def is_busy(self) -> bool:
        """Whether it can be expected to tell more by itself."""
        return not (self.waiting or self._closed or self._end is not None)

    @property
    def output(self) -> IO[bytes]:
        """The pipe it tells its events by."""
        if self._process.stdout is None:
            raise AssertionError("a child is started with its output piped")
        return self._process.stdout

    def go_on(self, line: str) -> None:
        """Give a child that waits its next line."""
        self.waiting = False
        to_child = self._process.stdin
        if to_child is None:
            raise AssertionError("a child is started with its input piped")
        # A line is a few hundred bytes: it fits the pipe, so that this cannot block. A child that
        # is gone says so by its output's end.
        with contextlib.suppress(BrokenPipeError):
            to_child.write(line.encode("ascii") + b"\n")
            to_child.flush()

    def read(self) -> None:
        """Take what has come from the child and pass on the events in it."""
        piece = os.read(self.output.fileno(), _READ_BYTES)
        if not piece:
            self._closed = True
            return
        *lines, self._pending = (self._pending + piece).split(b"\n")
        for line in lines:
            event = _event(line)
            if event is None:
                continue
            if event["event"] == WAITING:
                self.waiting = True
                continue
            self._finished = self._finished or event["event"] == FINISHED
            self._on_event(event)

    def end(self, *, timed_out: bool = False, patience: float = _LEAVE_SECONDS) -> ChildEnd:
        """Return how the child ended, killing its group where it has not by itself.

        Args:
            timed_out: it is ended because its time is over.
            patience: seconds it has to leave once it closed its output.
        """
        if self._end is None:
            process = self._process
            if self._closed and not timed_out:
                # For its own exit status.
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(patience)
            left = self._kill()
            self._end = ChildEnd(
                finished=self._finished,
                timed_out=timed_out,
                unkillable=left is not None,
                status=process.returncode,
                said=_last_words(self._errors),
                pid=process.pid if left is None else left,
            )
            self._errors.close()
        return self._end

    def _kill(self) -> int | None:
        """Kill the process group and return a process of it that is left, None where none is."""
        process = self._process
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()
        try:
            process.wait(_KILL_WAIT_SECONDS)
        except subprocess.TimeoutExpired:
            return process.pid
        return left_in(process.pid, _KILL_WAIT_SECONDS)


def listen(children: Iterable[Child], limit_seconds: float) -> None:
    """Pass on what children tell until each waits or has closed its output.

    Those that still work when the time is over are killed.
    """
    deadline = time.monotonic() + limit_seconds
    with selectors.DefaultSelector() as selector:
        for child in children:
            if child.is_busy:
                selector.register(child.output, selectors.EVENT_READ, child)
        while selector.get_map():
            left = deadline - time.monotonic()
            if left <= 0:
                break
            for key, _events in selector.select(left):
                child = key.data
                child.read()
                if not child.is_busy:
                    selector.unregister(key.fileobj)
        late = [key.data for key in selector.get_map().values()]
    for child in late:
        child.end(timed_out=True)


def _event(line: bytes) -> Mapping[str, Any] | None:
    """Return the event in a line; None for what a library may have printed in between."""
    try:
        event = json.loads(line)
    except ValueError:
        return None
    return event if isinstance(event, dict) and isinstance(event.get("event"), str) else None


def _last_words(errors: IO[bytes]) -> str:
    size = errors.seek(0, os.SEEK_END)
    errors.seek(max(0, size - _LAST_WORDS_BYTES))
    return errors.read().decode("utf-8", "replace").strip()
