# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Plain systemd units: stopped, kept from starting at the host's restart, started again.

A drop-in keeps each unit from starting as long as the note stands on the host. The note is the one
switch: without it a drop-in that was left over does nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from .._host.commands import run
from .._host.files import atomic_write, remove, remove_empty
from .hooks import Hooks
from .method import DrainRefused, Method, Seen, Standing, Work
from .note import NOTE

_UNIT_DIRECTORY = Path("etc/systemd/system")
_DROP_IN = "zz-gpufleet-drained.conf"
_DROP_IN_TEXT = f"# Written by gpufleet.\n[Unit]\nConditionPathExists=!/{NOTE}\n"
_ANSWER_SECONDS = 60.0
_ACTIVE = ("active", "activating", "reloading", "deactivating")


def running_units(units: Sequence[str]) -> tuple[str, ...]:
    """Return those of the units that run or are about to.

    Raises:
        DrainRefused: one is not installed.
        GpufleetError: systemctl is missing or did not answer.
    """
    running = []
    for unit in units:
        shown = run(
            ["systemctl", "show", "--property=LoadState,ActiveState", "--", unit],
            timeout=_ANSWER_SECONDS,
        )
        known = dict(line.partition("=")[::2] for line in shown.stdout.splitlines())
        if known.get("LoadState") not in ("loaded", "masked"):
            raise DrainRefused(
                "drain_unit_unknown",
                read=f"{unit} is {known.get('LoadState', 'unknown')} to systemd",
                want="a unit that is installed on this host",
                remedy="correct p2p_drain.units",
            )
        if known.get("ActiveState") in _ACTIVE:
            running.append(unit)
    return tuple(running)


class Units(Method):
    """The host's own units: ``units`` all that must not run, ``started`` those to start again."""

    def __init__(
        self, hooks: Hooks, *, started: Sequence[str], noted: bool, root: Path = Path("/")
    ) -> None:
        self.units = hooks.units
        self.started = tuple(started)
        self.noted = noted
        self.root = root
        self.stop_seconds = float(hooks.timeout)

    def look(self) -> Seen:
        """Return OURS where the host's note says so: what else stopped a unit is not looked for."""
        running = running_units(self.units)
        read = f"{', '.join(running)} running" if running else f"no {', '.join(self.units)} running"
        return Seen(Standing.OURS if self.noted else Standing.FREE, read)

    def drain(self) -> None:
        """Keep the units from starting; work() stops them."""
        written = [self._write(unit) for unit in self.units]
        if any(written):
            self._systemctl("daemon-reload")

    def work(self) -> Work:
        """Stop what runs, and wait until it has stopped."""
        self.drain()
        running = running_units(self.units)
        if running:
            self._systemctl("stop", "--", *running, seconds=self.stop_seconds)
        left = running_units(self.units)
        return Work(not left, f"{', '.join(left)} still running" if left else "units stopped")

    def restore(self) -> None:
        """Let the units start again, and start those that ran before."""
        removed = [self._remove(unit) for unit in self.units]
        if any(removed):
            self._systemctl("daemon-reload")
        if self.started:
            self._systemctl("start", "--", *self.started, seconds=self.stop_seconds)

    def _drop_in(self, unit: str) -> Path:
        return self.root / _UNIT_DIRECTORY / f"{unit}.d" / _DROP_IN

    def _write(self, unit: str) -> bool:
        return atomic_write(self._drop_in(unit), _DROP_IN_TEXT.encode())

    def _remove(self, unit: str) -> bool:
        path = self._drop_in(unit)
        removed = remove(path) if path.parent.is_dir() else False
        remove_empty(path.parent)
        return removed

    @staticmethod
    def _systemctl(*arguments: str, seconds: float = _ANSWER_SECONDS) -> None:
        run(["systemctl", *arguments], timeout=seconds)
