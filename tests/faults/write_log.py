# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every write and flush of a disk, as QEMU's blklogwrites filter logs them.

The layout is dm-log-writes' (Linux, drivers/md/dm-log-writes.c; QEMU, block/blklogwrites.c): a
superblock in the first log sector, then for each request a header in a log sector of its own,
followed by the data where the request has any. QEMU logs a request once it has completed.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from ansible_collections.gpufleet.p2p.plugins.module_utils._host.errors import GpufleetError

#: "rhswsjf" backwards, as the kernel has it.
MAGIC = 0x6A736677736872
VERSION = 1
SECTOR = 512
_SUPER = struct.Struct("<QQQI")
_HEADER = struct.Struct("<QQQQ")
_FLUSH = 1
_FUA = 2
_DISCARD = 4


class LogInvalid(GpufleetError):
    """A file is no log of blklogwrites."""


@dataclass(frozen=True)
class Entry:
    """One request, in the order of completion.

    Attributes:
        position: byte of the log at which the entry ends.
        sector: first sector of 512 bytes on the disk.
        sectors: how many; 0 for a flush.
        flush: everything that completed before is on the disk for good.
        discard: the sectors were given up; a later read may find anything, zeros here.
        data: byte of the log at which what was written begins.
    """

    position: int
    sector: int
    sectors: int
    flush: bool
    discard: bool
    data: int


def read_log(path: Path) -> list[Entry]:
    """Return the log's entries up to the last whole one.

    The superblock's count is not asked: it is written at flushes, and QEMU may have been killed
    since. The file ends where the log does.

    Raises:
        LogInvalid: the file does not begin as such a log does.
        OSError: it cannot be read.
    """
    with path.open("rb") as log:
        return list(_entries(log, path))


def _entries(log: BinaryIO, path: Path) -> Iterator[Entry]:
    end = log.seek(0, 2)
    log.seek(0)
    text = log.read(_SUPER.size)
    if len(text) < _SUPER.size:
        # Nothing was flushed yet, so QEMU has not written the superblock either.
        raise _invalid(path, f"{len(text)} bytes")
    magic, version, _, size = _SUPER.unpack(text)
    if (magic, version, size) != (MAGIC, VERSION, SECTOR):
        raise _invalid(path, f"magic {magic:#x}, version {version}, sectors of {size} bytes")
    position = SECTOR
    while position + SECTOR <= end:
        log.seek(position)
        sector, sectors, flags, length = _HEADER.unpack(log.read(_HEADER.size))
        flush, discard = bool(flags & _FLUSH), bool(flags & _DISCARD)
        data = position + SECTOR
        if not (sectors or flush):
            # A hole: requests that completed at the same moment as QEMU's end.
            return
        position = data + (0 if discard else sectors * SECTOR)
        if position > end or (length not in (0, sectors * SECTOR)):
            return
        yield Entry(position, sector, sectors, flush or bool(flags & _FUA), discard, data)


def _invalid(path: Path, read: str) -> LogInvalid:
    return LogInvalid(
        "write_log_invalid",
        read=f"{path}: {read}",
        want=f"magic {MAGIC:#x}, version {VERSION}, sectors of {SECTOR} bytes",
        remedy="trace a run anew; the machine has to be started with blklogwrites",
    )
