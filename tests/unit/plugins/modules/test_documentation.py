# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What ansible-doc reads is YAML: ansible-test says so too, but only after minutes."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
import yaml

MODULES = sorted(Path(__file__).resolve().parents[4].glob("plugins/modules/*.py"))


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_documentation_is_yaml(path: Path) -> None:
    told = {
        target.id: ast.literal_eval(statement.value)
        for statement in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(statement, ast.Assign)
        for target in statement.targets
        if isinstance(target, ast.Name) and target.id in ("DOCUMENTATION", "EXAMPLES", "RETURN")
    }
    assert {name: type(yaml.safe_load(text)) for name, text in told.items()} == {
        "DOCUMENTATION": dict,
        "EXAMPLES": list,
        "RETURN": dict,
    }
