# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The simulated hosts as the controller sees them: their server's process and their inventory."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.fleet.machine import GPU_MATCH
from gpufleet.lab.ports import LOOPBACK
from gpufleet.lab.remote import SSH_OPTIONS, Address

ROOT = Path(__file__).resolve().parents[2]
_SIMULATED = ROOT / "lab/simulated_driver"
_SERVER = Path(__file__).with_name("server.py")
_SSHD = (
    *("/usr/sbin/sshd", "-i", "-e", "-o", "UsePAM=no", "-o", "StrictModes=no"),
    # One line for each command that is run: what remote executions are counted by.
    *("-o", "LogLevel=VERBOSE"),
)


@dataclass(frozen=True)
class System:
    """What hosts are made of (seed.py makes it): the files of the system, its kernel's, its boot's.

    Attributes:
        layers: overlayfs' lowerdir.
        machine: directory with the proc/ and sys/ that its kernel shows.
        boot_image: file system of /boot.
        kernel: release of the kernel that runs.
        key: private ssh key of root.
        builds: the controller's cache of driver builds.
    """

    layers: str
    machine: Path
    boot_image: Path
    kernel: str
    key: Path
    builds: Path


class Hosts:
    """Hosts that listen for ssh."""

    def __init__(self, system: System, server: subprocess.Popen[str], ports: dict[str, int]):
        self._system = system
        self._server = server
        self._ports = ports

    def address(self, name: str) -> Address:
        """Return where a host listens."""
        return Address(name, self._ports[name], self._system.key)

    def inventory(self, count: int | None = None, **variables: Any) -> dict[str, Any]:
        """Return an inventory of the first hosts, as Ansible reads JSON; with group variables."""
        names = list(self._ports)[:count]
        hosts = {"hosts": {name: {"ansible_port": self._ports[name]} for name in names}}
        driver = {
            "version": "595.58.03",
            "source": {"path": str(_SIMULATED / "kernel")},
            "patches": [str(_SIMULATED / "patches/peer-to-peer.patch")],
        }
        common = {
            "ansible_host": LOOPBACK,
            "ansible_user": "root",
            "ansible_python_interpreter": "/usr/bin/python3",
            "ansible_ssh_private_key_file": str(self._system.key),
            "ansible_ssh_common_args": " ".join(SSH_OPTIONS),
        }
        wanted = {
            "p2p_gpu_match": [GPU_MATCH],
            "p2p_driver": driver,
            "p2p_cache_dir": str(self._system.builds),
            **variables,
        }
        return {
            "all": {
                "vars": common,
                "children": {
                    "p2p_hosts": {**hosts, "vars": wanted},
                    # A build host, as a fleet has one.
                    "p2p_builders": {"hosts": {names[0]: {}}},
                },
            }
        }

    def spent(self) -> dict[str, Any]:
        """Return the connections, sessions and CPU seconds of all hosts since they listen.

        Waits until no connection is left.
        """
        return self._ask("spent")

    def _ask(self, line: str) -> dict[str, Any]:
        if self._server.stdin is None or self._server.stdout is None:
            raise ValueError("the server was started without pipes")
        self._server.stdin.write(line + "\n")
        self._server.stdin.flush()
        answer: dict[str, Any] = json.loads(self._server.stdout.readline())
        return answer


@contextmanager
def serve(system: System, directories: Mapping[str, Path]) -> Iterator[Hosts]:
    """Let hosts listen while the block runs.

    Args:
        system: what they are made of.
        directories: by name, where each host keeps its own changes.
    """
    description = {
        "layers": system.layers,
        "machine": str(system.machine),
        "boot_image": str(system.boot_image),
        "hosts": {name: str(path) for name, path in directories.items()},
        "server": list(_SSHD),
    }
    with subprocess.Popen(
        [
            *("setpriv", "--pdeathsig", "KILL", "unshare", "--mount", "--propagation", "private"),
            *(sys.executable, str(_SERVER)),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as server:
        if server.stdin is None or server.stdout is None:
            raise ValueError("the server was started without pipes")
        server.stdin.write(json.dumps(description) + "\n")
        server.stdin.flush()
        answer = server.stdout.readline()
        if not answer:
            raise RuntimeError(f"the hosts' server ended with status {server.wait()}")
        try:
            yield Hosts(system, server, json.loads(answer)["ports"])
        finally:
            server.stdin.close()
            server.wait()
