# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The inventory, as YAML and as the script prints it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from gpufleet.lab import Lab
from gpufleet.lab.inventory import inventory, inventory_text, script_text
from gpufleet.lab.paths import state_directory
from gpufleet.lab.remote import Address

SCRIPT = Path(__file__).parents[3] / "inventories" / "lab" / "lab.py"

KEY = Path("/state/key")
HOSTS = [Address("alpha", 1001, KEY), Address("beta", 1002, KEY)]
BUILDER = Address("builder", 1003, KEY)


def test_groups_and_variables_are_those_that_the_roles_expect() -> None:
    groups = inventory(HOSTS, BUILDER)["all"]["children"]
    assert list(groups["p2p_hosts"]["hosts"]) == ["alpha", "beta"]
    assert groups["p2p_hosts"]["vars"] == {"p2p_gpu_match": ["1b36:0005:*"]}
    assert groups["p2p_builders"]["hosts"]["builder"]["ansible_port"] == 1003


def test_the_users_known_hosts_stay_as_they_are() -> None:
    variables = inventory(HOSTS, BUILDER)["all"]["vars"]
    assert "UserKnownHostsFile=/dev/null" in variables["ansible_ssh_common_args"]
    assert variables["ansible_host"] == "127.0.0.1"


def test_file_and_script_tell_the_same() -> None:
    assert yaml.safe_load(inventory_text(HOSTS, BUILDER)) == inventory(HOSTS, BUILDER)
    printed = json.loads(script_text(HOSTS, BUILDER))
    assert printed["p2p_hosts"]["hosts"] == ["alpha", "beta"]
    assert printed["_meta"]["hostvars"]["beta"] == {
        "ansible_port": 1002,
        "ansible_ssh_private_key_file": "/state/key",
    }
    assert printed["all"]["vars"]["ansible_user"] == "root"


def run_script(home: Path, name: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "GPUFLEET_LAB_HOME": str(home), "GPUFLEET_LAB_NAME": name}
    return subprocess.run(
        # -I: nothing that gpufleet's own interpreter offers may be needed.
        [sys.executable, "-I", str(SCRIPT), "--list"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("name", ["default", "molecule-iommu"])
def test_the_script_finds_the_lab_where_the_lab_keeps_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv("GPUFLEET_LAB_HOME", str(tmp_path))
    lab = Lab(state_directory(name))
    lab.script_inventory.parent.mkdir(parents=True, exist_ok=True)
    lab.script_inventory.write_bytes(script_text(HOSTS, BUILDER))
    assert json.loads(run_script(tmp_path, name).stdout)["p2p_builders"]["hosts"] == ["builder"]


def test_the_script_says_that_the_lab_is_not_up(tmp_path: Path) -> None:
    result = run_script(tmp_path, "default")
    assert result.returncode == 1
    assert "gpufleet lab up" in result.stderr
