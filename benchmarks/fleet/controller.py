# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs of ansible-playbook against simulated hosts, with what they cost the controller."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
_MEASURED = Path(__file__).with_name("measured.py")
_RECAP = re.compile(
    r"^(?P<host>\S+)\s+: ok=(?P<ok>\d+)\s+changed=(?P<changed>\d+)\s+"
    r"unreachable=(?P<unreachable>\d+)\s+failed=(?P<failed>\d+)\s+skipped=(?P<skipped>\d+)",
    re.MULTILINE,
)


class RunFailed(Exception):
    """A run could not be measured; the message says where its output is."""


@dataclass(frozen=True)
class Run:
    """One run: its costs in seconds, its status, and the recap's counts by host."""

    status: int
    wall_seconds: float
    user_seconds: float
    system_seconds: float
    recap: Mapping[str, Mapping[str, int]]

    @property
    def cpu_seconds(self) -> float:
        """CPU time of the controller's processes, in user and kernel mode."""
        return self.user_seconds + self.system_seconds

    def troubles(self, hosts: int) -> list[str]:
        """Return what keeps the run from being one over ``hosts`` converged hosts."""
        found = [] if self.status == 0 else [f"ansible-playbook ended with {self.status}"]
        if len(self.recap) != hosts:
            found.append(f"{len(self.recap)} hosts in the recap instead of {hosts}")
        for host, counts in sorted(self.recap.items()):
            wrong = [name for name in ("changed", "unreachable", "failed") if counts[name]]
            found += [f"{host}: {name}={counts[name]}" for name in wrong]
        return found


def play(
    playbook: Path, inventory: Mapping[str, Any], directory: Path, options: Sequence[str] = ()
) -> Run:
    """Run a playbook with the checkout's ansible.cfg and return what it cost.

    Args:
        playbook: its file.
        inventory: as JSON.
        directory: keeps inventory, output.log and the report.
        options: more arguments of ansible-playbook.

    Raises:
        RunFailed: it ended without a measurement.
    """
    directory.mkdir(parents=True, exist_ok=True)
    listed = directory / "inventory.json"
    listed.write_text(json.dumps(inventory, indent=1), encoding="utf-8")
    listed.chmod(0o600)
    costs, output = directory / "costs.json", directory / "output.log"
    costs.unlink(missing_ok=True)
    programs = Path(sys.executable).parent
    # A path of its own for ssh's sockets: their names are too long below most other directories.
    with tempfile.TemporaryDirectory(prefix="gf-") as sockets, output.open("wb") as log:
        ended = subprocess.run(
            [
                *(sys.executable, str(_MEASURED), str(costs)),
                *(str(programs / "ansible-playbook"), "-i", str(listed), *options, str(playbook)),
            ],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=directory,
            env={
                **os.environ,
                "PATH": f"{programs}{os.pathsep}{os.environ.get('PATH', '')}",
                "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
                "ANSIBLE_COLLECTIONS_PATH": str(ROOT / "collection"),
                "ANSIBLE_SSH_CONTROL_PATH_DIR": sockets,
                "ANSIBLE_NOCOLOR": "true",
            },
            check=False,
        )
    if not costs.exists():
        last = output.read_text(encoding="utf-8", errors="replace")[-2000:]
        raise RunFailed(f"{_MEASURED.name} ended with {ended.returncode}: {output}\n{last}")
    told = json.loads(costs.read_text(encoding="utf-8"))
    return Run(
        told["status"],
        told["wall_seconds"],
        told["user_seconds"],
        told["system_seconds"],
        recap_of(output.read_text(encoding="utf-8", errors="replace")),
    )


def recap_of(output: str) -> dict[str, dict[str, int]]:
    """Return the counts of PLAY RECAP by host."""
    recap = output.rpartition("PLAY RECAP")[2]
    return {
        found["host"]: {name: int(found[name]) for name in found.groupdict() if name != "host"}
        for found in _RECAP.finditer(recap)
    }
