# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Disk images that cost nothing to copy, and a disk whose writes are logged.

Images lie on an XFS of their own, whose files share blocks until they differ. All mounts are made
in the mount namespace of the run (``__main__`` enters one), so they end with it.
"""

from __future__ import annotations

import contextlib
import itertools
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from ansible_collections.gpufleet.p2p.plugins.module_utils._host.commands import run

_SIZE_BYTES = 60 << 30
_COPY_SECONDS = 600.0
_EXPORT_SECONDS = 30.0


@dataclass
class Scratch:
    """A directory for disk images."""

    directory: Path
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    def copy(self, image: Path, name: str = "") -> Path:
        """Return a copy of an image, under a name that no other has unless one is given."""
        target = self.directory / (name or f"copy-{next(self._numbers)}.raw")
        words = ["cp", "--sparse=always", "--reflink=auto"]
        if image.stat().st_dev == self.directory.stat().st_dev:
            words = ["cp", "--reflink=always"]
        run([*words, str(image), str(target)], timeout=_COPY_SECONDS)
        return target

    @contextlib.contextmanager
    def borrowed(self, image: Path) -> Iterator[Path]:
        """Give a copy of an image for as long as the block runs."""
        copy = self.copy(image)
        try:
            yield copy
        finally:
            copy.unlink()


def open_scratch(directory: Path) -> Scratch:
    """Return the scratch space in a directory; what an earlier run left there is still there."""
    image, mounted = directory / "scratch.xfs", directory / "disks"
    mounted.mkdir(parents=True, exist_ok=True)
    if not image.exists():
        partial = image.with_suffix(".partial")
        with partial.open("wb") as stream:
            stream.truncate(_SIZE_BYTES)
        run(["mkfs.xfs", "-q", "-f", "-m", "reflink=1", str(partial)])
        partial.replace(image)
    run(["mount", "-o", "loop,discard", str(image), str(mounted)])
    for stale in mounted.glob("copy-*.raw"):
        stale.unlink()
    return Scratch(mounted)


@contextlib.contextmanager
def logged(disk: Path, log: Path) -> Iterator[Path]:
    """Give a file that reads and writes as the disk does, all writes and flushes being logged.

    Args:
        disk: a raw image; it is changed by what is written.
        log: made anew, in the format that ``write_log`` reads.
    """
    file = disk.with_suffix(".logged")
    for path in (log, file):
        path.unlink(missing_ok=True)
        path.touch(mode=0o600)
    process = subprocess.Popen(
        [
            # It would outlive a run that is killed, and hold the disk.
            *("setpriv", "--pdeathsig", "TERM", "qemu-storage-daemon"),
            *("--blockdev", f"driver=file,node-name=disk,filename={disk}"),
            *("--blockdev", f"driver=file,node-name=log,filename={log}"),
            *("--blockdev", "driver=blklogwrites,node-name=logged,file=disk,log=log"),
            *("--export", f"type=fuse,id=it,node-name=logged,mountpoint={file},writable=on"),
        ],
        start_new_session=True,
    )
    try:
        _wait_for_export(file, process)
        yield file
    finally:
        process.terminate()
        process.wait(timeout=_EXPORT_SECONDS)
        file.unlink()


def _wait_for_export(file: Path, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _EXPORT_SECONDS
    while file.stat().st_size == 0:
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"qemu-storage-daemon does not export the disk at {file}")
        time.sleep(0.02)
