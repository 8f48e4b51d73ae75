# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The gate at the head of each batch stops the fleet, on every supported ansible-core.

Each row is a way to lose hosts under one of Ansible's own guards. It is run with the product's gate
and, as the control, with the guard alone: what that does is recorded as it was found, also where
the guard is enough. Real ansible-playbook runs; hosts are lost by a connection that fails as ssh's
does, and in one case by ssh itself on a closed port of the loopback address.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml
from support import ansible_versions
from support.ansible_versions import AnsibleLine

ROOT = Path(__file__).parents[3]
TASKS = ROOT / "playbooks/tasks"
CONNECTIONS = ROOT / "tests/support/connection_plugins"
HOSTS = ("first", "second", "third", "fourth", "fifth", "sixth")
CANARY: list[int | str] = [1, 2, "100%"]
LINES = ansible_versions.lines()


@dataclass(frozen=True)
class Row:
    """Hosts that are lost or fail in their batch, and what the guard alone makes of it.

    Attributes:
        guard: the play's own guard.
        at_once: the failure comes in the task in which the others are lost, not in the next.
        rescue: what a rescue around the tasks does: nothing there, ``swallow`` or ``fail`` again.
        reached: hosts that the change reaches under the guard alone.
        succeeds: whether that run ends with 0.
    """

    name: str
    serial: Any
    lost: tuple[str, ...]
    failed: tuple[str, ...]
    reached: tuple[str, ...]
    guard: dict[str, Any] = field(default_factory=dict)
    at_once: bool = False
    rescue: str | None = None
    succeeds: bool = False

    @property
    def first_batch(self) -> set[str]:
        """The hosts of the batch in which something goes wrong: the gate lets no other begin."""
        return set(HOSTS[:1] if self.serial == CANARY else HOSTS[:2])


FATAL, NONE_MAY_FAIL = {"any_errors_fatal": True}, {"max_fail_percentage": 0}
ROWS = [
    Row("canary lost, any_errors_fatal", CANARY, ("first",), (), HOSTS, FATAL),
    Row("canary lost, no guard", CANARY, ("first",), (), HOSTS[:1]),
    Row("canary lost, max_fail_percentage", CANARY, ("first",), (), HOSTS[:1], NONE_MAY_FAIL),
    Row("one of two lost, no guard", 2, ("second",), (), HOSTS),
    Row("one of two lost, any_errors_fatal", 2, ("second",), (), HOSTS, FATAL),
    Row("one of two lost, max_fail_percentage", 2, ("second",), (), HOSTS, NONE_MAY_FAIL),
    Row("one lost, one failed", 2, ("first",), ("second",), HOSTS, NONE_MAY_FAIL, at_once=True),
    Row("one lost, then one failed", 2, ("first",), ("second",), HOSTS[:2], NONE_MAY_FAIL),
    Row("failure swallowed", 2, (), ("second",), HOSTS, rescue="swallow", succeeds=True),
    Row("failure told again", 2, (), ("second",), HOSTS[:2], FATAL, rescue="fail"),
]


@dataclass(frozen=True)
class Run:
    """What a run reached: hosts by note, and its return code."""

    changed: set[str]
    rescued: set[str]
    code: int
    text: str


def play(row: Row, folder: Path, *, gated: bool) -> dict[str, Any]:
    """Return the row's play: change each host, then lose some and fail some."""
    change = [
        {"name": "Change the host", "ansible.builtin.raw": f"note {folder}/changed"},
        {
            "name": "Ask the host",
            "ansible.builtin.raw": "answer",
            "vars": {"ansible_connection": "{{ asked_by }}"},
            "failed_when": row.at_once and "inventory_hostname in failed",
        },
        {"name": "Fail", "ansible.builtin.fail": {}, "when": "inventory_hostname in failed"},
    ]
    if gated:
        gate = {"name": "Gate", "ansible.builtin.import_tasks": str(TASKS / "gate_batch.yml")}
        end = {"name": "End", "ansible.builtin.import_tasks": str(TASKS / "came_through.yml")}
        change = [gate, *change, end]
    tasks: list[dict[str, Any]] = change
    if row.rescue is not None:
        rescue = [{"name": "Note the rescue", "ansible.builtin.raw": f"note {folder}/rescued"}]
        if row.rescue == "fail":
            rescue.append({"name": "Fail again", "ansible.builtin.fail": {}})
        tasks = [{"name": "Take the host", "block": change, "rescue": rescue}]
    named = {"name": "Batches", "hosts": "all", "gather_facts": False, "serial": row.serial}
    return {**named, **row.guard, "tasks": tasks}


