# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Our own marked line at the end of /etc/default/grub, where there are no drop-ins.

The line appends, so what the file sets stays as its owner wrote it, and taking the line away again
restores the file to the byte.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from .._host.files import mode_of, read_bytes
from . import grub_defaults
from .interface import Step, WriteFile

# What conflicts are attributed to: the same file, but not its owner's part of it.
OWN_SOURCE = Path(f"{grub_defaults.MAIN} (gpufleet's line)")
# The marks bring their own line ends: the file before them may end without one.
_BEGIN = b"\n### BEGIN gpufleet (written by kernel_cmdline, removed by state: absent) ###\n"
_END = b"\n### END gpufleet ###\n"


def block_in(data: bytes) -> bytes | None:
    """Return the marked lines with their marks, or None."""
    start = data.find(_BEGIN)
    end = data.find(_END, start)
    return data[start : end + len(_END)] if 0 <= start < end else None


def without_block(data: bytes) -> bytes:
    """Return the file as it is without our lines."""
    block = block_in(data)
    return data if block is None else data.replace(block, b"")


def with_block(data: bytes, line: str) -> bytes:
    """Return the file ending in ``line``, marked, in the place of a former one."""
    return without_block(data) + _BEGIN + line.encode() + _END


def values_of(data: bytes) -> grub_defaults.Values | None:
    """Return what our lines alone set, or None where there are none.

    Raises:
        BootConfigurationRefused: somebody has made shell nonsense of them.
    """
    block = block_in(data)
    if block is None:
        return None
    with tempfile.TemporaryDirectory(prefix="gpufleet-grub-") as scratch:
        path = Path(scratch) / "grub"
        path.write_bytes(block)
        return grub_defaults.evaluate([path])[0]


def line_step(root: Path, line: str | None) -> list[Step]:
    """Return what writes ``line`` into /etc/default/grub, or removes ours for None."""
    path = root / grub_defaults.MAIN
    before = read_bytes(path) or b""
    after = without_block(before) if line is None else with_block(before, line)
    if before == after:
        return []
    name = "remove our line" if line is None else "write our line"
    return [
        WriteFile(f"{name} in /{grub_defaults.MAIN}", path, before, after, mode_of(path, 0o644))
    ]


def planned_sources(root: Path, line: str, scratch: Path) -> list[tuple[Path, Path]]:
    """Return /etc/default/grub in two parts, without and with ``line`` alone, as files to source.

    Each comes with the path, below ``root``, that it is named by.
    """
    others, ours = scratch / "others", scratch / "ours"
    others.write_bytes(without_block(read_bytes(root / grub_defaults.MAIN) or b""))
    ours.write_text(f"{line}\n", encoding="utf-8")
    return [(others, root / grub_defaults.MAIN), (ours, root / OWN_SOURCE)]
