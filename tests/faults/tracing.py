# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A subject's steps run on a guest's disk whose writes are logged, and what whole states look like.

Beside the steps another program forces the file system's journal to disk every moment, as journald
or a database does, and now and then the kernel writes metadata to its place, as its flusher does
every few seconds. So metadata becomes durable whose data is not, which is what a power loss shows,
and GRUB, which replays no journal, sees more than the state before and the one after.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import threading
import zlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ansible_collections.gpufleet.p2p.plugins.module_utils._host.files import (
    atomic_write,
    sha256_of,
)
from support.driver_hosts import Host

from .boot_choice import choose
from .guest_disk import NODES, entered
from .points import Mark
from .scratch import Scratch, logged
from .subjects import Step
from .write_log import read_log

MODULES = ("nvidia", "nvidia-uvm", "nvidia-modeset", "nvidia-drm", "nvidia-peermem")
_PAUSES = (0.002, 0.03)
_WRITEBACK_EVERY = 8


@dataclass
class Known:
    """What a host may be found with, as it was before the run and after each step.

    Attributes:
        root: the kernel's root=.
        boot: CRC-32 of the kernels and initramfs by path, as GRUB prints it.
        drivers: SHA-256 of each module that modprobe would load; the first is the host's own.
    """

    root: str = ""
    boot: dict[str, list[str]] = field(default_factory=dict)
    drivers: list[dict[str, str]] = field(default_factory=list)

    def take_in(self, host: Host) -> None:
        """Add how the host is now."""
        for path in sorted(host.path("/boot").glob("*-*")):
            if path.name.startswith(("vmlinuz-", "initrd.img-")):
                crc = f"{zlib.crc32(path.read_bytes()):08x}"
                known = self.boot.setdefault(f"/boot/{path.name}", [])
                if crc not in known:
                    known.append(crc)
        driver = {name: sha256_of(host.installed(name)) for name in MODULES}
        if driver not in self.drivers:
            self.drivers.append(driver)


@dataclass(frozen=True)
class Trace:
    """One run: the disk that it began with, the log of its writes, its steps, its whole states."""

    base: Path
    log: Path
    marks: tuple[Mark, ...]
    known: Known


def next_boot(host: Host) -> str:
    """Do on the mounted disk what GRUB does before it starts a kernel; return its arguments."""
    grub = host.path("/boot/grub")
    environment = grub / "grubenv"
    custom = grub / "custom.cfg"
    choice = choose(
        (grub / "grub.cfg").read_text(),
        custom.read_text() if custom.exists() else None,
        environment.read_text(),
    )
    if "next_entry=" in environment.read_text():
        # In place, as GRUB writes it.
        host.run("grub-editenv", "/boot/grub/grubenv", "set", "next_entry=")
    return choice.arguments


def trace(
    base: Path, steps: tuple[Step, ...], directory: Path, scratch: Scratch, seed: int
) -> Trace:
    """Run the steps on a copy of a disk and return what was logged; an earlier run counts."""
    directory.mkdir(parents=True, exist_ok=True)
    found = read_trace(base, directory)
    if found is not None:
        return found
    log = scratch.directory / f"{directory.parent.name}-{directory.name}.log"
    known, positions = Known(), []
    notes: dict[str, Any] = {}
    with scratch.borrowed(base) as disk, logged(disk, log) as file:
        remaining = list(steps)
        cmdline = ""
        while remaining:
            with entered(file, directory / "root", cmdline) as host:
                if not known.drivers:
                    known.take_in(host)
                    cmdline = next_boot(host)
                    known.root = next(w for w in cmdline.split() if w.startswith("root="))[5:]
                with _journal_forced(host.root, NODES / host.root.name, seed):
                    while remaining:
                        step = remaining.pop(0)
                        positions.append((step.name, log.stat().st_size))
                        step.act(host, notes)
                        known.take_in(host)
                        if remaining and remaining[0].restart:
                            break
                if remaining:
                    positions.append(("restart", log.stat().st_size))
                    cmdline = next_boot(host)
    return _keep(base, log, positions, known, directory)


def _keep(
    base: Path, log: Path, positions: list[tuple[str, int]], known: Known, directory: Path
) -> Trace:
    ends = [entry.position for entry in read_log(log)]
    marks = [Mark(name, sum(end <= position for end in ends)) for name, position in positions]
    document = {
        "base": base.name,
        "log": log.name,
        "marks": [asdict(mark) for mark in marks],
        "known": asdict(known),
    }
    atomic_write(directory / "trace.json", json.dumps(document, indent=1).encode())
    return Trace(base, log, tuple(marks), known)


def read_trace(base: Path, directory: Path) -> Trace | None:
    """Return the trace that a directory keeps of this disk, or None."""
    path = directory / "trace.json"
    if not path.exists():
        return None
    document = json.loads(path.read_text())
    log = base.with_name(document["log"])
    if document["base"] != base.name or not log.exists():
        return None
    marks = tuple(Mark(**mark) for mark in document["marks"])
    return Trace(base, log, marks, Known(**document["known"]))


@contextlib.contextmanager
def _journal_forced(root: Path, device: Path, seed: int) -> Iterator[None]:
    """Let a small file be written and flushed again and again while the block runs."""
    draw, stop = random.Random(seed), threading.Event()

    def work() -> None:
        disk = os.open(device, os.O_RDONLY)
        try:
            with (root / "var/log/another-program.log").open("ab") as stream:
                while not stop.wait(draw.uniform(*_PAUSES)):
                    stream.write(b"a line\n")
                    stream.flush()
                    os.fsync(stream.fileno())
                    if draw.randrange(_WRITEBACK_EVERY) == 0:
                        # What is committed is written from memory to its place on the disk.
                        os.fsync(disk)
        finally:
            os.close(disk)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
