# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The guard on a host: which files it consists of, and how it comes and goes without a trace."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Union

from .._host.commands import run
from .._host.files import FileChange, Link, atomic_write, read_bytes, remove
from .._host.state_file import read_state
from .alarm import metrics_file
from .places import ALARM, MOTD, PROGRAM, RECORD, SETTINGS, STATE_DIRECTORY, Settings, below
from .units import SERVICE, TIMER, service_text, timer_text

#: Debian's kernel packages call what lies here in order of name. Ours comes last: after dkms has
#: built, the initramfs is made and update-grub has written the menu.
HOOK_DIRECTORIES = (
    Path("/etc/kernel/postinst.d"),
    Path("/etc/kernel/header_postinst.d"),
    Path("/etc/kernel/postrm.d"),
)
HOOK_NAME = "zzz-gpufleet"
UNIT_DIRECTORY = Path("/etc/systemd/system")
ENABLEMENT = UNIT_DIRECTORY / "timers.target.wants" / TIMER
#: Directories that were made for the guard, and so go with it.
MADE = STATE_DIRECTORY / "guard/directories.json"

_HOOK = f"""\
#!/bin/sh
# Written by gpufleet: sees whether each kernel has the GPU driver, and keeps the host booting one
# that has. It never fails a kernel's installation; what is wrong is told in the journal, at login
# and in the metrics.
exec </dev/null >&2
[ -x {PROGRAM} ] || exit 0
{PROGRAM} kernels || :
exit 0
"""


@dataclass(frozen=True)
class Wanted:
    """What is to be on the host: the program's bytes and its settings."""

    program: bytes
    settings: Settings
    interval_minutes: int = 60


Change = Union[FileChange, Link]


def files(wanted: Wanted) -> dict[Path, tuple[bytes, int]]:
    """Return every file of the guard with its content and mode."""
    unit = {
        UNIT_DIRECTORY / SERVICE: service_text(wanted.settings),
        UNIT_DIRECTORY / TIMER: timer_text(wanted.interval_minutes),
    }
    return {
        PROGRAM: (wanted.program, 0o755),
        SETTINGS: (wanted.settings.as_json(), 0o644),
        **{path: (text.encode(), 0o644) for path, text in unit.items()},
        **{directory / HOOK_NAME: (_HOOK.encode(), 0o755) for directory in HOOK_DIRECTORIES},
    }


def plan_present(wanted: Wanted, root: Path = Path("/")) -> list[Change]:
    """Return what has to change for the guard to be as wanted; empty: it is."""
    changes: list[Change] = []
    for path, (content, mode) in files(wanted).items():
        place = below(root, path)
        if read_bytes(place) != content or _mode_of(place) != mode or not _is_own(place):
            changes.append(FileChange(place, read_bytes(place), content, mode))
    link = Link(below(root, ENABLEMENT), str(UNIT_DIRECTORY / TIMER))
    return [*changes, *([link] if link.is_change else [])]


def plan_absent(settings: Settings, root: Path = Path("/")) -> list[Change]:
    """Return what has to go; the hooks first, so that none calls a program that is gone."""
    link = Link(below(root, ENABLEMENT), None)
    paths = [
        *(directory / HOOK_NAME for directory in HOOK_DIRECTORIES),
        UNIT_DIRECTORY / TIMER,
        UNIT_DIRECTORY / SERVICE,
        PROGRAM,
        SETTINGS,
        RECORD,
        ALARM,
        MOTD,
    ]
    places = [*(below(root, path) for path in paths), metrics_file(settings, root)]
    changes: list[Change] = [link] if link.is_change else []
    for place in places:
        if place.exists() or place.is_symlink():
            changes.append(FileChange(place, read_bytes(place) or b"", None))
    return changes


def apply_present(changes: Sequence[Change], root: Path = Path("/")) -> None:
    """Make the changes of plan_present.

    Raises:
        OSError: the file system refused; run again to complete or to remove what there is.
    """
    _note_directories([change.path.parent for change in changes], root)
    for change in changes:
        change.path.parent.mkdir(parents=True, exist_ok=True, mode=0o755)
        if isinstance(change, FileChange) and change.path.exists():
            os.chown(change.path, os.geteuid(), os.getegid())
        change.apply()


def apply_absent(changes: Sequence[Change], root: Path = Path("/")) -> None:
    """Make the changes of plan_absent, and remove the directories that were made for the guard.

    Raises:
        StateUnreadable: the list of these directories is damaged; nothing was touched.
    """
    made = read_made(root)
    for change in changes:
        change.apply()
    remove(below(root, MADE))
    always = [MADE.parent, STATE_DIRECTORY]
    for directory in sorted(
        {*map(Path, made), *always}, key=lambda path: len(path.parts), reverse=True
    ):
        place = below(root, directory)
        if place.is_dir() and not any(place.iterdir()):
            place.rmdir()


def read_made(root: Path = Path("/")) -> frozenset[str]:
    """Return the directories that were made for the guard.

    Raises:
        StateUnreadable: their list is damaged.
    """
    found = read_state(
        below(root, MADE),
        parse_made,
        want="a list of the directories that were made for the guard",
        remedy="remove that file, run again, and remove empty directories of the guard by hand"
        " (docs/guard.md lists them)",
    )
    return found or frozenset()


def parse_made(fields: Any) -> frozenset[str]:
    """Return the absolute paths in a file's JSON.

    Raises:
        ValueError: it is not a list of these.
    """
    whole = isinstance(fields, list) and all(
        isinstance(text, str) and text.startswith("/") and ".." not in Path(text).parts
        for text in fields
    )
    if not whole:
        raise ValueError("no list of absolute paths")
    return frozenset(fields)


def start(root: Path = Path("/")) -> None:
    """Let systemd see the timer and start it, where systemd runs.

    Raises:
        CommandFailed: systemd refuses the units.
    """
    if (root / "run/systemd/system").is_dir():
        run(["systemctl", "daemon-reload"])
        run(["systemctl", "restart", TIMER])


def stop(root: Path = Path("/")) -> None:
    """Stop the timer and a look that is under way, where systemd runs."""
    if (root / "run/systemd/system").is_dir():
        run(["systemctl", "stop", TIMER, SERVICE], check=False)


def forget_units(root: Path = Path("/")) -> None:
    """Let systemd forget the units whose files are gone, where systemd runs."""
    if (root / "run/systemd/system").is_dir():
        run(["systemctl", "daemon-reload"])
        run(["systemctl", "reset-failed", TIMER, SERVICE], check=False)


def _note_directories(directories: Sequence[Path], root: Path) -> None:
    """Remember which directories are missing, before they are made."""
    missing = set()
    for directory in directories:
        for place in (directory, *directory.parents):
            if place == root or place.is_dir():
                break
            missing.add("/" + str(place.relative_to(root)))
    known = read_made(root)
    if missing - known:
        atomic_write(below(root, MADE), json.dumps(sorted(missing | known)).encode())


def _mode_of(path: Path) -> int | None:
    return path.stat().st_mode & 0o7777 if path.exists() else None


def _is_own(path: Path) -> bool:
    """Whether the file belongs to whom this runs as: root."""
    status = path.stat()
    return (status.st_uid, status.st_gid) == (os.geteuid(), os.getegid())
