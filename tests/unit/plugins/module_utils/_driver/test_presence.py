# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What of a driver lies on a host, and how its libraries came there."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.gpufleet.p2p.plugins.module_utils._driver.presence import (
    firmware_releases,
    module_files,
    userspace_origin,
)

KERNEL = "6.1.0-56-amd64"
LIBRARIES = "usr/lib/x86_64-linux-gnu"


@pytest.fixture
def host(tmp_path: Path) -> Path:
    libraries = tmp_path / LIBRARIES
    libraries.mkdir(parents=True)
    (libraries / "libcuda.so.595.58.03").touch()
    (libraries / "libcuda.so.1").symlink_to("libcuda.so.595.58.03")
    return tmp_path


def dpkg_owns(host: Path, package: str, path: str) -> None:
    lists = host / "var/lib/dpkg/info"
    lists.mkdir(parents=True, exist_ok=True)
    (lists / f"{package}.list").write_text(f"/.\n{path}\n")


@pytest.mark.parametrize("prefix", ["/", "/usr/"])
def test_libraries_of_packages_with_and_without_merged_usr(host: Path, prefix: str) -> None:
    dpkg_owns(host, "libcuda1:amd64", f"{prefix}lib/x86_64-linux-gnu/libcuda.so.595.58.03")
    dpkg_owns(host, "other", "/usr/lib/x86_64-linux-gnu/libcuda.so.595.58.03.more")
    assert userspace_origin(host) == {"by": "packages", "packages": ["libcuda1"]}


def test_libraries_of_nvidias_installer(host: Path) -> None:
    assert userspace_origin(host) == {"by": "unknown", "packages": []}
    (host / "usr/bin").mkdir()
    (host / "usr/bin/nvidia-uninstall").touch()
    assert userspace_origin(host) == {"by": "runfile", "packages": []}


def test_no_libraries(tmp_path: Path) -> None:
    assert userspace_origin(tmp_path) == {"by": None, "packages": []}


def test_firmware_counts_only_with_its_gsp_files(tmp_path: Path) -> None:
    for name in ("595.58.03/gsp_ga10x.bin", "570.86.16/readme", "ad102/gsp/gsp-535.113.01.bin"):
        path = tmp_path / "usr/lib/firmware/nvidia" / name
        path.parent.mkdir(parents=True)
        path.touch()
    (tmp_path / "lib").symlink_to("usr/lib")
    assert firmware_releases(tmp_path) == ["595.58.03"]


def test_every_nvidia_module_below_the_kernel_is_listed(tmp_path: Path) -> None:
    names = ("updates/dkms/nvidia-current-open.ko", "kernel/drivers/video/nvidia.ko.xz")
    others = ("updates/dkms/nvidia-uvm.ko", "kernel/drivers/i2c/i2c-nvidia-gpu.ko")
    for name in names + others:
        path = tmp_path / "lib/modules" / KERNEL / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    assert module_files(tmp_path, KERNEL) == sorted(names)
    assert module_files(tmp_path, "none") == []
