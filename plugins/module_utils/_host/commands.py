# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Running a host's tools: no shell, a time limit, and nothing left behind."""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from .errors import GpufleetError

# A make above this process must not govern one below it, such as a driver's build.
_OUTER_MAKE = frozenset({"MAKEFLAGS", "MAKELEVEL", "MAKEOVERRIDES", "MFLAGS"})
_LAST_LINES = 12
_KILL_WAIT_SECONDS = 5.0


class CommandFailed(GpufleetError):
    """The command ran and returned a non-zero status."""


class CommandMissing(GpufleetError):
    """The command is not installed."""


class CommandTimedOut(GpufleetError):
    """The command outlasted its limit and its process group was killed."""


@dataclass(frozen=True)
class CommandResult:
    """What a command returned; ``stdout`` and ``stderr`` are decoded text."""

    argv: tuple[str, ...]
    rc: int
    stdout: str
    stderr: str


def run(
    argv: Sequence[str],
    *,
    timeout: float = 60.0,
    check: bool = True,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    stdin: str | None = None,
) -> CommandResult:
    """Run ``argv`` in the C locale and return its result.

    Args:
        argv: the command and its arguments; never a shell string.
        timeout: seconds until the process group is killed.
        check: raise CommandFailed on a non-zero status.
        env: variables added to this process's environment.
        cwd: working directory.
        stdin: text fed to standard input; nothing is inherited.

    Raises:
        CommandMissing, CommandTimedOut, CommandFailed; OSError where ``cwd`` does not exist.
    """
    words = tuple(argv)
    inherited = {name: value for name, value in os.environ.items() if name not in _OUTER_MAKE}
    environment: dict[str, str] = {**inherited, "LC_ALL": "C", **(env or {})}
    try:
        process = subprocess.Popen(
            words,
            stdin=subprocess.PIPE if stdin is not None else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
            cwd=cwd,
            encoding="utf-8",
            errors="replace",
            start_new_session=True,
        )
    except (FileNotFoundError, PermissionError) as error:
        if cwd is not None and not cwd.is_dir():
            raise  # the same error tells of a missing working directory
        raise CommandMissing(
            "command_missing",
            read=f"{error.filename}: {(error.strerror or '').lower()}",
            want=f"{words[0]} to run {shlex.join(words)}",
            remedy=f"install the package that provides {words[0]} on this host",
        ) from error
    with contextlib.ExitStack() as interrupted:
        # Whatever ends the waiting, a time-out or an interrupt, also ends the command.
        interrupted.callback(_kill_group, process)
        try:
            stdout, stderr = process.communicate(stdin, timeout=timeout)
        except subprocess.TimeoutExpired as error:
            raise CommandTimedOut(
                "command_timed_out",
                read=f"{shlex.join(words)} still running after {timeout:g} s",
                want=f"an answer within {timeout:g} s",
                remedy="look at the host's load and journal, then run again",
            ) from error
        interrupted.pop_all()
    result = CommandResult(words, process.returncode, stdout, stderr)
    if check and result.rc != 0:
        raise failure(result)
    return result


def failure(result: CommandResult) -> CommandFailed:
    """Return the error that tells of ``result``, with the last lines it printed."""
    said = (result.stderr.strip() or result.stdout.strip()).splitlines()[-_LAST_LINES:]
    return CommandFailed(
        "command_failed",
        read=f"{shlex.join(result.argv)} returned {result.rc}: " + "\n".join(said),
        want="status 0",
        remedy="mend what the command names, then run again",
    )


def _kill_group(process: subprocess.Popen[str]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    try:
        process.communicate(timeout=_KILL_WAIT_SECONDS)
    except subprocess.TimeoutExpired:
        # Uninterruptible in the kernel: waiting longer would hang this process too.
        for stream in (process.stdin, process.stdout, process.stderr):
            if stream is not None:
                stream.close()
