# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The userspace release behind the loader's names."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.gpufleet.p2p.plugins.module_utils._host.userspace import (
    library_releases,
    loaded_release,
    parse_module_version,
    userspace_version,
)
from hypothesis import given
from hypothesis import strategies as st


def library(root: Path, name: str, content: str = "elf") -> Path:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    return path


def link(root: Path, name: str, target: str) -> None:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(target)


def test_plain_links_of_the_runfile(tmp_path: Path) -> None:
    library(tmp_path, "usr/lib/x86_64-linux-gnu/libcuda.so.595.58.03")
    link(tmp_path, "usr/lib/x86_64-linux-gnu/libcuda.so.1", "libcuda.so.595.58.03")
    assert userspace_version(tmp_path) == "595.58.03"


def test_debian_alternatives_stay_below_the_root(tmp_path: Path) -> None:
    current = "usr/lib/x86_64-linux-gnu/nvidia/current"
    library(tmp_path, f"{current}/libcuda.so.535.261.03")
    link(tmp_path, f"{current}/libcuda.so.1", "libcuda.so.535.261.03")
    link(tmp_path, "etc/alternatives/glx--libcuda.so.1", f"/{current}/libcuda.so.1")
    link(tmp_path, "usr/lib/x86_64-linux-gnu/libcuda.so.1", "/etc/alternatives/glx--libcuda.so.1")
    assert userspace_version(tmp_path) == "535.261.03"


def test_nvml_answers_where_there_is_no_libcuda(tmp_path: Path) -> None:
    library(tmp_path, "usr/lib64/libnvidia-ml.so.580.95.05")
    link(tmp_path, "usr/lib64/libnvidia-ml.so.1", "libnvidia-ml.so.580.95.05")
    assert userspace_version(tmp_path) == "580.95.05"


def test_a_dangling_or_circular_link_and_an_empty_host_have_none(tmp_path: Path) -> None:
    assert userspace_version(tmp_path) is None
    link(tmp_path, "usr/lib64/libcuda.so.1", "libcuda.so.595.58.03")
    link(tmp_path, "usr/lib/libcuda.so.1", "libcuda.so.1")
    assert userspace_version(tmp_path) is None


def test_each_library_has_its_release(tmp_path: Path) -> None:
    library(tmp_path, "usr/lib64/libcuda.so.570.86.16")
    link(tmp_path, "usr/lib64/libcuda.so.1", "libcuda.so.570.86.16")
    library(tmp_path, "usr/lib64/libnvidia-ml.so.595.58.03")
    link(tmp_path, "usr/lib64/libnvidia-ml.so.1", "libnvidia-ml.so.595.58.03")
    assert library_releases(tmp_path) == {
        "libcuda.so.1": "570.86.16",
        "libnvidia-ml.so.1": "595.58.03",
    }


OPEN = "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  595.58.03  Release Build  (a@b) \n"
PROPRIETARY = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.104.05  Sat Aug 19 2023\n"


@pytest.mark.parametrize(
    ("text", "version"),
    [
        (OPEN + "GCC version:  gcc version 12.2.0 (Debian 12.2.0-14)\n", "595.58.03"),
        (PROPRIETARY, "535.104.05"),
        ("GCC version:  gcc version 12.2.0\n", None),
        ("", None),
    ],
)
def test_the_modules_release(text: str, version: str | None) -> None:
    assert parse_module_version(text) == version


def test_the_modules_release_is_told_with_its_source(tmp_path: Path) -> None:
    assert loaded_release(tmp_path) == (None, "")
    library(tmp_path, "sys/module/nvidia/version", "595.58.03\n")
    assert loaded_release(tmp_path) == ("595.58.03", "/sys/module/nvidia/version")
    library(tmp_path, "proc/driver/nvidia/version", OPEN)
    assert loaded_release(tmp_path) == ("595.58.03", "/proc/driver/nvidia/version")


@given(st.text())
def test_any_text_has_a_release_or_none(text: str) -> None:
    version = parse_module_version(f"NVRM version: NVIDIA UNIX Kernel Module{text}")
    assert version is None or version in text
