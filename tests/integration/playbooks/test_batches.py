# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""p2p_serial is seen by both playbooks that work in batches, wherever it is set.

The plays are the playbooks' own, with their tasks replaced by one that notes its batch: how
Ansible works out `serial` depends on where the play stands in its playbook.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from support import ansible_versions
from support.ansible_versions import AnsibleLine

ROOT = Path(__file__).parents[3]
HOSTS = ("one", "two", "three", "four")
LET_THROUGH = {
    "name": "Let the host through",
    "ansible.builtin.group_by": {"key": "p2p_ready"},
    "changed_when": False,
}
TELL = {
    "name": "Tell the batch",
    "ansible.builtin.debug": {"msg": "batch: {{ ansible_play_batch | join(' ') }}"},
}


def batches(
    folder: Path,
    playbook: str,
    *,
    grouped: Any = None,
    extra: Any = None,
    imported: Any = None,
    program: Path = Path(sys.executable).parent / "ansible-playbook",
) -> list[list[str]]:
    """Run the playbook's plays on four hosts; return the batches of its last one, in order.

    ``grouped``, ``extra`` and ``imported`` are p2p_serial as a variable of the group, of the
    command line and of the playbook that imports this one.
    """
    group_variables = {} if grouped is None else {"p2p_serial": grouped}
    inventory = folder / "inventory"
    (inventory / "group_vars").mkdir(parents=True)
    (inventory / "group_vars/p2p_hosts.json").write_text(json.dumps(group_variables))
    hosts = {"p2p_hosts": {"hosts": {name: {} for name in HOSTS}}}
    (inventory / "hosts.json").write_text(json.dumps(hosts))
    plays = yaml.safe_load((ROOT / "playbooks" / f"{playbook}.yml").read_text())
    told = [{**play, "tasks": [LET_THROUGH]} for play in plays[:-1]]
    told.append({**plays[-1], "tasks": [TELL]})
    (folder / "plays.yml").write_text(json.dumps(told))
    importing: dict[str, Any] = {"import_playbook": "plays.yml"}
    if imported is not None:
        importing["vars"] = {"p2p_serial": imported}
    (folder / "run.yml").write_text(json.dumps([importing]))
    options = [] if extra is None else ["-e", json.dumps({"p2p_serial": extra})]
    ended = subprocess.run(
        [program, "-i", inventory, *options, folder / "run.yml"],
        env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    # Every host of a batch tells it.
    return [names.split() for names in dict.fromkeys(re.findall(r"batch: ([a-z ]+)", ended.stdout))]


@pytest.mark.parametrize("playbook", ["site", "rollback"])
class TestBatches:
    def test_canary_first_unless_told_otherwise(self, tmp_path: Path, playbook: str) -> None:
        assert batches(tmp_path, playbook) == [["one"], ["two"], ["three", "four"]]

    @pytest.mark.parametrize("line", ansible_versions.lines(), ids=lambda line: line.name)
    def test_set_for_the_group(self, tmp_path: Path, playbook: str, line: AnsibleLine) -> None:
        program = line.playbook_program()
        assert batches(tmp_path, playbook, grouped=["100%"], program=program) == [list(HOSTS)]

    def test_set_by_the_importing_playbook(self, tmp_path: Path, playbook: str) -> None:
        found = batches(tmp_path, playbook, grouped=["100%"], imported=2)
        assert found == [["one", "two"], ["three", "four"]]

    def test_set_on_the_command_line(self, tmp_path: Path, playbook: str) -> None:
        found = batches(tmp_path, playbook, grouped=["100%"], imported=2, extra=[3, 1])
        assert found == [["one", "two", "three"], ["four"]]
