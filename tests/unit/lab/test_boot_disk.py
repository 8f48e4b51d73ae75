# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The disks that guests boot from, and the boot that installs their boot loader."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path

import pytest

from gpufleet.lab.boot_disk import LAYOUTS, installer_arguments
from gpufleet.lab.paths import EFI_GUEST_FILES, GUEST_FILES

_SECTORS_PER_MIB = 2048
_DISK_MIB = 4096


def partitions(table: str) -> list[tuple[int, int]]:
    """Return start and end in sectors of each partition; what has no size ends with the disk."""
    found = []
    for line in table.splitlines():
        start, size = re.search(r"start=(\d+)", line), re.search(r"size=(\d+)", line)
        if start:
            end = int(start[1]) + int(size[1]) if size else _DISK_MIB * _SECTORS_PER_MIB
            found.append((int(start[1]), end))
    return found


@pytest.mark.parametrize(("firmware", "index"), [("bios", 0), ("efi", 1)])
def test_the_root_file_system_fills_its_partition_and_no_other(firmware: str, index: int) -> None:
    layout = LAYOUTS[firmware]
    found = partitions(layout.table)
    start = layout.root_start_bytes // 512
    assert found[index] == (start, start + layout.root_mib * _SECTORS_PER_MIB)
    assert layout.root_device == f"/dev/vda{index + 1}"
    assert all(before[1] <= after[0] for before, after in pairwise(found))


def test_the_second_copy_of_a_gpt_has_room() -> None:
    assert partitions(LAYOUTS["efi"].table)[-1][1] <= _DISK_MIB * _SECTORS_PER_MIB - 34


@pytest.mark.parametrize(
    ("firmware", "files"), [("bios", GUEST_FILES / "tree"), ("efi", EFI_GUEST_FILES / "tree")]
)
def test_the_installer_is_in_the_guest_and_says_what_is_waited_for(
    firmware: str, files: Path
) -> None:
    layout = LAYOUTS[firmware]
    script = files / layout.installer.lstrip("/")
    assert f"echo '{layout.done}' >/dev/ttyS0" in script.read_text(encoding="utf-8")


def arguments(firmware: str, variables: Path | None) -> list[str]:
    names = [Path(name) for name in ("/image/disk.raw", "/root/vmlinuz", "/root/initrd")]
    return installer_arguments(*names, LAYOUTS[firmware], variables)


def test_an_efi_guest_installs_its_boot_loader_under_its_firmware() -> None:
    bios = arguments("bios", None)
    efi = arguments("efi", Path("/image/efi-variables.fd"))
    assert not [word for word in bios if "pflash" in word]
    assert "if=pflash,unit=1,format=raw,file=/image/efi-variables.fd" in efi
    # The guest's disk is /dev/vda all the same: flash is no block device of the guest's.
    assert [word for word in efi if "if=virtio" in word] == [
        "file=/image/disk.raw,format=raw,if=virtio"
    ]
    assert "root=/dev/vda2" in efi[-1]
    assert "root=/dev/vda1" in bios[-1]
