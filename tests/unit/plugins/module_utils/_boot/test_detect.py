# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The boot loader is told from evidence; what is not supported is refused by its name."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.gpufleet.p2p.plugins.module_utils._boot.detect import (
    detect,
    processor_vendor,
)
from ansible_collections.gpufleet.p2p.plugins.module_utils._boot.grub_bls import GrubBls
from ansible_collections.gpufleet.p2p.plugins.module_utils._boot.grub_mkconfig import GrubMkconfig
from ansible_collections.gpufleet.p2p.plugins.module_utils._boot.interface import (
    BootLoaderUnsupported,
)
from support.bls_host import LAYOUTS, MENU, BlsHost
from support.boot_host import BootHost
from support.plain_grub_hosts import ArchHost, OpenSuseHost

EFIVARS = "sys/firmware/efi/efivars"
GUID = "4a67b082-0a4c-41cf-b6c7-440b29bb8c4f"


def loader_variable(host: BootHost, name: str, text: str) -> None:
    path = host.path(f"{EFIVARS}/{name}-{GUID}")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"\x06\x00\x00\x00" + f"{text}\0".encode("utf-16-le"))


def test_debian_grub_on_bios_and_efi(host: BootHost) -> None:
    loader = detect(host.root)
    assert (loader.name, loader.firmware, loader.vendor) == ("grub_debian", "bios", "intel")
    assert loader.trial_support().possible
    # GRUB 2.12 names itself in the same variable as systemd-boot.
    loader_variable(host, "LoaderInfo", "GRUB 2.12-1")
    assert detect(host.root).firmware == "efi"


@pytest.mark.parametrize(
    ("evidence", "name"),
    [
        ("run/ostree-booted", "ostree"),
        ("etc/kernelstub/configuration", "kernelstub"),
        ("boot/loader/entries/a.conf", "boot_loader_specification"),
    ],
)
def test_more_specific_evidence_goes_before_grub(host: BootHost, evidence: str, name: str) -> None:
    host.write(evidence, "")
    with pytest.raises(BootLoaderUnsupported) as refusal:
        detect(host.root)
    assert (refusal.value.code, refusal.value.loader) == ("unsupported_boot_loader", name)


def test_a_unified_kernel_image_is_refused(host: BootHost) -> None:
    loader_variable(host, "StubInfo", "systemd-stub 257")
    with pytest.raises(BootLoaderUnsupported) as refusal:
        detect(host.root)
    assert refusal.value.loader == "unified_kernel_image"


def test_systemd_boot_goes_before_the_files_of_a_grub_that_is_not_used(host: BootHost) -> None:
    loader_variable(host, "LoaderInfo", "systemd-boot 252.39-1~deb12u1")
    assert detect(host.root).name == "systemd_boot"


def test_proxmox_is_told_by_its_list_of_partitions(host: BootHost) -> None:
    host.write("etc/kernel/proxmox-boot-uuids", "1A2B-3C4D\n")
    assert detect(host.root).name == "proxmox_grub"
    loader_variable(host, "LoaderInfo", "systemd-boot 252.31-1")
    assert detect(host.root).name == "proxmox_systemd_boot"


def test_entries_that_no_menu_reads_are_refused_by_name(host: BootHost) -> None:
    host.write("boot/loader/entries/a.conf", "")
    host.write("usr/sbin/grubby", "")
    host.write("boot/grub2/grub.cfg", "menuentry x {\n\ttrue\n}\n")
    with pytest.raises(BootLoaderUnsupported) as refusal:
        detect(host.root)
    assert refusal.value.loader == "grub_bls"
    assert "no grub.cfg" in refusal.value.read


@pytest.mark.parametrize("kind", LAYOUTS)
def test_the_rhel_family_is_told_by_its_entries_and_menu(tmp_path: Path, kind: str) -> None:
    host = BlsHost(tmp_path, kind)
    loader = host.loader()
    assert (loader.name, loader.firmware) == ("grub_bls", "efi" if "efi" in kind else "bios")
    # A stub leads on to the menu in /boot/grub2; RHEL 8 has its menu on the EFI partition.
    assert isinstance(loader, GrubBls)
    assert loader.directory.as_posix() == host.layout.directory


def test_two_menus_that_read_the_entries_are_refused(tmp_path: Path) -> None:
    host = BlsHost(tmp_path, "rhel_8_efi")
    host.write("boot/grub2/grub.cfg", MENU.format(fallback="ro"))
    with pytest.raises(BootLoaderUnsupported) as refusal:
        host.loader()
    assert "/boot/efi/EFI/redhat/grub.cfg, /boot/grub2/grub.cfg" in refusal.value.read


def test_entries_without_etc_default_grub_are_refused(tmp_path: Path) -> None:
    host = BlsHost(tmp_path, "rhel_9_bios")
    host.path("etc/default/grub").unlink()
    with pytest.raises(BootLoaderUnsupported) as refusal:
        host.loader()
    assert "no /etc/default/grub" in refusal.value.read


@pytest.mark.parametrize(("kind", "prefix"), [(ArchHost, "grub"), (OpenSuseHost, "grub2")])
def test_plain_grub_is_told_by_its_generator(
    tmp_path: Path, kind: type[ArchHost], prefix: str
) -> None:
    host = kind(tmp_path)
    loader = detect(tmp_path)
    assert isinstance(loader, GrubMkconfig)
    assert (loader.name, loader.program_prefix) == ("grub_mkconfig", prefix)
    assert loader.directory.as_posix() == host.directory
    # With update-grub there is a Debian, whose generator reads drop-ins.
    host.write("usr/sbin/update-grub", "")
    host.write("boot/grub/grub.cfg", "x")
    assert detect(tmp_path).name == "grub_debian"


def test_nothing_known_is_refused_with_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(BootLoaderUnsupported) as refusal:
        detect(tmp_path)
    assert refusal.value.loader is None
    assert "/boot/grub/grub.cfg" in refusal.value.read


@pytest.mark.parametrize(
    ("identity", "vendor"),
    [("GenuineIntel", "intel"), ("AuthenticAMD", "amd"), ("HygonGenuine", "amd"), ("Other", None)],
)
def test_processor_vendor(tmp_path: Path, identity: str, vendor: str | None) -> None:
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/cpuinfo").write_text(f"vendor_id\t: {identity}\n", encoding="utf-8")
    assert processor_vendor(tmp_path) == vendor
