# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a kind of guest is made from, and which changes make which layers anew."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from gpufleet.lab import recipe
from gpufleet.lab.kind import FIRMWARES, RELEASES, GuestKind
from gpufleet.lab.paths import EFI_GUEST_FILES, GUEST_FILES


def test_each_release_and_each_way_to_boot_has_a_key_of_its_own() -> None:
    kinds = [GuestKind(release, firmware) for release in RELEASES for firmware in FIRMWARES]
    kinds.append(GuestKind("bookworm", "efi", "systemd-boot"))
    assert len({recipe.boot_key(kind) for kind in kinds}) == len(kinds)


def test_a_bios_guest_starts_from_the_disk_made_with_its_release() -> None:
    assert recipe.boot_key(GuestKind("trixie")) == recipe.base_key("trixie")


def test_what_only_efi_guests_have_makes_no_other_image_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kinds = (GuestKind(), GuestKind(firmware="efi"))
    bios, efi = (recipe.golden_key(kind, tmp_path) for kind in kinds)
    changed = tmp_path / "guest_efi"
    shutil.copytree(EFI_GUEST_FILES, changed)
    (changed / "tree/etc/fstab").write_text("changed\n")
    monkeypatch.setattr(recipe, "EFI_GUEST_FILES", changed)
    assert recipe.golden_key(kinds[0], tmp_path) == bios
    assert recipe.golden_key(kinds[1], tmp_path) != efi


def test_what_every_guest_has_makes_all_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = recipe.boot_key(GuestKind(firmware="efi"))
    shutil.copytree(GUEST_FILES, tmp_path / "guest")
    (tmp_path / "guest/tree/etc/fstab").write_text("changed\n")
    monkeypatch.setattr(recipe, "GUEST_FILES", tmp_path / "guest")
    assert recipe.boot_key(GuestKind(firmware="efi")) != before


def test_the_oldest_release_alone_needs_its_usr_merged() -> None:
    assert [bool(recipe.bootstrap_hooks(release)) for release in RELEASES] == [True, False, False]


def test_merging_usr_asks_for_no_package_that_the_oldest_release_lacks(tmp_path: Path) -> None:
    (hook,) = recipe.bootstrap_hooks("bullseye")
    script = hook.removeprefix("--setup-hook=")
    # As mmdebstrap runs it: the new root is $1.
    subprocess.run(["sh", "-ec", script, "exec", str(tmp_path)], check=True)
    links = sorted(path.name for path in tmp_path.iterdir() if path.is_symlink())
    assert links == ["bin", "lib", "lib32", "lib64", "libx32", "sbin"]
    assert all((tmp_path / name).resolve() == tmp_path / "usr" / name for name in links)


def test_no_kind_keeps_two_boot_loaders() -> None:
    assert "grub-efi-amd64" in recipe.efi_packages("grub")
    assert "grub-pc-" in recipe.efi_packages("grub")
    words = recipe.efi_packages("systemd-boot")
    assert [word for word in words if word.startswith("grub") and not word.endswith("-")] == []


def test_the_efi_partition_is_mounted_by_the_label_that_it_is_given() -> None:
    installer = EFI_GUEST_FILES / "tree/usr/local/sbin/gpufleet-lab-install-boot-loader"
    label = "GPUFLEETESP"
    assert f"-n {label} " in installer.read_text(encoding="utf-8")
    fstab = (EFI_GUEST_FILES / "tree/etc/fstab").read_text(encoding="utf-8")
    assert f"LABEL={label} /boot/efi vfat" in fstab


def test_an_overloaded_machine_waits_for_its_efi_partition_instead_of_stopping() -> None:
    fstab = (EFI_GUEST_FILES / "tree/etc/fstab").read_text(encoding="utf-8")
    partition = next(words for words in map(str.split, fstab.splitlines()) if "/boot/efi" in words)
    options = partition[3].split(",")
    # Without it systemd enters emergency mode when the mount fails, where nobody can log in.
    assert "nofail" in options
    # nofail also lifts the order: what logs in would find an empty /boot/efi.
    assert "x-systemd.before=ssh.service" in options
    # systemd's own patience is 90 seconds, which an emulated machine beside others exceeds.
    assert {"x-systemd.device-timeout=10min", "x-systemd.mount-timeout=10min"} <= set(options)


def test_no_guest_panics_for_ticks_that_a_busy_host_delivers_late() -> None:
    parameters = [
        GUEST_FILES / "tree/etc/default/grub.d/gpufleet-lab.cfg",
        EFI_GUEST_FILES / "systemd-boot/etc/kernel/cmdline",
    ]
    assert all("no_timer_check" in path.read_text(encoding="utf-8") for path in parameters)
