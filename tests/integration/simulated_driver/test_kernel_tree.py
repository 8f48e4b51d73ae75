# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module source tree as far as it goes without a kernel's headers.

That the modules compile, install and load is shown where there are headers: in the tests of the
driver's installation and in the lab's machines.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

LAB = Path(__file__).resolve().parents[3] / "lab"
SOURCE = LAB / "simulated_driver" / "kernel"
PATCH = LAB / "simulated_driver" / "patches" / "peer-to-peer.patch"
OBJECT = "src/nvidia/_out/Linux_x86_64/nv-kernel.o"


def _make(tree: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["make", "-s", "-C", str(tree), *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def _files(tree: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(tree)): path.read_bytes()
        for path in sorted(tree.rglob("*"))
        if path.is_file()
    }


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of the stock tree."""
    return shutil.copytree(SOURCE, tmp_path / "kernel")


def _apply_patch(tree: Path) -> None:
    subprocess.run(
        ["git", "apply", "-p1", str(PATCH)], cwd=tree, check=True, capture_output=True, timeout=30
    )


def test_patch_changes_the_claim_and_the_parameter_only(tree: Path) -> None:
    _apply_patch(tree)
    before, after = _files(SOURCE), _files(tree)
    changed = {name for name in after if after[name] != before[name]}
    assert before.keys() == after.keys()
    assert changed == {"kernel-open/nvidia/nv-reg.h", "src/nvidia/rm_peer_to_peer.c"}


def test_stock_and_patched_objects_differ_and_clean_restores_the_tree(tree: Path) -> None:
    before = _files(tree)
    assert _make(tree, OBJECT).returncode == 0
    stock = (tree / OBJECT).read_bytes()
    assert _make(tree, "clean").returncode == 0
    assert _files(tree) == before
    _apply_patch(tree)
    assert _make(tree, OBJECT).returncode == 0
    assert (tree / OBJECT).read_bytes() != stock


def test_missing_headers_are_named(tree: Path) -> None:
    done = _make(tree, "modules", "SYSSRC=/nowhere/common", "SYSOUT=/nowhere/flavour")
    assert done.returncode != 0
    assert "no kernel headers" in done.stderr
    assert "/nowhere/common" in done.stderr


def test_one_release_for_modules_libraries_and_described_hosts() -> None:
    release = (SOURCE / "version.mk").read_text().split("NVIDIA_VERSION = ")[1].strip()
    for path in (LAB / "hosts").glob("*.json"):
        assert json.loads(path.read_text())["driver"]["version"] == release
