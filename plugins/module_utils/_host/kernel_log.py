# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the kernel said while something ran: read from /dev/kmsg, or by dmesg where that is closed.

Record format of /dev/kmsg: Documentation/ABI/testing/dev-kmsg. What the messages mean is for
``kernel_faults``.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .commands import CommandFailed, CommandMissing, CommandTimedOut, run

_RECORD_BYTES = 8192  # CONSOLE_EXT_LOG_MAX, the longest record; a shorter buffer gives EINVAL
_READ_BYTES_AT_MOST = 8 << 20  # what a log that never stops growing may cost
_DMESG = ("dmesg", "--kernel")
_DMESG_SECONDS = 5.0
# How many lines of the log as it was must be found again: one alone may have been repeated.
_MARK_LINES = 8

# "6,1234,5678901,-;text": facility and level, sequence, microseconds, flags, perhaps "caller=…".
_RECORD = re.compile(rb"([0-9]{1,10}),[0-9]{1,20},[0-9]{1,20},[^;\n]*;(.*)")
_ESCAPE = re.compile(rb"\\x([0-9a-f]{2})")
_KERNEL_FACILITY = 0
# "[  123.456789] text", with printk.caller "[  123.456789][ T1234] text".
_STAMP = re.compile(r"\[ *[0-9]+\.[0-9]+\](?:\[ *[TC][0-9]+\])? ?")


@dataclass(frozen=True)
class Reading:
    """The kernel's messages since a moment, without time stamps, in order.

    ``messages`` is None where the log could not be read; ``remark`` then says why, and else what
    may be missing. It is empty where nothing is.
    """

    messages: tuple[str, ...] | None
    remark: str = ""


def parse_kmsg(data: bytes) -> tuple[str, ...]:
    """Return the kernel's own messages in records of /dev/kmsg.

    Messages that programs wrote there are left out, and so are the records' key=value lines.
    Unprintable bytes, which the kernel escapes, become spaces.
    """
    messages: list[str] = []
    for line in data.split(b"\n"):
        match = _RECORD.fullmatch(line)
        if match is None or int(match.group(1)) >> 3 != _KERNEL_FACILITY:
            continue
        messages.append(_printable(_ESCAPE.sub(_unescaped, match.group(2))))
    return tuple(messages)


def parse_dmesg(text: str) -> tuple[str, ...]:
    """Return the messages in what dmesg prints, without their time stamps."""
    lines = [line for line in text.split("\n") if line]
    return tuple(_printable(_STAMP.sub("", line, count=1).encode()) for line in lines)


def lines_after(before: Sequence[str], now: Sequence[str]) -> tuple[str, ...] | None:
    """Return the lines that followed ``before`` in a log that has rolled on to ``now``.

    None where the end of ``before`` is no longer in it: then any of ``now`` may be old or new.
    """
    mark = tuple(before[-_MARK_LINES:])
    if not mark:
        return tuple(now)
    for end in range(len(now), len(mark) - 1, -1):
        if tuple(now[end - len(mark) : end]) == mark:
            return tuple(now[end:])
    return None


class KernelLog:
    """The log from the moment this was made; close it at the end.

    Only the running kernel's log can be asked of dmesg, so below another root than ``/`` there is
    ``dev/kmsg`` or nothing.
    """

    def __init__(self, root: Path = Path("/")) -> None:
        self._descriptor: int | None = None
        self._before: tuple[str, ...] | None = None
        self._refusal = ""
        try:
            self._descriptor = os.open(root / "dev/kmsg", os.O_RDONLY | os.O_NONBLOCK)
            os.lseek(self._descriptor, 0, os.SEEK_END)
        except OSError as error:
            self._refusal = f"/dev/kmsg: {_reason(error)}"
            self.close()
            if root == Path("/"):
                self._before = self._ask_dmesg()

    def close(self) -> None:
        """Give the descriptor back."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def read(self) -> Reading:
        """Return what was said since this was made, or since the last call."""
        if self._descriptor is not None:
            return self._read_records(self._descriptor)
        if self._before is None:
            return Reading(None, self._refusal)
        now = self._ask_dmesg()
        if now is None:
            return Reading(None, self._refusal)
        since = lines_after(self._before, now)
        self._before = now
        if since is None:
            return Reading(None, "dmesg: the log was cleared or has rolled over meanwhile")
        return Reading(parse_dmesg("\n".join(since)))

    def _read_records(self, descriptor: int) -> Reading:
        parts: list[bytes] = []
        remark = ""
        while sum(map(len, parts)) < _READ_BYTES_AT_MOST:
            try:
                part = os.read(descriptor, _RECORD_BYTES)
            except BlockingIOError:
                break  # no more for now
            except BrokenPipeError:
                # Overwritten before it was read; the next read goes on with the oldest there is.
                remark = "the log overflowed: its oldest lines are missing"
                continue
            except OSError as error:
                return Reading(None, f"/dev/kmsg: {_reason(error)}")
            if not part:
                break
            parts.append(part)
        else:
            remark = f"only the first {_READ_BYTES_AT_MOST >> 20} MiB were read"
        return Reading(parse_kmsg(b"".join(parts)), remark)

    def _ask_dmesg(self) -> tuple[str, ...] | None:
        try:
            said = run(_DMESG, timeout=_DMESG_SECONDS).stdout
        except (CommandMissing, CommandFailed, CommandTimedOut) as error:
            self._refusal += f"; {error.read.splitlines()[0]}"
            return None
        return tuple(line for line in said.split("\n") if line)


def _unescaped(match: re.Match[bytes]) -> bytes:
    return bytes([int(match.group(1), 16)])


def _printable(data: bytes) -> str:
    """Return text of one line: a message must not end lines or move a terminal's cursor."""
    text = data.decode("utf-8", "backslashreplace")
    return "".join(character if character.isprintable() else " " for character in text).rstrip()


def _reason(error: OSError) -> str:
    return (error.strerror or type(error).__name__).lower()
