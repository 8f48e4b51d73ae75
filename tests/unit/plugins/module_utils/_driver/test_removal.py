# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which versions of the package are on a host, whole or in parts."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.gpufleet.p2p.plugins.module_utils._driver.dkms import DkmsTrees
from ansible_collections.gpufleet.p2p.plugins.module_utils._driver.removal import present_versions

NAME = "gpufleet-nvidia"


@pytest.mark.parametrize(
    "part",
    [
        f"state/{NAME}/595.58.03/source",
        f"state/{NAME}/595.58.03/build",
        f"state/{NAME}/595.58.03/6.1.0-57-amd64/x86_64/module",
        f"source/{NAME}-595.58.03",
    ],
)
def test_each_part_of_a_version_is_seen_under_its_own_name(tmp_path: Path, part: str) -> None:
    (tmp_path / part).mkdir(parents=True)
    (tmp_path / f"state/{NAME}/kernel-6.1.0-57-amd64-x86_64").mkdir(parents=True)
    trees = DkmsTrees(state=tmp_path / "state", source=tmp_path / "source")
    assert present_versions(NAME, trees) == ("595.58.03",)
