# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is noted on a host that gpufleet drains, so that any later run can give its work back.

The note is written before the host is drained and removed after it was restored: a run that was
killed at any point in between leaves it, and the next one goes on from it. A host that is drained
without a note was drained by somebody else.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from .._host.files import FileChange, atomic_write, remove, remove_empty
from .._host.state_file import read_state
from .hooks import Hooks
from .hooks import parse as parse_hooks

NOTE = Path("var/lib/gpufleet/drain.json")
_SCHEMA = 1
_MARK_BYTES = 8


@dataclass(frozen=True)
class Note:
    """A host that gpufleet drains or has drained.

    Attributes:
        mark: random, also written where others see that the host is drained.
        since: when it was noted, UTC, ISO 8601.
        hooks: how, which is also how it is restored.
        units: of the hooks' units, those that ran before and are to run again.
        interrupted: whether what the host ran has been ended by a restart or another driver since.
    """

    mark: str
    since: str
    hooks: Hooks
    units: tuple[str, ...] = ()
    interrupted: bool = False

    def as_dict(self) -> dict[str, Any]:
        """Return the note as the file holds it."""
        return {
            "schema": _SCHEMA,
            "mark": self.mark,
            "since": self.since,
            "hooks": self.hooks.as_dict(),
            "units": list(self.units),
            "interrupted": self.interrupted,
        }


def new_note(hooks: Hooks, units: Sequence[str] = ()) -> Note:
    """Return a note of now, with a fresh mark."""
    now = datetime.now(timezone.utc).isoformat(timespec="seconds")
    return Note(secrets.token_hex(_MARK_BYTES), now, hooks, tuple(units))


def parse_note(data: Any) -> Note:
    """Return the note that a file's JSON is.

    Raises:
        ValueError, KeyError, TypeError, AttributeError: it is none.
        HooksInvalid: its hooks are none of this release.
    """
    if data["schema"] != _SCHEMA:
        raise ValueError(f"schema {data['schema']!r}")
    mark, interrupted = data["mark"], data["interrupted"]
    if not isinstance(mark, str) or not mark.isalnum() or not isinstance(interrupted, bool):
        raise ValueError("no mark, or not whether the host was interrupted")
    if not isinstance(data["hooks"], Mapping):
        raise TypeError("no hooks")
    return Note(
        mark=mark,
        since=str(data["since"]),
        hooks=parse_hooks(data["hooks"]),
        units=tuple(map(str, data["units"])),
        interrupted=interrupted,
    )


def read_note(root: Path = Path("/")) -> Note | None:
    """Return the host's note, None where there is none.

    Raises:
        StateUnreadable, HooksInvalid: the file is damaged or of another release.
        OSError: it is there and cannot be read.
    """
    return read_state(
        root / NOTE,
        parse_note,
        want="the note of a host that gpufleet drained",
        remedy=f"give the host its work back by hand, remove /{NOTE}, then run again",
    )


def write_note(root: Path, note: Note) -> None:
    """Write the note, whole and on disk.

    Raises:
        OSError: the file system refused; a former note stands.
    """
    atomic_write(root / NOTE, _encoded(note))


def interrupted(root: Path) -> Note | None:
    """Note that what the host ran ends now; return the note, None where there is none.

    Raises:
        as read_note and write_note.
    """
    note = read_note(root)
    if note is None or note.interrupted:
        return note
    note = replace(note, interrupted=True)
    write_note(root, note)
    return note


def forget(root: Path) -> bool:
    """Remove the note, and its directory where nothing else is in it; return whether it was there.

    Raises:
        OSError: the file system refused.
    """
    removed = remove(root / NOTE)
    remove_empty((root / NOTE).parent)
    return removed


def as_diff(root: Path, before: Note | None, after: Note | None) -> dict[str, str]:
    """Return Ansible's diff record of the note."""
    old, new = (_encoded(note) if note else None for note in (before, after))
    return FileChange(root / NOTE, old, new).as_diff()


def _encoded(note: Note) -> bytes:
    return (json.dumps(note.as_dict(), indent=2, sort_keys=True) + "\n").encode()
