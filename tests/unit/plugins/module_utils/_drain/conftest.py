# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tools on PATH that answer from a file and write down how they were called."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Tool = Callable[[str, str], "ToolDouble"]


class ToolDouble:
    """A program on PATH: ``body`` is its Python; it has ``words`` and ``state``, which it keeps."""

    def __init__(self, folder: Path, name: str, body: str) -> None:
        self.path = folder / f"{name}.json"
        self.set()
        program = folder / name
        program.write_text(
            f"#!{sys.executable}\nimport json, sys\nfrom pathlib import Path\n"
            f"path, words = Path({str(self.path)!r}), sys.argv[1:]\n"
            "state = json.loads(path.read_text())\nstate['calls'].append(words)\n"
            "def end(code):\n    path.write_text(json.dumps(state))\n    sys.exit(code)\n"
            f"{body}\nend(0)\n"
        )
        program.chmod(0o755)

    def set(self, **state: Any) -> None:
        """Begin anew with this state."""
        self.path.write_text(json.dumps({"calls": [], **state}))

    @property
    def state(self) -> dict[str, Any]:
        """What the program keeps."""
        found: dict[str, Any] = json.loads(self.path.read_text())
        return found


@pytest.fixture
def tool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tool:
    """Return a function that puts a program on PATH."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    return lambda name, body: ToolDouble(folder, name, body)
