# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One controller run at a time per host: a lease in a file that survives reboots.

A run takes the lock before it changes the host and renews it as it goes. Another run finds who
holds it and stops. A lease that ran out, or whose holder is known to be dead, may be taken over.

A run may hold a host for several purposes at once: its hosts are worked on side by side, and two of
them may have drivers compiled on one builder. It holds the host until the last one is released.

Leases are measured by this host's own wall clock, because nothing else lasts across the reboot in
the middle of a run. A clock set forward ends a lease early; one set back prolongs it by as much.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta, timezone
from pathlib import Path

from .errors import GpufleetError
from .files import atomic_write, read_bytes, remove, remove_empty
from .foreign_text import parse_json

LOCK_PATH = Path("var/lib/gpufleet/lock.json")
DEFAULT_LEASE_SECONDS = 3600
DEFAULT_PURPOSE = "change"
BREAK_REMEDY = "wait for that run to end, or set p2p_break_lock=true if it is known to be dead"

_SCHEMA = 1
_GUARD_WAIT_SECONDS = 10.0
_GUARD_POLL_SECONDS = 0.02


class HostLocked(GpufleetError):
    """Another run holds the host; ``record`` is its lock, None where the file is unreadable."""

    def __init__(self, record: LockRecord | None, now: datetime) -> None:
        super().__init__(
            "host_locked",
            read=f"{LOCK_PATH.name} that is no lock of this release"
            if record is None
            else f"held by {record.holder} since {record.since.isoformat()}, for another"
            f" {max(0, int((record.expires - now).total_seconds()))} s",
            want="no other run on this host",
            remedy=BREAK_REMEDY,
        )
        self.record = record

    def as_dict(self) -> dict[str, str]:
        """Return the error's plain data with the holder's ``run``, ``holder`` and ``since``."""
        lock = {} if self.record is None else self.record.as_dict()
        return {**super().as_dict(), **{key: str(lock.get(key, "")) for key in _HOLDER_KEYS}}


class LockBusy(GpufleetError):
    """The directory of the lock stayed guarded by another process."""


_HOLDER_KEYS = ("run", "holder", "since")


@dataclass(frozen=True)
class LockRecord:
    """A lock as the file holds it; times are UTC, ``purposes`` (at least one) are the run's own."""

    run: str
    holder: str
    since: datetime
    renewed: datetime
    lease_seconds: int
    purposes: tuple[str, ...]

    @property
    def expires(self) -> datetime:
        """When another run may take the lock over."""
        return self.renewed + timedelta(seconds=self.lease_seconds)

    def as_dict(self) -> dict[str, str | int]:
        """Return the record as JSON holds it."""
        return {
            "schema": _SCHEMA,
            **asdict(self),
            "since": self.since.isoformat(),
            "renewed": self.renewed.isoformat(),
        }


@dataclass(frozen=True)
class LockRequest:
    """What a run asks for, and for which ``purpose``.

    ``supersedes`` is another run that the caller knows to be dead: its lock, and no other's, is
    taken over. ``break_lock`` takes anyone's.
    """

    run: str
    holder: str
    lease_seconds: int = DEFAULT_LEASE_SECONDS
    purpose: str = DEFAULT_PURPOSE
    supersedes: str | None = None
    break_lock: bool = False


@dataclass(frozen=True)
class LockOutcome:
    """What happened, or in check mode would: ``action`` and the lock that then stands.

    Actions: acquired, renewed, taken_over (lease over or holder dead), broken, released, kept (the
    run holds it for another purpose), free (nothing to release), held_by_other (released nothing).
    """

    action: str
    record: LockRecord | None
    previous: LockRecord | None


def parse_record(data: bytes) -> LockRecord | None:
    """Return the lock that a file's bytes hold, None where they hold none of this schema."""
    try:
        fields = parse_json(data)
        if fields["schema"] != _SCHEMA or not fields["purposes"]:
            return None
        return LockRecord(
            run=str(fields["run"]),
            holder=str(fields["holder"]),
            since=_utc(fields["since"]),
            renewed=_utc(fields["renewed"]),
            lease_seconds=int(fields["lease_seconds"]),
            purposes=tuple(map(str, fields["purposes"])),
        )
    except (ValueError, KeyError, TypeError, OverflowError):
        return None


def plan_hold(current: bytes | None, request: LockRequest, now: datetime) -> LockOutcome:
    """Return what taking the lock means, given the file's bytes (None: no file).

    Raises:
        HostLocked: another run holds it.
    """
    record = None if current is None else parse_record(current)
    mine = LockRecord(
        request.run, request.holder, now, now, request.lease_seconds, (request.purpose,)
    )
    if current is None:
        return LockOutcome("acquired", mine, None)
    if record is not None and record.run == request.run:
        return LockOutcome("renewed", _renewed(record, mine), record)
    if record is not None and (now >= record.expires or record.run == request.supersedes):
        return LockOutcome("taken_over", mine, record)
    if request.break_lock:
        return LockOutcome("broken", mine, record)
    raise HostLocked(record, now)


