# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The kernels assemble for every GPU the assembler at hand knows, from Turing on."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from ansible_collections.gpufleet.p2p.plugins.module_utils._gpu.kernels import ENTRIES, ptx_of

FIRST_TARGET = 75
PTX = ptx_of(ENTRIES)


def find_ptxas() -> str:
    """Return ptxas from PATH or from the package nvidia-cuda-nvcc; there is no doing without."""
    on_path = shutil.which("ptxas")
    if on_path is not None:
        return on_path
    for entry in map(Path, sys.path):
        for packaged in sorted(entry.glob("nvidia/*/bin/ptxas")):
            return str(packaged)
    raise AssertionError("no ptxas: pip install nvidia-cuda-nvcc, which carries it")


def targets() -> list[str]:
    text = subprocess.run([find_ptxas(), "--help"], capture_output=True, text=True, check=True)
    numbers = {int(number) for number in re.findall(r"'sm_(\d+)'", text.stdout)}
    return [f"sm_{number}" for number in sorted(numbers) if number >= FIRST_TARGET]


def test_the_assembler_knows_turing_and_blackwell() -> None:
    assert {"sm_75", "sm_86", "sm_89", "sm_120"} <= set(targets())


@pytest.mark.parametrize("target", targets())
def test_kernels_assemble(target: str, tmp_path: Path) -> None:
    source = tmp_path / "kernels.ptx"
    source.write_text(PTX)
    done = subprocess.run(
        [find_ptxas(), f"-arch={target}", "-v", str(source), "-o", str(tmp_path / "kernels.cubin")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    compiled = re.findall(r"Compiling entry function '(\w+)'", done.stderr)
    assert sorted(compiled) == sorted(ENTRIES)
    assert "warning" not in done.stderr


@pytest.mark.parametrize("name", ENTRIES)
def test_each_kernel_assembles_without_the_others(name: str, tmp_path: Path) -> None:
    source = tmp_path / "kernel.ptx"
    source.write_text(ptx_of([name]))
    done = subprocess.run(
        [find_ptxas(), "-arch=sm_90", "-v", str(source), "-o", str(tmp_path / "kernel.cubin")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert re.findall(r"Compiling entry function '(\w+)'", done.stderr) == [name]


def test_the_text_is_plain_ascii_and_of_the_oldest_version_that_does() -> None:
    assert PTX.isascii()
    assert PTX.startswith(".version 6.3\n.target sm_75\n")


def test_no_parameter_is_named_as_a_kernel() -> None:
    # ptxas 13.0 destroys its own memory over it, and the driver's compiler is of the same make.
    parameters = set(re.findall(r"\.param \.u64 (\w+)", PTX))
    assert parameters
    assert not parameters & set(ENTRIES)
