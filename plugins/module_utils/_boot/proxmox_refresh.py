# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""proxmox-boot-tool refresh as a step: what it is told to fill, and what it says that it filled."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from .._host.commands import run
from .._host.files import read_text
from .interface import STATE_DIRECTORY, BootConfigurationRefused, StateFile

PARTITIONS = Path("etc/kernel/proxmox-boot-uuids")
PENDING = STATE_DIRECTORY / "proxmox-refresh-pending"
# Kernels and initial file systems are copied to each partition.
_REFRESH_SECONDS = 600.0
_DONE = "Copying and configuring kernels on /dev/disk/by-uuid/"


class RefreshTool(Protocol):
    """What copies the configuration to the partitions."""

    def refresh(self) -> str:
        """Fill every partition anew; return what was said."""


class ProxmoxBootTool:
    """The proxmox-boot-tool of this host."""

    def refresh(self) -> str:
        """Run ``proxmox-boot-tool refresh`` and return its output.

        Raises:
            CommandFailed, CommandMissing, CommandTimedOut.
        """
        result = run(["proxmox-boot-tool", "refresh"], timeout=_REFRESH_SECONDS)
        return result.stdout + result.stderr


@dataclass(frozen=True)
class MarkPending(StateFile):
    """The step before a refresh: the partitions will not be known to agree with the files."""

    def undo(self) -> None:
        """Leave the mark: what a refresh that failed has copied is not known."""


@dataclass(frozen=True)
class Refresh:
    """A step: have the tool fill every partition that is listed."""

    root: Path
    tool: RefreshTool

    @property
    def name(self) -> str:
        """What the step does."""
        return "proxmox-boot-tool refresh"

    def apply(self) -> bool:
        """Refresh; the tool skips partitions with a mere warning, so each has to be told of.

        Raises:
            BootConfigurationRefused: a listed partition was left out.
            CommandFailed, CommandMissing, CommandTimedOut.
        """
        said = self.tool.refresh()
        listed = (read_text(self.root / PARTITIONS) or "").split()
        left_out = [uuid for uuid in listed if f"{_DONE}{uuid}" not in said]
        if left_out or not listed:
            raise BootConfigurationRefused(
                "boot_partition_not_refreshed",
                read=f"proxmox-boot-tool refresh left out {', '.join(left_out) or 'everything'}:"
                f" {said.strip()[-400:]}",
                want=f"every partition of /{PARTITIONS} to be filled",
                remedy="mend what it names, or run proxmox-boot-tool clean; then run again",
            )
        return True

    def undo(self) -> None:
        """Fill the partitions from the files as they are again."""
        self.tool.refresh()

    def as_diff(self) -> dict[str, str]:
        """Return Ansible's diff record."""
        header = "partitions of proxmox-boot-tool"
        return {
            "before_header": header,
            "after_header": header,
            "before": "",
            "after": "filled from the files\n",
        }
