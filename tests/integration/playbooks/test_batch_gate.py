# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The gate at the head of each batch stops the fleet where Ansible's own guards go on.

Real ansible-playbook runs over local connections; a host is lost by pointing ssh at a closed port
of the loopback address. Each case is also run without the gate, as the control that goes on.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

GATE = Path(__file__).parents[3] / "playbooks" / "tasks" / "gate_batch.yml"
HOSTS = ("first", "second", "third", "fourth")


def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def touched_hosts(folder: Path, *, lost: list[str], failed: list[str], gated: bool) -> set[str]:
    """Run a play in batches of two and return the hosts that the change reached."""
    inventory = {
        "all": {
            "hosts": {name: {} for name in HOSTS},
            "vars": {
                "ansible_connection": "local",
                "ansible_python_interpreter": sys.executable,
                "closed_port": closed_port(),
                "lost": lost,
                "broken": failed,
                "marks": str(folder),
            },
        }
    }
    lose = {
        "name": "Lose a host",
        "ansible.builtin.ping": {},
        "when": "inventory_hostname in lost",
        "vars": {
            "ansible_connection": "ssh",
            "ansible_host": "127.0.0.1",
            "ansible_port": "{{ closed_port }}",
            "ansible_ssh_retries": 0,
        },
    }
    change = {
        "name": "Change the host",
        "ansible.builtin.file": {
            "path": "{{ marks }}/{{ inventory_hostname }}",
            "state": "touch",
            "mode": "0644",
        },
    }
    fail = {
        "name": "Fail a host",
        "ansible.builtin.fail": {},
        "when": "inventory_hostname in broken",
    }
    gate = {"name": "Gate", "ansible.builtin.import_tasks": str(GATE)}
    play = {
        "name": "Batches of two",
        "hosts": "all",
        "serial": 2,
        "gather_facts": False,
        "tasks": [*([gate] if gated else []), change, lose, fail],
    }
    (folder / "inventory.json").write_text(json.dumps(inventory))
    (folder / "play.yml").write_text(json.dumps([play]))
    subprocess.run(
        [
            Path(sys.executable).parent / "ansible-playbook",
            "-i",
            folder / "inventory.json",
            folder / "play.yml",
        ],
        env={**os.environ, "ANSIBLE_LOCALHOST_WARNING": "false"},
        capture_output=True,
        timeout=120,
        check=False,
    )
    return {name for name in HOSTS if (folder / name).exists()}


@pytest.mark.parametrize(
    ("lost", "failed"),
    [(["second"], []), (["first"], []), ([], ["second"]), (["first"], ["second"])],
    ids=["one lost", "the canary lost", "one failed", "one lost and one failed"],
)
def test_no_batch_starts_after_a_lost_or_failed_host(
    tmp_path: Path, lost: list[str], failed: list[str]
) -> None:
    assert touched_hosts(tmp_path, lost=lost, failed=failed, gated=True) == {"first", "second"}


def test_every_batch_runs_when_all_hosts_come_through(tmp_path: Path) -> None:
    assert touched_hosts(tmp_path, lost=[], failed=[], gated=True) == set(HOSTS)


def test_without_the_gate_a_lost_host_does_not_stop_the_fleet(tmp_path: Path) -> None:
    assert touched_hosts(tmp_path, lost=["second"], failed=[], gated=False) == set(HOSTS)
