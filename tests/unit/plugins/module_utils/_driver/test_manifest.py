# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Build records: out of files, out of archives, and what does not count as a build."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest
from ansible_collections.gpufleet.p2p.plugins.module_utils._driver import build, initramfs, manifest
from ansible_collections.gpufleet.p2p.plugins.module_utils._driver.dkms import (
    DkmsPackage,
    DkmsTrees,
)
from hypothesis import given
from hypothesis import strategies as st
from support.elf_objects import module_image

KERNEL = "6.1.0-56-cloud-amd64"
NAMES = ("nvidia", "nvidia-uvm")


@pytest.fixture
def package(tmp_path: Path) -> DkmsPackage:
    trees = DkmsTrees(tmp_path / "dkms", tmp_path / "source", tmp_path / "modules")
    made = DkmsPackage("gpufleet-nvidia", "595.58.03", trees, "x86_64")
    directory = made.build_directory(KERNEL) / "module"
    directory.mkdir(parents=True)
    for number, name in enumerate(NAMES):
        image = module_image(bytes([number]) * 20, {"vermagic": f"{KERNEL} SMP mod_unload"})
        (directory / f"{name}.ko").write_bytes(image)
    return made


def observe(package: DkmsPackage) -> manifest.Manifest:
    return manifest.observe(
        package, KERNEL, NAMES, source_key="ab" * 32, kernel_compiler="gcc-12 (Debian) 12.2.0"
    )


def record(package: DkmsPackage) -> manifest.Manifest:
    made = observe(package)
    (package.build_directory(KERNEL) / manifest.FILE_NAME).write_bytes(made.as_json())
    return made


def test_a_record_survives_its_file(package: DkmsPackage) -> None:
    assert manifest.recorded(package, KERNEL) is None
    made = record(package)
    assert manifest.recorded(package, KERNEL) == made
    assert [module.build_id for module in made.modules] == ["00" * 20, "01" * 20]


@pytest.mark.parametrize("damage", ["truncated", "removed", "record"])
def test_a_damaged_build_is_no_build(package: DkmsPackage, damage: str) -> None:
    record(package)
    path = package.build_directory(KERNEL) / "module/nvidia-uvm.ko"
    if damage == "truncated":
        path.write_bytes(path.read_bytes()[:-1])
    elif damage == "removed":
        path.unlink()
    else:
        (package.build_directory(KERNEL) / manifest.FILE_NAME).write_text("{")
    assert manifest.recorded(package, KERNEL) is None


@pytest.mark.parametrize(
    ("image", "said"),
    [
        (module_image(None, {"vermagic": f"{KERNEL} SMP"}), "no GNU build-id"),
        (module_image(b"\1" * 20, {"vermagic": "6.1.0-55-cloud-amd64 SMP"}), "compiled for 6.1"),
        (None, "nvidia-uvm: not built"),
    ],
)
def test_what_a_build_must_not_hold(package: DkmsPackage, image: bytes | None, said: str) -> None:
    path = package.build_directory(KERNEL) / "module/nvidia-uvm.ko"
    path.unlink()
    if image is not None:
        path.write_bytes(image)
    with pytest.raises(manifest.BuildRefused) as refusal:
        observe(package)
    assert said in refusal.value.read


def test_the_record_is_read_out_of_an_archive(package: DkmsPackage, tmp_path: Path) -> None:
    made = record(package)
    archive = tmp_path / "a.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        member = tarfile.TarInfo(f"./dkms_main_tree/{KERNEL}/x86_64/{manifest.FILE_NAME}")
        member.size = len(made.as_json())
        tar.addfile(member, io.BytesIO(made.as_json()))
    assert manifest.in_archive(archive, KERNEL, "x86_64") == made
    with pytest.raises(manifest.BuildRefused) as refusal:
        manifest.in_archive(archive, "6.12.0-1-amd64", "x86_64")
    assert f"{KERNEL}/x86_64" in refusal.value.read


@given(st.binary(max_size=200))
def test_any_bytes_are_a_record_or_refused(data: bytes) -> None:
    with pytest.raises(manifest.BuildRefused):
        manifest.parse(data, "test")


def test_a_build_log_is_summed_up_by_its_errors() -> None:
    log = "\n".join(
        [f"  CC [M]  file{n}.o" for n in range(50)]
        + ["nv.c:12:5: error: too few arguments to function", "  CC [M]  last.o"]
    )
    summary = build.log_summary(log)
    assert summary.splitlines()[0] == "nv.c:12:5: error: too few arguments to function"
    assert summary.endswith("last.o")


def test_driver_modules_in_the_listing_of_an_initramfs() -> None:
    listing = (
        "usr/lib/modules/6.1/kernel/drivers/nvme/host/nvme.ko\n"
        "usr/lib/modules/6.1/kernel/drivers/i2c/busses/i2c-nvidia-gpu.ko\n"
        "usr/lib/modules/6.1/updates/dkms/nvidia.ko\n"
        "usr/lib/modules/6.1/updates/dkms/nvidia-drm.ko.xz\n"
        "usr/lib/modules/6.1/updates/dkms/nvidia-current.ko\n"
    )
    assert initramfs.driver_paths(listing) == (
        "usr/lib/modules/6.1/updates/dkms/nvidia.ko",
        "usr/lib/modules/6.1/updates/dkms/nvidia-drm.ko.xz",
    )


def test_rivals_in_the_listing_of_an_initramfs() -> None:
    listing = (
        "usr/lib/modules/7.0/kernel/drivers/gpu/drm/nouveau/nouveau.ko.zst\n"
        "usr/lib/modules/7.0/kernel/drivers/gpu/nova-core/nova-core.ko\n"
        "usr/lib/modules/7.0/kernel/drivers/gpu/drm/nova/nova.ko\n"
        "usr/lib/modules/7.0/kernel/drivers/net/supernova.ko\n"
    )
    assert initramfs.rival_paths(listing) == tuple(listing.splitlines()[:3])