def run(line: AnsibleLine, row: Row, folder: Path, *, gated: bool, **connection: Any) -> Run:
    """Run the row's play with a line of ansible-core."""
    scripted = {"ansible_connection": "scripted", "asked_by": "scripted"}
    wrong = {"lost": list(row.lost), "failed": list(row.failed)}
    variables = {**scripted, **wrong, **connection}
    inventory = {"all": {"hosts": {name: {} for name in HOSTS}, "vars": variables}}
    (folder / "inventory.json").write_text(json.dumps(inventory))
    (folder / "play.yml").write_text(json.dumps([play(row, folder, gated=gated)]))
    ended = subprocess.run(
        [line.playbook_program(), "-i", folder / "inventory.json", folder / "play.yml"],
        env={
            **{name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
            "ANSIBLE_COLLECTIONS_PATH": str(ROOT / "collection"),
            "ANSIBLE_CONNECTION_PLUGINS": str(CONNECTIONS),
            "ANSIBLE_FORKS": "2",
        },
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    noted = {
        name: {path.name for path in folder.glob(f"{name}/*")} for name in ("changed", "rescued")
    }
    return Run(**noted, code=ended.returncode, text=ended.stdout + ended.stderr)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
@pytest.mark.parametrize("line", LINES, ids=lambda line: line.name)
class TestTable:
    def test_the_gate_stops_the_fleet(self, tmp_path: Path, line: AnsibleLine, row: Row) -> None:
        found = run(line, row, tmp_path, gated=True)
        assert found.changed == row.first_batch, found.text
        # Whoever swallows failures swallows the gate's too: nothing is changed, but nobody is told.
        assert (found.code != 0) is (row.rescue != "swallow")

    def test_control_without_the_gate(self, tmp_path: Path, line: AnsibleLine, row: Row) -> None:
        found = run(line, row, tmp_path, gated=False)
        assert found.changed == set(row.reached), found.text
        assert (found.code == 0) is row.succeeds
        if row.rescue == "fail":
            # any_errors_fatal sends the hosts that came through into the rescue as well.
            assert found.rescued == row.first_batch


@pytest.mark.parametrize("line", LINES, ids=lambda line: line.name)
def test_every_batch_runs_when_all_hosts_come_through(tmp_path: Path, line: AnsibleLine) -> None:
    sound = Row("sound", CANARY, (), (), HOSTS)
    found = run(line, sound, tmp_path, gated=True)
    assert found.changed == set(HOSTS), found.text
    assert found.code == 0


def test_a_host_that_ssh_does_not_reach_stops_the_fleet(tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    # The change is noted by the script; the question goes to a port that nobody listens on.
    closed = {
        "asked_by": "{{ 'ssh' if inventory_hostname == 'second' else 'scripted' }}",
        "ansible_host": "127.0.0.1",
        "ansible_port": port,
        "ansible_ssh_retries": 0,
    }
    row = Row("ssh", 2, (), (), HOSTS)
    for gated, reached in ((True, row.first_batch), (False, set(HOSTS))):
        folder = tmp_path / f"gated-{gated}"
        folder.mkdir()
        found = run(LINES[0], row, folder, gated=gated, **closed)
        assert found.changed == reached, found.text
        assert "UNREACHABLE" in found.text


def test_the_lines_begin_where_the_collection_does() -> None:
    required = yaml.safe_load((ROOT / "meta/runtime.yml").read_text())["requires_ansible"]
    assert required == f">={LINES[0].name}.0"
    assert [line.version.rpartition(".")[0] for line in LINES] == [line.name for line in LINES]


def test_the_newest_line_is_the_one_that_development_uses() -> None:
    pins = (ROOT / "constraints.txt").read_text()
    assert f"ansible-core=={LINES[-1].version} ; python_version" in pins
