# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Images of another tool than initramfs-tools are told by their tool, and refused by its name."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.gpufleet.p2p.plugins.module_utils._driver import states
from ansible_collections.gpufleet.p2p.plugins.module_utils._driver.dkms import DkmsPackage
from ansible_collections.gpufleet.p2p.plugins.module_utils._driver.initramfs import InitramfsRefused
from ansible_collections.gpufleet.p2p.plugins.module_utils._driver.initramfs_generator import (
    generator_of,
    require_supported,
)


@pytest.mark.parametrize(
    ("programs", "generator"),
    [
        (["usr/sbin/update-initramfs"], "initramfs-tools"),
        (["usr/bin/dracut"], "dracut"),
        (["usr/sbin/update-initramfs", "usr/bin/dracut"], "initramfs-tools"),
        (["usr/bin/mkinitcpio"], "mkinitcpio"),
        ([], None),
    ],
)
def test_the_tool_is_told_by_its_program(
    tmp_path: Path, programs: list[str], generator: str | None
) -> None:
    for program in programs:
        (tmp_path / program).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / program).touch()
    assert generator_of(tmp_path) == generator
    if generator in {"initramfs-tools", None}:
        require_supported(tmp_path)
        return
    with pytest.raises(InitramfsRefused) as refusal:
        require_supported(tmp_path)
    assert (refusal.value.code, generator in refusal.value.read) == (
        "initramfs_generator_unsupported",
        True,
    )


def test_installing_is_refused_before_anything_is_looked_at(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "usr/bin").mkdir(parents=True)
    (tmp_path / "usr/bin/dracut").touch()
    monkeypatch.setattr(states, "require_supported", lambda: require_supported(tmp_path))
    with pytest.raises(InitramfsRefused):
        states.installed(DkmsPackage("gpufleet-nvidia", "1.0"), "5.14.0", None, check=True)
