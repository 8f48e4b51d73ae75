# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What GRUB's own drivers find on a disk that was made without GRUB."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from faults.boot_view import boot_view, loaded_files

START = 1 << 20
CONFIG = """
menuentry 'Debian' {
\tlinux\t/boot/vmlinuz-1 root=LABEL=x ro
\tinitrd\t/boot/initrd.img-1
}
submenu 'more' {
  menuentry 'again' {
    linux /boot/vmlinuz-1 root=LABEL=x ro single
  }
}
"""


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("tree")
    (root / "boot/grub").mkdir(parents=True)
    (root / "boot/grub/grub.cfg").write_text(CONFIG)
    (root / "boot/grub/grubenv").write_bytes(b"# GRUB Environment Block\n".ljust(1024, b"#"))
    (root / "boot/vmlinuz-1").write_bytes(b"kernel" * 1000)
    (root / "boot/initrd.img-1").write_bytes(b"initrd" * 1000)
    return root


def disk_of(tree: Path, disk: Path) -> Path:
    with disk.open("wb") as stream:
        stream.truncate(START + (16 << 20))
    subprocess.run(
        ["sfdisk", "--quiet", str(disk)],
        input=f"label: dos\nstart={START // 512}, type=83, bootable\n",
        text=True,
        check=True,
        stdout=subprocess.DEVNULL,
    )
    subprocess.run(
        ["mkfs.ext4", "-q", "-F", "-d", tree, "-E", f"offset={START}", str(disk), "16384k"],
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    return disk


def test_what_entries_load_is_read_from_the_menu() -> None:
    assert loaded_files(CONFIG) == ["/boot/vmlinuz-1", "/boot/initrd.img-1"]
    assert loaded_files("") == []


def test_a_whole_disk_lacks_nothing_and_a_missing_kernel_is_named(
    tree: Path, tmp_path: Path
) -> None:
    whole = boot_view(disk_of(tree, tmp_path / "whole"))
    assert whole.missing == ()
    assert dict(whole.checksums)["/boot/grub/custom.cfg"] is None
    assert boot_view(tmp_path / "whole") == whole
    (tree / "boot/vmlinuz-1").unlink()
    without = boot_view(disk_of(tree, tmp_path / "without"))
    assert without.missing == ("/boot/vmlinuz-1",)
    (tree / "boot/grub/grub.cfg").write_text("")
    assert boot_view(disk_of(tree, tmp_path / "empty")) not in (whole, without)


def test_a_disk_without_a_file_system_lacks_everything(tmp_path: Path) -> None:
    disk = tmp_path / "zeros"
    disk.write_bytes(bytes(1 << 20))
    assert "/boot/grub/grub.cfg" in boot_view(disk).missing
