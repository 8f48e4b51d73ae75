# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The plan asks with the roles' defaults, or it would call a host done that a role changes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from jinja2.nativetypes import NativeEnvironment

ROOT = Path(__file__).parents[3]
TASK = yaml.safe_load((ROOT / "playbooks/tasks/plan.yml").read_text())[0]
ASKED = {
    "iommu_passthrough": {
        name: TASK["gpufleet.p2p.p2p_plan"][name]
        for name in ("parameters", "trial", "panic_seconds")
    },
    "p2p_guard": TASK["vars"]["playbook_guard"],
}
#: Set by the playbook, or what the plan does without.
NOT_ASKED = {"p2p_guard": {"state", "verified"}, "iommu_passthrough": {"state"}}
FLEET = {"p2p_kernel_parameters": ["a"], "p2p_trial_boot": False, "p2p_gpu_match": ["b"]}


def value(template: Any, variables: dict[str, Any]) -> Any:
    if not isinstance(template, str):
        return template
    return NativeEnvironment().from_string(template).render(variables)


@pytest.mark.parametrize("variables", [{}, FLEET], ids=["defaults", "fleet"])
@pytest.mark.parametrize("role", ASKED)
def test_the_defaults_are_the_roles(role: str, variables: dict[str, Any]) -> None:
    defaults = yaml.safe_load((ROOT / f"roles/{role}/defaults/main.yml").read_text())
    own = {name.removeprefix(f"{role}_"): each for name, each in defaults.items()}
    wanted = {name: each for name, each in own.items() if name not in NOT_ASKED[role]}
    assert {name: value(each, variables) for name, each in ASKED[role].items()} == {
        name: value(each, variables) for name, each in wanted.items()
    }


@pytest.mark.parametrize("role", ASKED)
def test_a_role_s_variable_comes_before_its_default(role: str) -> None:
    given = {f"{role}_{name}": f"given {name}" for name in ASKED[role]}
    assert {name: value(each, {**FLEET, **given}) for name, each in ASKED[role].items()} == {
        name: f"given {name}" for name in ASKED[role]
    }
