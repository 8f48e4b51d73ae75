# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reaching the lab's machines by ssh, with nothing written into the user's own ssh files."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.gpufleet.p2p.plugins.module_utils._host.commands import (
    CommandResult,
    run,
)
from ansible_collections.gpufleet.p2p.plugins.module_utils._host.errors import GpufleetError

from .ports import LOOPBACK

SSH_OPTIONS = (
    # A machine of the lab gets a new host key whenever it is made anew.
    "-o",
    "UserKnownHostsFile=/dev/null",
    "-o",
    "StrictHostKeyChecking=no",
    "-o",
    "LogLevel=ERROR",
    "-o",
    "IdentitiesOnly=yes",
)
_PROBE_SECONDS = 1.0


class MachineSilent(GpufleetError):
    """A machine did not answer by ssh in time."""


@dataclass(frozen=True)
class Address:
    """One ssh server of the lab on the loopback."""

    name: str
    port: int
    key: Path

    def argv(self, *, batch: bool = True) -> list[str]:
        """Return the ssh command line that a remote command can be added to."""
        asked = ["-o", "BatchMode=yes", "-o", "ConnectTimeout=10"] if batch else []
        return [
            "ssh",
            *SSH_OPTIONS,
            *asked,
            *("-i", str(self.key), "-p", str(self.port), f"root@{LOOPBACK}"),
        ]

    def run(
        self,
        command: Sequence[str],
        *,
        timeout: float = 60.0,
        check: bool = True,
        stdin: str | None = None,
    ) -> CommandResult:
        """Run a command line, which the remote shell reads, and return its result.

        Raises:
            CommandFailed, CommandTimedOut: as commands.run.
        """
        return run([*self.argv(), *command], timeout=timeout, check=check, stdin=stdin)

    def answers(self) -> bool:
        """Return whether a login works now."""
        return self.run(["true"], check=False, timeout=60.0).rc == 0


def make_key(path: Path) -> None:
    """Make a lab's key pair, unless it is there."""
    if path.exists() and path.with_suffix(".pub").exists():
        return
    path.unlink(missing_ok=True)
    run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "gpufleet-lab", "-f", str(path)])


def wait_for_login(
    address: Address, seconds: float, check_alive: Callable[[], None], log: Path
) -> None:
    """Wait until a login works.

    Args:
        address: whom to wait for.
        seconds: how long.
        check_alive: raises once waiting has become pointless.
        log: where the reason is to be looked for.

    Raises:
        MachineSilent: no login worked in time.
    """
    deadline = time.monotonic() + seconds
    while not address.answers():
        check_alive()
        if time.monotonic() > deadline:
            raise MachineSilent(
                "lab_machine_silent",
                read=f"{address.name} gave no login on port {address.port} in {seconds:g} s",
                want="an ssh login as root",
                remedy=f"read {log}; then run `gpufleet lab reset`",
            )
        time.sleep(_PROBE_SECONDS)
