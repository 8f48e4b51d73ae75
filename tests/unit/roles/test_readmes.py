# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every role's README agrees with its defaults and its argument specification."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[3]
ROLES = sorted(path.name for path in (ROOT / "roles").iterdir())
ROW = re.compile(r"(?m)^\| `(?P<name>\w+)` \| (?P<type>[^|]+) \| (?P<default>[^|]+) \| [^|]+ \|$")

#: Facts by which one role hands its result to the next; their default is told in words.
SET_BY_ROLES = {
    "p2p_driver_build_id",
    "p2p_driver_registry",
    "p2p_driver_trial_result",
    "p2p_record",
    "p2p_verify_result",
}


def loaded(path: Path) -> dict[str, Any]:
    """Return a YAML file's mapping."""
    content: dict[str, Any] = yaml.safe_load(path.read_text())
    return content


def options(role: str) -> dict[str, dict[str, Any]]:
    """Return the options of the role's main entry point."""
    specs = loaded(ROOT / "roles" / role / "meta/argument_specs.yml")["argument_specs"]
    found: dict[str, dict[str, Any]] = specs["main"]["options"]
    return found


def readme(role: str) -> str:
    """Return the role's README."""
    return (ROOT / "roles" / role / "README.md").read_text()


@pytest.mark.parametrize("role", ROLES)
def test_table_has_every_variable_with_its_type(role: str) -> None:
    types = {
        name: f"list of {option['elements']}" if option["type"] == "list" else option["type"]
        for name, option in options(role).items()
    }
    assert {row["name"]: row["type"] for row in ROW.finditer(readme(role))} == types


@pytest.mark.parametrize("role", ROLES)
def test_table_tells_the_defaults(role: str) -> None:
    defaults = loaded(ROOT / "roles" / role / "defaults/main.yml")
    rows = {row["name"]: row["default"] for row in ROW.finditer(readme(role))}
    assert set(defaults) <= set(options(role))
    for name, default in defaults.items():
        text = str(default)
        for variable in set(re.findall(r"\bp2p_\w+", text)) - SET_BY_ROLES:
            assert f"`{variable}" in rows[name], name
        fallback = re.search(r"default\(([\w./-]+)\)", text)
        literal = fallback.group(1) if fallback else text
        if re.fullmatch(r"[\w./-]+", literal):
            assert literal.lower() in rows[name].lower(), name


def test_examples_are_playbooks(tmp_path: Path) -> None:
    plays: list[Any] = []
    for role in ROLES:
        (example,) = re.findall(r"(?s)```yaml\n(.*?)```", readme(role))
        plays += yaml.safe_load(example)
    assert len(plays) == len(ROLES)
    (tmp_path / "examples.yml").write_text(yaml.safe_dump(plays, sort_keys=False))
    ended = subprocess.run(
        [
            Path(sys.executable).parent / "ansible-playbook",
            *("--syntax-check", "-i", "localhost,", tmp_path / "examples.yml"),
        ],
        env={**os.environ, "ANSIBLE_COLLECTIONS_PATH": str(ROOT / "collection")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
