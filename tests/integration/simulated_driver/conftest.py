# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Builds the simulated libraries once and runs scenarios against them on fake trees.

Each scenario is a process of its own: the libraries read the machine once, as real ones do.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from support.host_tree import HostTree, build_host_tree, load_description

HERE = Path(__file__).parent
USERSPACE = HERE.parents[2] / "lab" / "simulated_driver" / "userspace"
LIMIT_SECONDS = 60


@dataclass
class Machine:
    """A fake machine with the simulated userspace installed; ``run`` starts a program on it."""

    tree: HostTree
    libraries: Path
    environment: dict[str, str] = field(default_factory=dict)

    def run(self, program: str, *arguments: object) -> Any:
        """Return what one of this folder's programs prints as JSON."""
        done = subprocess.run(
            [sys.executable, str(HERE / program), *map(str, arguments)],
            env={
                **os.environ,
                "LD_LIBRARY_PATH": str(self.libraries),
                "GPUFLEET_LAB_ROOT": str(self.tree.root),
                "PYTHONPATH": str(HERE.parents[1]),
                **self.environment,
            },
            capture_output=True,
            text=True,
            check=False,
            timeout=LIMIT_SECONDS,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def cuda(self, scenario: str, *arguments: object) -> Any:
        """Return the result of a scenario of cuda_scenarios.py."""
        return self.run("cuda_scenarios.py", scenario, *arguments)

    def nvml(self) -> Any:
        """Return what pynvml says of the machine."""
        return self.run("nvml_report.py")

    def with_fault(self, fault: str) -> Machine:
        """Return the same machine with a fault injected."""
        return Machine(self.tree, self.libraries, {**self.environment, "GPUFLEET_LAB_FAULT": fault})


@pytest.fixture(scope="session")
def libraries(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Directory with the built libraries and their links."""
    build = tmp_path_factory.mktemp("simulated_userspace")
    subprocess.run(
        ["make", "-s", "-j2", "-C", str(USERSPACE), f"BUILD={build}"],
        check=True,
        timeout=300,
    )
    return build


@pytest.fixture
def make_machine(tmp_path: Path, libraries: Path) -> Callable[..., Machine]:
    """Return a factory of machines: description or name of one, and build_host_tree's options."""

    def make(description: str | Mapping[str, Any] = "alpha", **options: Any) -> Machine:
        if isinstance(description, str):
            description = load_description(description)
        return Machine(build_host_tree(tmp_path, description, **options), libraries)

    return make


@pytest.fixture
def machine(make_machine: Callable[..., Machine]) -> Machine:
    """Two 5090s that can reach each other: patched module, groups of type identity."""
    return make_machine()
