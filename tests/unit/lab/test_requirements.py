# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is missing is told at once, with the line that installs it."""

from __future__ import annotations

import pytest

from gpufleet.lab.requirements import RequirementMissing, check_requirements


def test_every_missing_command_and_one_apt_line() -> None:
    missing = {"mmdebstrap", "qemu-img", "unshare", "setpriv"}
    with pytest.raises(RequirementMissing) as caught:
        check_requirements(lambda name: None if name in missing else f"/bin/{name}", user=0)
    assert caught.value.read == "not found on PATH: mmdebstrap, qemu-img, unshare, setpriv"
    assert caught.value.remedy == (
        "apt-get install --no-install-recommends mmdebstrap qemu-utils util-linux"
    )


def test_root_is_asked_for_with_reasons() -> None:
    with pytest.raises(RequirementMissing) as caught:
        check_requirements(lambda name: f"/bin/{name}", user=1000)
    assert caught.value.code == "lab_needs_root"
    assert "chroot" in caught.value.want


def test_nothing_missing_is_silent() -> None:
    check_requirements(lambda name: f"/bin/{name}", user=0)
