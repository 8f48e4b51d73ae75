# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""systemd's units: which one a process belongs to, and some of them stopped for a while."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

from .commands import CommandFailed, CommandTimedOut, run
from .errors import GpufleetError
from .files import read_text

# systemctl waits for a unit's own time-outs, 90 s each by default.
_CHANGE_SECONDS = 300.0
# systemd.unit(5); a name without one of them is a service's.
_SUFFIXES = (".service", ".scope", ".socket", ".target", ".mount", ".timer", ".path", ".slice")
_HIERARCHIES = ("", "name=systemd")


class ServiceRefused(GpufleetError):
    """A unit could not be stopped, or not be started again."""


def unit_name(name: str) -> str:
    """Return a unit's full name, as systemctl completes it."""
    return name if name.endswith(_SUFFIXES) else f"{name}.service"


def unit_of(root: Path, pid: int) -> str | None:
    """Return the system's unit that a process belongs to, None where it has none or is gone.

    It is the first part of the control group's path below the slices, as in systemd's
    cg_path_get_unit(); a process of a user's session belongs to ``user@UID.service`` or a scope.
    """
    for line in (read_text(root / "proc" / str(pid) / "cgroup") or "").splitlines():
        _number, _colon, rest = line.partition(":")
        hierarchy, _colon, path = rest.partition(":")
        if hierarchy not in _HIERARCHIES:
            continue
        for part in PurePosixPath(path).parts[1:]:
            if not part.endswith(".slice"):
                return part if part.endswith((".service", ".scope")) else None
    return None


def active(units: Sequence[str], root: Path = Path("/")) -> tuple[str, ...]:
    """Return those of the units that run; none where systemd does not run."""
    if not (root / "run/systemd/system").is_dir():
        return ()
    return tuple(unit for unit in units if _systemctl("is-active", unit, check=False) == 0)


@contextlib.contextmanager
def stopped(units: Sequence[str], root: Path = Path("/")) -> Iterator[tuple[str, ...]]:
    """Stop those of the units that run, in order; start them again at the end, however it ends.

    Raises:
        ServiceRefused: a unit did not stop (those before it run again), or not start again.
    """
    running = active(units, root)
    try:
        for unit in running:
            _change(
                "stop", unit, code="service_not_stopped", remedy="stop it yourself, then run again"
            )
        yield running
    finally:
        _start_again(tuple(reversed(running)))


def _start_again(units: Sequence[str]) -> None:
    """Start all of the units; only then tell of the first that did not start."""
    refusals = []
    for unit in units:
        try:
            _change(
                "start", unit, code="service_not_started", remedy=f"see journalctl --unit={unit}"
            )
        except ServiceRefused as refusal:
            refusals.append(refusal)
    if refusals:
        raise refusals[0]


def _change(verb: str, unit: str, *, code: str, remedy: str) -> None:
    try:
        _systemctl(verb, unit)
    except (CommandFailed, CommandTimedOut) as error:
        raise ServiceRefused(
            code, read=error.read, want=f"systemctl {verb} {unit} to succeed", remedy=remedy
        ) from error


def _systemctl(verb: str, unit: str, *, check: bool = True) -> int:
    return run(["systemctl", verb, "--", unit], check=check, timeout=_CHANGE_SECONDS).rc
