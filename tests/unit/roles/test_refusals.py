# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whatever stops a host in a role or a playbook has a code that its record can name."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[3]
NAMELESS = ("ansible.builtin.fail", "ansible.builtin.assert")
#: They end the host after its record was made, with the message that the record has in full.
AFTER_THE_RECORD = {"fail.yml", "refuse.yml"}


def tasks(node: Any) -> Iterator[dict[str, Any]]:
    """Yield every mapping in a playbook or a list of tasks: plays, blocks and tasks."""
    if isinstance(node, list):
        for item in node:
            yield from tasks(item)
    elif isinstance(node, dict):
        yield node
        for name in ("tasks", "pre_tasks", "post_tasks", "block", "rescue", "always"):
            yield from tasks(node.get(name, []))


def files() -> list[Path]:
    found = [*ROOT.glob("playbooks/**/*.yml"), *ROOT.glob("roles/*/tasks/*.yml")]
    return sorted(path for path in found if path.name not in AFTER_THE_RECORD)


def test_nothing_fails_without_a_code() -> None:
    nameless = [
        f"{path.relative_to(ROOT)}: {task['name']}"
        for path in files()
        for task in tasks(yaml.safe_load(path.read_text()))
        if any(name in task for name in NAMELESS)
    ]
    assert nameless == []


def test_every_rescue_of_a_playbook_fails_the_host_again() -> None:
    """A rescue that does not fail lets the next batch start on a fleet that lost a host."""
    found = 0
    for path in ROOT.glob("playbooks/*.yml"):
        for task in tasks(yaml.safe_load(path.read_text())):
            if "rescue" in task:
                found += 1
                last = task["rescue"][-1]["ansible.builtin.import_tasks"]["file"]
                ended = yaml.safe_load((path.parent / last).read_text())[-1]
                assert "ansible.builtin.fail" in ended
                assert "when" not in ended
    assert found
