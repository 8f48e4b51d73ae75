# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Long commands: their output is shown and logged, and they end when the lab does."""

from __future__ import annotations

import os
import shlex
import subprocess
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from ansible_collections.gpufleet.p2p.plugins.module_utils._host.commands import CommandFailed

_LAST_LINES = 12


def stream(
    argv: Sequence[str],
    *,
    log: Path,
    on_line: Callable[[str], None],
    env: Mapping[str, str] | None = None,
    end_signal: str = "TERM",
) -> None:
    """Run a command, handing on each line that it prints and keeping all of them in a log.

    Args:
        argv: the command; the kernel sends it ``end_signal`` should this process die.
        log: file that takes the output; overwritten.
        on_line: called with each line.
        env: variables added to this process's environment.
        end_signal: KILL for commands that ignore TERM, such as unshare.

    Raises:
        CommandFailed: a non-zero status; the error carries the last lines.
    """
    last: deque[str] = deque(maxlen=_LAST_LINES)
    with (
        log.open("w", encoding="utf-8") as kept,
        subprocess.Popen(
            ["setpriv", "--pdeathsig", end_signal, *argv],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**os.environ, "LC_ALL": "C", **(env or {})},
            encoding="utf-8",
            errors="replace",
        ) as process,
    ):
        try:
            if process.stdout is not None:
                for line in process.stdout:
                    kept.write(line)
                    last.append(line.rstrip())
                    on_line(line)
            status = process.wait()
        except BaseException:
            # Ctrl-C, too, must not leave a half-made image being written to.
            process.kill() if end_signal == "KILL" else process.terminate()
            raise
    if status != 0:
        raise CommandFailed(
            "command_failed",
            read=f"{shlex.join(argv)} returned {status}: " + "\n".join(last),
            want="status 0",
            remedy=f"read {log}, mend what it names, then run again",
        )
