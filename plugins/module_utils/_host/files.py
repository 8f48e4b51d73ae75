# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading files that may be absent, and replacing them so that a crash leaves old or new."""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_CHUNK_BYTES = 1 << 20
_SELINUX_LABEL = "security.selinux"


def read_bytes(path: Path) -> bytes | None:
    """Return the file's bytes, or None where it does not exist or cannot be read."""
    try:
        return path.read_bytes()
    except OSError:
        return None


def read_text(path: Path) -> str | None:
    """Return the file's text (undecodable bytes escaped), or None as read_bytes does."""
    data = read_bytes(path)
    return None if data is None else data.decode("utf-8", "backslashreplace")


def mode_of(path: Path, default: int) -> int:
    """Return the file's permission bits, or ``default`` where it does not exist."""
    return path.stat().st_mode & 0o7777 if path.exists() else default


def sha256_of(path: Path) -> str:
    """Return the file's SHA-256 as 64 hexadecimal digits.

    Raises:
        OSError: the file cannot be read.
    """
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def atomic_write(path: Path, data: bytes, *, mode: int = 0o644, settled: bool = False) -> bool:
    """Make ``path`` hold ``data`` with ``mode``; return whether anything changed.

    The new file is written beside the old one, flushed to disk and renamed over it, so a crash
    at any instant leaves the old content or the new, never a part. Missing parent directories
    are made with mode 0755.

    Args:
        path: the file.
        data: what it is to hold.
        mode: its permissions.
        settled: also for a reader that replays no journal, as GRUB: see ``settle``.

    Raises:
        OSError: the file system refused; the old file is untouched.
    """
    if read_bytes(path) == data and (path.stat().st_mode & 0o7777) == mode:
        return False
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o755)
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    temporary = Path(name)
    with contextlib.ExitStack() as interrupted:
        # Neither a full disk nor an interrupt leaves the unfinished file behind.
        interrupted.callback(temporary.unlink, missing_ok=True)
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fchmod(stream.fileno(), mode)
            with contextlib.suppress(OSError):
                # SELinux: some files have another label than new ones in their directory.
                label = os.getxattr(path, _SELINUX_LABEL)
                os.setxattr(stream.fileno(), _SELINUX_LABEL, label)
            os.fsync(stream.fileno())
        with _former_kept(path, settled):
            temporary.replace(path)
            interrupted.pop_all()
            sync_directory(path.parent)
    return True


def remove(path: Path, *, settled: bool = False) -> bool:
    """Remove a file and flush its directory; return whether there was one.

    Args:
        path: the file.
        settled: as in ``atomic_write``.

    Raises:
        OSError: the file system refused.
    """
    if not path.exists() and not path.is_symlink():
        return False
    with _former_kept(path, settled):
        path.unlink()
        sync_directory(path.parent)
    return True


@contextlib.contextmanager
def _former_kept(path: Path, settled: bool) -> Iterator[None]:
    """Keep what ``path`` holds readable for GRUB until its change is in place on the disk.

    GRUB sees the new directory entry or the former one, whichever block was written last. Each has
    to lead to a whole file: so the new file is in place before the entry changes, and the former
    one is not freed, and its blocks not used for something else, before the change is in place.
    """
    if not settled:
        yield
        return
    former = path.with_name(f".{path.name}.former")
    former.unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        # A file system without links, as an EFI partition's, has no journal either.
        os.link(path, former)
    settle(path.parent)
    try:
        yield
        settle(path.parent)
    finally:
        former.unlink(missing_ok=True)


def settle(path: Path) -> None:
    """Write all of a file system to its place, not to its journal alone.

    syncfs(2) commits the journal and then writes the device's buffers, in which ext4 keeps the
    metadata (Linux, fs/sync.c: sync_filesystem). XFS keeps them elsewhere: there it is no more
    than a flush.

    Args:
        path: a directory on the file system.

    Raises:
        OSError: the device did not take it.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.syncfs(descriptor) != 0:
            error = ctypes.get_errno()
            raise OSError(error, os.strerror(error), str(path))
    finally:
        os.close(descriptor)


def remove_empty(directory: Path) -> bool:
    """Remove a directory if it is there and empty; return whether it was removed."""
    try:
        directory.rmdir()
    except OSError:
        return False
    sync_directory(directory.parent)
    return True


def sync_directory(path: Path) -> None:
    """Flush a directory's entries to disk, so that a rename in it survives a power cut."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@dataclass(frozen=True)
class FileChange:
    """One file's content before and after; None stands for an absent file.

    ``settled`` is meant as in ``atomic_write``.
    """

    path: Path
    before: bytes | None
    after: bytes | None
    mode: int = 0o644
    settled: bool = False

    @property
    def is_change(self) -> bool:
        """Whether applying would alter the content."""
        return self.before != self.after

    def apply(self) -> bool:
        """Write or remove the file; return whether anything changed.

        Raises:
            OSError: the file system refused; the old file is untouched.
        """
        if self.after is None:
            return remove(self.path, settled=self.settled)
        return atomic_write(self.path, self.after, mode=self.mode, settled=self.settled)

    def as_diff(self) -> dict[str, str]:
        """Return Ansible's diff record: before, after and their headers, as text."""
        return {
            "before_header": str(self.path),
            "after_header": str(self.path),
            "before": (self.before or b"").decode("utf-8", "backslashreplace"),
            "after": (self.after or b"").decode("utf-8", "backslashreplace"),
        }


@dataclass(frozen=True)
class Link:
    """A symbolic link that is to be there (target) or not (None)."""

    path: Path
    target: str | None

    @property
    def is_change(self) -> bool:
        """Whether the link is not as it is to be."""
        return self._current() != self.target

    def apply(self) -> bool:
        """Make or remove the link; return whether anything changed.

        Raises:
            OSError: the file system refused.
        """
        if not self.is_change:
            return False
        if self.target is None:
            return remove(self.path)
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o755)
        temporary = self.path.with_name(f".{self.path.name}.gpufleet")
        temporary.unlink(missing_ok=True)
        temporary.symlink_to(self.target)
        temporary.replace(self.path)
        sync_directory(self.path.parent)
        return True

    def as_diff(self) -> dict[str, str]:
        """Return Ansible's diff record."""
        before, after = self._current(), self.target
        return {
            "before_header": str(self.path),
            "after_header": str(self.path),
            "before": f"link to {before}\n" if before else "",
            "after": f"link to {after}\n" if after else "",
        }

    def _current(self) -> str | None:
        return str(self.path.readlink()) if self.path.is_symlink() else None
