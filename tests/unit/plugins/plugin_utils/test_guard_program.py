# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The packed program: the same bytes from the same sources, and it runs by itself."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pynvml
import pytest
from ansible_collections.gpufleet.p2p.plugins.plugin_utils import guard_program as packing
from ansible_collections.gpufleet.p2p.plugins.plugin_utils.guard_program import guard_program


@pytest.fixture
def program(tmp_path: Path) -> Path:
    path = tmp_path / "gpufleet-guard"
    path.write_bytes(guard_program(Path(pynvml.__file__)))
    path.chmod(0o755)
    return path


def run(program: Path, *words: str) -> subprocess.CompletedProcess[str]:
    # Isolated, as its first line has it: nothing of this environment may be needed.
    argv = [sys.executable, "-I", str(program), *words]
    return subprocess.run(argv, capture_output=True, text=True, check=False, cwd="/")


def test_it_runs_without_the_collection(program: Path) -> None:
    done = run(program, "nonsense")
    assert done.returncode == 2
    assert done.stderr.startswith("usage: ")


def test_every_module_in_it_can_be_imported(program: Path) -> None:
    with zipfile.ZipFile(program) as archive:
        names = [name[:-3].replace("/", ".") for name in archive.namelist() if "/_" in name]
    modules = [name for name in names if not name.endswith("__init__")]
    assert "gpufleet_host._guard.program" in modules
    script = f"import sys; sys.path = [{str(program)!r}, *sys.path]\n"
    script += "".join(f"import {name}\n" for name in modules)
    done = subprocess.run(
        [sys.executable, "-I", "-c", script], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_the_same_sources_give_the_same_bytes(tmp_path: Path, program: Path) -> None:
    copy = tmp_path / "module_utils"
    shutil.copytree(packing.PLUGINS / "module_utils", copy)
    for path in copy.rglob("*.py"):
        os.utime(path, (0, 0))
    assert guard_program(Path(pynvml.__file__), copy) == program.read_bytes()


def test_it_holds_no_ansible(program: Path) -> None:
    with zipfile.ZipFile(program) as archive:
        for name in archive.namelist():
            text = archive.read(name)
            assert b"import ansible" not in text and b"from ansible" not in text, name
