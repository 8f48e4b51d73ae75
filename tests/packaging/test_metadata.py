# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is said in more than one place is said alike."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from gpufleet.lab import firmware, requirements

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def galaxy_metadata(clone: Path) -> dict[str, object]:
    loaded = yaml.safe_load((clone / "galaxy.yml").read_text(encoding="utf-8"))
    assert isinstance(loaded, dict)
    return loaded


def test_wheel_and_collection_have_one_version(
    wheel: Path, galaxy_metadata: dict[str, object]
) -> None:
    assert wheel.name.split("-")[1] == galaxy_metadata["version"]


def test_changelog_begins_with_this_version(
    clone: Path, galaxy_metadata: dict[str, object]
) -> None:
    headings = re.findall(r"^## (\S+)", (clone / "CHANGELOG.md").read_text("utf-8"), re.MULTILINE)
    assert headings[0] == galaxy_metadata["version"]


def test_action_group_has_every_module(clone: Path) -> None:
    runtime = yaml.safe_load((clone / "meta/runtime.yml").read_text(encoding="utf-8"))
    modules = sorted(path.stem for path in (clone / "plugins/modules").glob("*.py"))
    assert runtime["action_groups"]["p2p"] == modules


def test_ansible_bound_is_one(clone: Path) -> None:
    runtime = yaml.safe_load((clone / "meta/runtime.yml").read_text(encoding="utf-8"))
    (bound,) = re.findall(
        r'"ansible-core>=([\d.]+)"', (clone / "pyproject.toml").read_text("utf-8")
    )
    assert runtime["requires_ansible"] == f">={bound}.0"


def test_constraints_are_exact_and_tell_no_index(clone: Path) -> None:
    lines = [
        line
        for line in (clone / "constraints.txt").read_text(encoding="utf-8").splitlines()
        if line and not line.startswith("#")
    ]
    pinned = re.compile(r'[a-z0-9._-]+==[\w.]+( ; python_version (<|>=) "3\.12")?')
    assert [line for line in lines if not pinned.fullmatch(line)] == []


def test_setup_installs_what_the_lab_asks_for() -> None:
    """scripts/install-system-packages runs before there is a Python environment to ask."""
    script = (REPOSITORY / "scripts/install-system-packages").read_text(encoding="utf-8")
    # The list of programs comes before the list of reasons, which has the same keys.
    programs = re.findall(r'\[lab\]="([^"]*)"', script)[0]
    wanted = {**requirements.COMMANDS, str(firmware.FIRMWARE_CODE): firmware.PACKAGE}
    assert wanted.items() <= dict(p.split(":") for p in programs.split()).items()


def test_no_molecule_step_is_empty(clone: Path) -> None:
    """Molecule passes over a step whose playbook is missing, and calls the scenario successful."""
    scenarios = list(clone.glob("molecule/*/molecule.yml"))
    assert scenarios
    for scenario in scenarios:
        steps = yaml.safe_load(scenario.read_text(encoding="utf-8"))["scenario"]["test_sequence"]
        own = set(steps) - {"create", "destroy", "idempotence", "syntax"}
        # "side_effect rollback.yml" names its playbook, "verify" is named like it.
        playbooks = [step.split()[1] if " " in step else f"{step}.yml" for step in own]
        assert [name for name in playbooks if not scenario.with_name(name).exists()] == []
