# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Processor, kernels and GPU users are read from samples of what the kernel shows."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.gpufleet.p2p.plugins.module_utils._host.cpu import (
    Cpu,
    parse_cpuinfo,
    read_cpu,
)
from ansible_collections.gpufleet.p2p.plugins.module_utils._host.device_users import (
    DeviceUser,
    device_minors,
    device_users,
)
from ansible_collections.gpufleet.p2p.plugins.module_utils._host.kernel import (
    read_kernel,
    release_order,
)

CPUINFO = """\
processor\t: 0
vendor_id\t: {vendor}
cpu family\t: 25
model\t\t: 1
model name\t: {model}
flags\t\t: fpu vme

processor\t: 1
vendor_id\t: Other
model name\t: another
"""


@pytest.mark.parametrize(
    ("identity", "vendor"),
    [("GenuineIntel", "intel"), ("AuthenticAMD", "amd"), ("HygonGenuine", "other")],
)
def test_first_processor_tells_its_maker(identity: str, vendor: str) -> None:
    text = CPUINFO.format(vendor=identity, model="A Model 9 (TM)")
    assert parse_cpuinfo(text) == Cpu(vendor, "A Model 9 (TM)")


def test_unreadable_processor_is_other(tmp_path: Path) -> None:
    assert read_cpu(tmp_path) == Cpu("other", "")


def test_releases_sort_by_number() -> None:
    releases = ["6.1.0-10-amd64", "6.12.0-1-amd64", "6.1.0-9-amd64", "5.10.0-30-amd64"]
    assert sorted(releases, key=release_order) == [
        "5.10.0-30-amd64",
        "6.1.0-9-amd64",
        "6.1.0-10-amd64",
        "6.12.0-1-amd64",
    ]


def test_a_name_with_more_digits_than_a_number_has_sorts_like_text() -> None:
    # int() refuses beyond 4300 digits; found by the fuzzer.
    assert release_order("6." + "9" * 5000) < release_order("6.1")


def test_kernels_and_their_headers(tmp_path: Path) -> None:
    modules = tmp_path / "lib/modules"
    for release in ("6.1.0-9-amd64", "6.1.0-10-amd64", "6.1.0-8-amd64"):
        (modules / release).mkdir(parents=True)
    for release in ("6.1.0-9-amd64", "6.1.0-10-amd64"):
        (modules / release / "kernel").mkdir()
    # Debian's link is absolute; a distribution's may be relative or a directory.
    headers = tmp_path / "usr/src/linux-headers-6.1.0-9-amd64"
    headers.mkdir(parents=True)
    (headers / "Makefile").touch()
    (modules / "6.1.0-9-amd64/build").symlink_to("/usr/src/linux-headers-6.1.0-9-amd64")
    (modules / "6.1.0-10-amd64/build").symlink_to("/usr/src/absent")
    (tmp_path / "proc/sys/kernel").mkdir(parents=True)
    (tmp_path / "proc/sys/kernel/osrelease").write_text("6.1.0-10-amd64\n")
    (tmp_path / "proc/cmdline").write_text("root=/dev/vda1 iommu=pt\n")
    unread = read_kernel(tmp_path)
    assert (unread.boot_id, unread.compiler) == ("", None)
    (tmp_path / "proc/sys/kernel/random").mkdir()
    (tmp_path / "proc/sys/kernel/random/boot_id").write_text("3c1f6f0e\n")
    kernel = read_kernel(tmp_path)
    assert kernel.boot_id == "3c1f6f0e"
    assert kernel.release == "6.1.0-10-amd64"
    assert kernel.cmdline == "root=/dev/vda1 iommu=pt"
    assert kernel.installed == ("6.1.0-9-amd64", "6.1.0-10-amd64")
    assert kernel.with_headers == ("6.1.0-9-amd64",)
    assert not kernel.headers


def test_headers_directory_in_place(tmp_path: Path) -> None:
    release = tmp_path / "lib/modules/6.1.0"
    (release / "kernel").mkdir(parents=True)
    (release / "build").mkdir()
    (release / "build/Makefile").touch()
    assert read_kernel(tmp_path).with_headers == ("6.1.0",)


def test_relative_headers_link(tmp_path: Path) -> None:
    release = tmp_path / "lib/modules/6.1.0"
    (release / "kernel").mkdir(parents=True)
    (release / "source").mkdir()
    (release / "source/Makefile").touch()
    (release / "build").symlink_to("source")
    assert read_kernel(tmp_path).with_headers == ("6.1.0",)


def _process(root: Path, pid: int, name: str, *targets: str) -> None:
    descriptors = root / f"proc/{pid}/fd"
    descriptors.mkdir(parents=True)
    (root / f"proc/{pid}/comm").write_text(f"{name}\n")
    for number, target in enumerate(targets):
        (descriptors / str(number)).symlink_to(target)


def test_users_are_those_with_a_gpus_file_open(tmp_path: Path) -> None:
    _process(tmp_path, 4711, "python3", "/dev/nvidiactl", "/dev/nvidia1", "/dev/nvidia1")
    _process(tmp_path, 100, "nvidia-persiste", "/dev/nvidia0", "/dev/nvidia1")
    _process(tmp_path, 200, "sh", "/dev/null", "/dev/nvidia-uvm")
    (tmp_path / "proc/self").mkdir()
    (tmp_path / "proc/300").mkdir()  # ended meanwhile
    assert device_users(tmp_path) == (DeviceUser(1, 4711, "python3"),)


def test_minors_come_from_the_drivers_own_list(tmp_path: Path) -> None:
    gpu = tmp_path / "proc/driver/nvidia/gpus/0000:0A:00.0"
    gpu.mkdir(parents=True)
    (gpu / "information").write_text(
        "Model: \t\t NVIDIA GeForce RTX 4090\nIRQ:   \t\t 120\n"
        "Device Minor: \t 3\nGPU Excluded:\t No\n"
    )
    assert device_minors(tmp_path) == {"0000:0a:00.0": 3}


def test_no_driver_no_minors(tmp_path: Path) -> None:
    assert device_minors(tmp_path) == {}
