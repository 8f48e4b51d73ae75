# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The EFI firmware that a lab machine can start by: where Debian and Ubuntu install it."""

from __future__ import annotations

from pathlib import Path

from ansible_collections.gpufleet.p2p.plugins.module_utils._host.errors import GpufleetError

# Without Secure Boot; the firmware's code is shared and read only, its variables are a machine's.
FIRMWARE_CODE = Path("/usr/share/OVMF/OVMF_CODE_4M.fd")
FIRMWARE_VARIABLES = Path("/usr/share/OVMF/OVMF_VARS_4M.fd")
PACKAGE = "ovmf"


class FirmwareMissing(GpufleetError):
    """The EFI firmware is not installed."""


def check_firmware(code: Path = FIRMWARE_CODE, variables: Path = FIRMWARE_VARIABLES) -> None:
    """Raise unless the EFI firmware is installed.

    Raises:
        FirmwareMissing: with the line that installs it.
    """
    missing = [str(path) for path in (code, variables) if not path.is_file()]
    if missing:
        raise FirmwareMissing(
            "lab_firmware_missing",
            read=f"no file {', '.join(missing)}",
            want='the firmware of machines described with "firmware": "efi"',
            remedy=f"apt-get install --no-install-recommends {PACKAGE}",
        )
