# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The report role run by Ansible itself on this machine: what it writes, and what it counts."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[4]
FIXTURES = Path(__file__).parent / "fixtures"

PLAY = """
- name: Report
  hosts: all
  gather_facts: false
  vars:
    samples: "{{ lookup('ansible.builtin.file', fixture) | from_json }}"
  tasks:
    - name: Take the record
      ansible.builtin.set_fact:
        p2p_record: "{{ samples | selectattr('host', 'eq', inventory_hostname) | first }}"
      when: inventory_hostname in samples | map(attribute='host')
    - name: Report
      ansible.builtin.import_role:
        name: gpufleet.p2p.report
"""


def run(folder: Path, fixture: str, *options: str) -> str:
    play = folder / "play.yml"
    play.write_text(PLAY, encoding="utf-8")
    command = [
        str(Path(sys.executable).parent / "ansible-playbook"),
        *("-i", "alpha,beta,later,", "-c", "local", str(play)),
        *("-e", f"fixture={FIXTURES / fixture}.json", "-e", f"p2p_report_dir={folder / 'out'}"),
        *options,
    ]
    environment = {**os.environ, "ANSIBLE_COLLECTIONS_PATH": str(ROOT / "collection")}
    ended = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


def test_writes_page_and_records_and_counts_no_change(tmp_path: Path) -> None:
    told = run(tmp_path, "two_hosts")
    assert "driver: built 1, installed 2" in told
    assert "changed=0" in told
    assert "changed=1" not in told
    names = sorted(path.name for path in (tmp_path / "out/hosts").iterdir())
    assert names == ["alpha.json", "beta.json", "later.json"]
    samples = json.loads((FIXTURES / "two_hosts.json").read_text(encoding="utf-8"))
    assert json.loads((tmp_path / "out/hosts/alpha.json").read_text(encoding="utf-8")) == samples[0]
    page = tmp_path / "out/report.html"
    before = page.read_bytes()
    run(tmp_path, "two_hosts")
    assert page.read_bytes() == before


@pytest.mark.parametrize(("wanted", "written"), [("false", False), ("true", True)])
def test_check_mode_leaves_the_report_of_a_real_run(
    tmp_path: Path, wanted: str, written: bool
) -> None:
    options = ("--check", "-e", f'{{"report_in_check_mode": {wanted}}}')
    assert "2/0/0" in run(tmp_path, "two_hosts", *options)
    assert (tmp_path / "out/report.html").exists() is written