def _renewed(record: LockRecord, mine: LockRecord) -> LockRecord:
    others = tuple(purpose for purpose in record.purposes if purpose not in mine.purposes)
    # The lease is one for all purposes: a short one must not end a long one early.
    lease = max(mine.lease_seconds, record.lease_seconds) if others else mine.lease_seconds
    return replace(
        mine, since=record.since, lease_seconds=lease, purposes=(*others, *mine.purposes)
    )


def plan_release(current: bytes | None, request: LockRequest) -> LockOutcome:
    """Return what giving the lock back means; another run's lock stays unless broken."""
    if current is None:
        return LockOutcome("free", None, None)
    record = parse_record(current)
    if record is not None and record.run == request.run:
        others = tuple(purpose for purpose in record.purposes if purpose != request.purpose)
        kept = replace(record, purposes=others) if others else None
        return LockOutcome("kept" if kept else "released", kept, record)
    if record is not None and record.run == request.supersedes:
        return LockOutcome("released", None, record)
    if request.break_lock:
        return LockOutcome("broken", None, record)
    return LockOutcome("held_by_other", record, record)


def holder(root: Path, now: datetime | None = None) -> LockRecord | None:
    """Return the lock of the run that holds the host, None where none does or its lease is over."""
    record = parse_record(read_bytes(root / LOCK_PATH) or b"")
    return record if record is not None and (now or _now()) < record.expires else None


def hold(root: Path, request: LockRequest, *, dry_run: bool = False) -> LockOutcome:
    """Take or renew the lock of the host whose file system begins at ``root``.

    Raises:
        HostLocked: another run holds it.
        LockBusy: another process did not leave the directory in time.
        OSError: the file system refused.
    """
    path = root / LOCK_PATH
    if dry_run:
        return plan_hold(read_bytes(path), request, _now())
    with _guarded(path.parent):
        outcome = plan_hold(read_bytes(path), request, _now())
        if outcome.record is not None:
            _write(path, outcome.record)
        return outcome


def release(root: Path, request: LockRequest, *, dry_run: bool = False) -> LockOutcome:
    """Give the lock back, or this purpose of it; remove its directory where nothing is left in it.

    Raises:
        LockBusy: another process did not leave the directory in time.
        OSError: the file system refused.
    """
    path = root / LOCK_PATH
    if dry_run or not path.parent.is_dir():
        return plan_release(read_bytes(path), request)
    with _guarded(path.parent):
        outcome = plan_release(read_bytes(path), request)
        if outcome.record is None:
            remove(path)
            remove_empty(path.parent)
        elif outcome.action == "kept":
            _write(path, outcome.record)
        return outcome


@contextlib.contextmanager
def held(root: Path, request: LockRequest) -> Iterator[LockOutcome]:
    """Hold the host while the block runs; what the same run holds it for besides stays.

    Raises:
        HostLocked, LockBusy, OSError: as hold.
    """
    outcome = hold(root, request)
    try:
        yield outcome
    finally:
        release(root, request)


def _write(path: Path, record: LockRecord) -> None:
    text = json.dumps(record.as_dict(), indent=2, sort_keys=True) + "\n"
    atomic_write(path, text.encode())


@contextlib.contextmanager
def _guarded(directory: Path) -> Iterator[None]:
    """Hold the directory alone while a lock in it is read and written.

    The directory itself is locked: a guard file would be left over, or raced for when removed.
    """
    deadline = time.monotonic() + _GUARD_WAIT_SECONDS
    while True:
        descriptor = _open_made(directory)
        if descriptor is not None:
            try:
                if _try_flock(descriptor) and _is_at(descriptor, directory):
                    yield
                    return
            finally:
                os.close(descriptor)
        if time.monotonic() > deadline:
            raise LockBusy(
                "lock_busy",
                read=f"{directory} guarded by another process for {_GUARD_WAIT_SECONDS:g} s",
                want="the lock file to be free to read and write",
                remedy="look for a hung process that has that directory open, then run again",
            )
        time.sleep(_GUARD_POLL_SECONDS)


def _open_made(directory: Path) -> int | None:
    """Return an open descriptor of the directory, made if missing; None if it went meanwhile."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
        return os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    except FileNotFoundError:
        return None
    except FileExistsError:
        # mkdir saw it, then a releasing run removed it; anything else in its place is an error.
        if directory.exists() and not directory.is_dir():
            raise
        return None


def _try_flock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_at(descriptor: int, directory: Path) -> bool:
    # The run that released the lock may have removed the directory that was opened here.
    opened = os.fstat(descriptor)
    try:
        standing = directory.stat()
    except FileNotFoundError:
        return False
    return (opened.st_dev, opened.st_ino) == (standing.st_dev, standing.st_ino)


def _now() -> datetime:
    return datetime.now(timezone.utc).replace(microsecond=0)


def _utc(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)
