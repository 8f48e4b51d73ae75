# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The fleet benchmark on two hosts: both playbooks run to their end and find nothing to do.

How much they cost is not asserted: two hosts share what Ansible's start costs, and this machine
does other things too.
"""

from __future__ import annotations

import json
from pathlib import Path

from benchmarks.fleet import compare
from benchmarks.fleet.figures import BUILTIN, OURS


def test_two_converged_hosts_are_left_alone_by_both_playbooks(tmp_path: Path) -> None:
    output = tmp_path / "record.json"
    logs = tmp_path / "logs"
    compare.main(["--hosts", "2", "--output", str(output), "--logs", str(logs)])

    record = json.loads(output.read_text())
    assert record["description"] == "alpha"
    assert record["machine"]["processors"] >= 1
    assert [(run["playbook"], run["hosts"]) for run in record["runs"]] == [(OURS, 2), (BUILTIN, 2)]
    for run in record["runs"]:
        assert run["troubles"] == []
        assert run["cpu_seconds"] == run["user_seconds"] + run["system_seconds"] > 0
        # A connection for each host that persists, and more than one command over each.
        assert run["connections"] == 2
        assert run["sessions"] > 2
        assert run["hosts_cpu_seconds"] > 0

    # The product's own modules ran: the record of each host has what only they could find out.
    for name in ("node0001", "node0002"):
        host = json.loads((logs / f"site-2/report/hosts/{name}.json").read_text())
        assert host["outcome"] == "verified"
        assert host["verify"]["verdict"] == "pass"
        assert host["facts"]["boot_loader"]["name"] == "grub_debian"
        assert host["reboot"]["count"] == 0
