# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The userspace release behind the loader's names."""

from __future__ import annotations

from pathlib import Path

from ansible_collections.gpufleet.p2p.plugins.module_utils._driver.userspace import (
    userspace_version,
)


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
