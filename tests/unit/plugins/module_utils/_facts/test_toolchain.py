# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Versions, compilers and interfaces of the installed kernels, as headers on disk tell them."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.gpufleet.p2p.plugins.module_utils._facts import toolchain
from ansible_collections.gpufleet.p2p.plugins.module_utils._facts.toolchain import (
    compiler_like,
    headers_package,
    kernel_version,
    toolchain_record,
)
from ansible_collections.gpufleet.p2p.plugins.module_utils._host.compiler import KernelCompiler
from ansible_collections.gpufleet.p2p.plugins.module_utils._host.kernel import read_kernel

RELEASE, BARE = "6.1.0-56-amd64", "6.1.0-60-amd64"
DEBIAN_GCC = "gcc-12 (Debian 12.2.0-14+deb12u1) 12.2.0"


@pytest.fixture
def host(tmp_path: Path) -> Path:
    """Return a root with Debian's split headers for one kernel and none for another."""
    for release in (RELEASE, BARE):
        (tmp_path / "lib/modules" / release / "kernel").mkdir(parents=True)
    flavour = tmp_path / f"usr/src/linux-headers-{RELEASE}"
    common = tmp_path / "usr/src/linux-headers-6.1.0-56-common"
    files = {
        flavour / "Makefile": "",
        flavour / "include/config/auto.conf": f'CONFIG_CC_VERSION_TEXT="{DEBIAN_GCC}"\n',
        flavour / "include/generated/uapi/linux/version.h": (
            "#define LINUX_VERSION_CODE 393664\n#define LINUX_VERSION_MAJOR 6\n"
            "#define LINUX_VERSION_PATCHLEVEL 1\n#define LINUX_VERSION_SUBLEVEL 192\n"
        ),
        common / "include/linux/pci.h": (
            "int __must_check pci_resize_resource(struct pci_dev *dev, int i, int size,\n"
            "\t\t\t\t     int exclude_bars);\n"
        ),
        tmp_path / "etc/os-release": "NAME=Debian\nID=debian\nVERSION_ID=12\n",
    }
    for path, content in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    modules = tmp_path / "lib/modules" / RELEASE
    (modules / "build").symlink_to(f"/{flavour.relative_to(tmp_path)}")
    (modules / "source").symlink_to(f"/{common.relative_to(tmp_path)}")
    return tmp_path


def test_each_installed_kernel_has_its_record(host: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(toolchain, "compiler_like", lambda compiler: compiler.text)
    monkeypatch.setattr(toolchain, "headers_package", lambda release: f"headers-of-{release}")
    record = toolchain_record(host, read_kernel(host))
    assert record["distribution"] == "debian"
    assert record["kernels"] == [
        {
            "release": RELEASE,
            "version": "6.1.192",
            "compiler": DEBIAN_GCC,
            "compiler_found": DEBIAN_GCC,
            "resize_arguments": 4,
            "headers_package": None,
        },
        {
            "release": BARE,
            "version": None,
            "compiler": None,
            "compiler_found": None,
            "resize_arguments": None,
            "headers_package": f"headers-of-{BARE}",
        },
    ]


def test_headers_that_are_damaged_tell_nothing(host: Path) -> None:
    for path in host.glob("usr/src/*/include/**/*.*"):
        path.write_bytes(b"\xff\0")
    (record, _bare) = toolchain_record(host, read_kernel(host))["kernels"]
    told = {name: value for name, value in record.items() if name != "release"}
    assert set(told.values()) == {None}


def test_a_version_of_old_headers_comes_from_its_code(tmp_path: Path) -> None:
    header = tmp_path / "include/generated/uapi/linux/version.h"
    header.parent.mkdir(parents=True)
    header.write_text("#define LINUX_VERSION_CODE 330495\n")
    assert kernel_version(tmp_path) == "5.10.255"
    assert kernel_version(tmp_path / "none") is None


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    return folder


def tool(path: Path, says: str) -> None:
    path.write_text(f"#!/bin/sh\ncat <<'END'\n{says}\nEND\n")
    path.chmod(0o755)


def test_a_compiler_of_another_name_is_found_by_its_major_version(tools: Path) -> None:
    wanted = KernelCompiler("x86_64-linux-gnu-gcc-77 (Ubuntu 77.3.0-1) 77.3.0")
    assert compiler_like(wanted) is None
    tool(tools / "gcc", "gcc (Debian 78.1.0) 78.1.0")
    assert compiler_like(wanted) is None
    tool(tools / "gcc", "gcc (Debian 77.1.0) 77.1.0\nCopyright")
    assert compiler_like(wanted) == "gcc (Debian 77.1.0) 77.1.0"


@pytest.mark.parametrize(
    ("says", "package"),
    [
        ("x:\n  Installed: (none)\n  Candidate: 6.1.192-2", f"linux-headers-{BARE}"),
        ("x:\n  Installed: (none)\n  Candidate: (none)", None),
        ("", None),
    ],
)
def test_headers_that_apt_could_install(tools: Path, says: str, package: str | None) -> None:
    tool(tools / "apt-cache", says)
    assert headers_package(BARE) == package
