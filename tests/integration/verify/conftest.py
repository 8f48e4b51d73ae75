# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The simulated driver's libraries, compiled once for all verification tests."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from ansible_collections.gpufleet.p2p.plugins.module_utils._p2p.result import Result
from support.host_tree import build_host_tree, load_description
from support.simulated_gpus import build_libraries, environment_for, verify_in

Verify = Callable[..., Result]


@pytest.fixture(scope="session", name="libraries")
def _libraries(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_libraries(tmp_path_factory.mktemp("simulated-driver"))


@pytest.fixture(name="verify")
def _verify(libraries: Path, tmp_path: Path) -> Verify:
    """Return a function that verifies a described host: name, fault, then tree and run options."""

    def run(
        host: str = "alpha",
        fault: str = "none",
        *,
        tree: dict[str, object] | None = None,
        change: Callable[[dict[str, object]], None] | None = None,
        **options: object,
    ) -> Result:
        description = load_description(host)
        if change is not None:
            change(description)
        made = build_host_tree(tmp_path, description, **(tree or {}))
        return verify_in(environment_for(libraries, made, fault), made, **options)

    return run
