# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The record that every playbook ends with: when the run was, and how often the host restarted.

Ansible runs the playbooks' own first and last tasks; what the modules said in between is given.
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

from gpufleet import HostRecord

ROOT = Path(__file__).parents[3]
TASKS = ROOT / "playbooks/tasks"


def facts(boot_id: str) -> dict[str, Any]:
    """Return what p2p_facts returns, as far as the record's boots are read from it."""
    return {"ansible_facts": {"p2p": {"kernel": {"boot_id": boot_id}}}}


UNREAD = {"failed": True, "msg": "no Python on the host"}


AFTER = {"boot_id": "after"}
#: By host: what the modules of its run said, and the boots that this is evidence of.
RUNS: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "unread": ({}, ()),
    "unreadable": ({"preflight_facts": UNREAD}, ()),
    "gated": ({"preflight_facts": facts("after")}, ("after",)),
    "unchanged": ({"preflight_facts": facts("after"), "p2p_lock_released": AFTER}, ("after",)),
    "verified": ({"p2p_facts_before": facts("after"), "p2p_lock_released": AFTER}, ("after",)),
    "restarted": (
        {
            "preflight_facts": facts("before"),
            "reboot_once_facts": facts("after"),
            "p2p_lock_released": AFTER,
        },
        ("before", "after"),
    ),
    "rolled_back": (
        {
            "rollback_facts": facts("before"),
            "rollback_facts_after": facts("after"),
            "p2p_lock_released": AFTER,
        },
        ("before", "after"),
    ),
    "restarted_but_unreadable": (
        {
            "preflight_facts": facts("before"),
            "reboot_once_facts": UNREAD,
            "p2p_lock_released": AFTER,
        },
        ("before", "after"),
    ),
    "restarted_once_more_by_itself": (
        {
            "preflight_facts": facts("before"),
            "reboot_once_facts": facts("between"),
            "p2p_lock_released": AFTER,
        },
        ("before", "between", "after"),
    ),
}


#: A host that was lost after it was drained: nothing else of its run is known.
LOST = {"drain_noted": {"note": {"since": "then", "hooks": {"method": "slurm", "node": "gpu01"}}}}


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of the report on RUNS."""
    folder = tmp_path_factory.mktemp("record")
    play = {
        "name": "Begin and report",
        "hosts": "all",
        "gather_facts": False,
        "vars": {"p2p_report_dir": str(folder / "report")},
        "tasks": [
            {"name": "Begin", "ansible.builtin.import_tasks": str(TASKS / "begin.yml")},
            {"name": "Report", "ansible.builtin.import_tasks": str(TASKS / "report.yml")},
        ],
    }
    (folder / "play.yml").write_text(json.dumps([play]))
    hosts = {
        "all": {
            "hosts": {
                **{host: {"p2p_outcome": "done", **said} for host, (said, _) in RUNS.items()},
                "lost": LOST,
            }
        }
    }
    (folder / "hosts.json").write_text(json.dumps(hosts))
    program = Path(sys.executable).parent / "ansible-playbook"
    ended = subprocess.run(
        [program, "-i", folder / "hosts.json", "-c", "local", folder / "play.yml"],
        env={**os.environ, "ANSIBLE_COLLECTIONS_PATH": str(ROOT / "collection")},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return folder / "report"


@pytest.mark.parametrize("host", RUNS)
def test_restarts_are_counted_by_the_boots_seen(report: Path, host: str) -> None:
    found = HostRecord.from_file(report / f"hosts/{host}.json").reboot
    assert found.boot_ids == RUNS[host][1]
    assert found.count == max(0, len(found.boot_ids) - 1)


def test_record_and_page_tell_when_the_run_was(report: Path) -> None:
    found = HostRecord.from_file(report / "hosts/restarted.json")
    assert found.started is not None
    assert found.finished is not None
    moment = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
    assert moment.fullmatch(found.started)
    assert moment.fullmatch(found.finished)
    assert found.started <= found.finished
    page = (report / "report.html").read_text()
    assert re.search(r"\d{4}-\d\d-\d\d \d\d:\d\d to (\d{4}-\d\d-\d\d )?\d\d:\d\d UTC", page)


def test_a_host_that_was_lost_is_told_to_be_drained(report: Path) -> None:
    found = HostRecord.from_file(report / "hosts/lost.json")
    assert found.outcome == "not_reached"
    assert found.drain is not None
    assert found.drain.state == "drained"
    assert "drained by gpufleet (slurm gpu01) since then" in (report / "report.html").read_text()
