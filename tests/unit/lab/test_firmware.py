# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The EFI firmware is asked for by the line that installs it."""

from __future__ import annotations

from pathlib import Path

import pytest

from gpufleet.lab.firmware import FirmwareMissing, check_firmware


def test_missing_firmware_is_told_with_the_apt_line(tmp_path: Path) -> None:
    (tmp_path / "code.fd").touch()
    with pytest.raises(FirmwareMissing) as caught:
        check_firmware(tmp_path / "code.fd", tmp_path / "variables.fd")
    assert caught.value.read == f"no file {tmp_path / 'variables.fd'}"
    assert caught.value.remedy == "apt-get install --no-install-recommends ovmf"


def test_installed_firmware_is_silent(tmp_path: Path) -> None:
    (tmp_path / "code.fd").touch()
    check_firmware(tmp_path / "code.fd", tmp_path / "code.fd")
