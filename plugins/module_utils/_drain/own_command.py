# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The operator's own commands, given as lists of words; no shell reads them."""

from __future__ import annotations

from .._host.commands import run
from .hooks import Hooks
from .method import Method, Seen, Standing, Work

_ANSWER_SECONDS = 60.0


class OwnCommand(Method):
    """The commands drain, restore and, where there is one, check.

    Whose drain it is is known by the note alone: ``noted`` says that it was there before this run.
    """

    def __init__(self, hooks: Hooks, *, noted: bool) -> None:
        self.hooks = hooks
        self.noted = noted

    def look(self) -> Seen:
        """Return OTHER where check says drained and no note does; without check it cannot tell."""
        if self.noted:
            return Seen(Standing.OURS, "noted on the host")
        if not self.hooks.check:
            return Seen(Standing.FREE, "not noted on the host, and no check is given")
        said = run(self.hooks.check, timeout=_ANSWER_SECONDS, check=False)
        standing = Standing.OTHER if said.rc == 0 else Standing.FREE
        return Seen(standing, f"{self.hooks.check[0]} returned {said.rc}")

    def drain(self) -> None:
        """Nothing: work() runs the command, which also a killed run's successor has to."""

    def work(self) -> Work:
        """Run the command, which returns when the work has ended; not where others drained."""
        seen = self.look()
        if seen.standing is Standing.OTHER:
            return Work(True, seen.read)
        run(self.hooks.drain, timeout=float(self.hooks.timeout))
        return Work(True, f"{self.hooks.drain[0]} returned 0")

    def restore(self) -> None:
        """Run the command that lets the host have work again."""
        run(self.hooks.restore, timeout=float(self.hooks.timeout))
