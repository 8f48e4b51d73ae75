# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A limit has one default: a role that hands a figure on says the same as the module it calls.

Switches and lists are left out: what a role does by default (a trial boot, `iommu=pt`) is its own.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[3]
FALLBACK = re.compile(r"default\((\d+)\)")
CALL = re.compile(r"(?m)^ +gpufleet\.p2p\.(\w+):\n((?: {4,}\w+: .*\n)+)")


def figure(default: Any) -> int | None:
    """Return the figure a role's default comes down to, None where it is something else."""
    if isinstance(default, int) and not isinstance(default, bool):
        return default
    found = FALLBACK.search(str(default))
    return int(found.group(1)) if found else None


def options(module: str) -> dict[str, dict[str, Any]]:
    """Return a module's options as its documentation has them."""
    path = ROOT / "plugins/modules" / f"{module}.py"
    for statement in ast.parse(path.read_text()).body:
        if isinstance(statement, ast.Assign) and ast.unparse(statement.targets) == "DOCUMENTATION":
            found: dict[str, dict[str, Any]] = yaml.safe_load(ast.literal_eval(statement.value))[
                "options"
            ]
            return found
    raise AssertionError(f"{path} has no DOCUMENTATION")


def handed_on() -> Iterator[tuple[str, str, str, int]]:
    """Yield (role variable, module, option, figure) of every figure that a role hands on."""
    for path in sorted((ROOT / "roles").glob("*/tasks/*.yml")):
        role = path.parents[1]
        defaults = yaml.safe_load((role / "defaults/main.yml").read_text())
        for module, body in CALL.findall(path.read_text()):
            for option, variable in re.findall(r'(\w+): "\{\{ (\w+) \}\}"', body):
                value = figure(defaults.get(variable))
                # A task's own keywords, such as delay, stand in the same lines.
                if value is not None and option in options(module):
                    yield variable, module, option, value


def test_roles_and_modules_agree_on_every_figure() -> None:
    found = list(handed_on())
    assert ("p2p_verify_child_timeout", "p2p_verify", "child_timeout") in [row[:3] for row in found]
    differing = [
        f"{variable} is {value}, {module} has {default}"
        for variable, module, option, value in found
        if (default := options(module)[option].get("default")) != value
    ]
    assert differing == []
