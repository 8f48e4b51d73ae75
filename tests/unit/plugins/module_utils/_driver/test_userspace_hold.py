# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which packages are NVIDIA's of one release, and what apt is told about them."""

from __future__ import annotations

import re

import pytest
from ansible_collections.gpufleet.p2p.plugins.module_utils._driver.userspace_hold import (
    Package,
    parse_packages,
    pin_text,
    upstream_version,
)
from hypothesis import given
from hypothesis import strategies as st

# dpkg-query on Ubuntu 24.04 (a server branch), and Debian 12.
DPKG = """\
libnvidia-compute-595-server:amd64\t595.58.03-0ubuntu0.24.04.1\tinstall\tinstalled\tnvidia-graphics-drivers-595-server
nvidia-utils-595-server\t595.58.03-0ubuntu0.24.04.1\thold\tinstalled\tnvidia-graphics-drivers-595-server
libnvidia-compute-580:amd64\t580.95.05-0ubuntu0.24.04.1\tdeinstall\tconfig-files\tnvidia-graphics-drivers-580
libcuda1:amd64\t595.58.03-1\tinstall\tinstalled\tnvidia-graphics-drivers
libcuda1:i386\t595.58.03-1\tinstall\tinstalled\tnvidia-graphics-drivers
unrelated\t595.58.03-1\tinstall\tinstalled\tunrelated
nvidia-container-toolkit\t1.17.4-1\tinstall\tinstalled\tnvidia-container-toolkit
"""


@pytest.mark.parametrize(
    ("version", "upstream"),
    [
        ("595.58.03-1", "595.58.03"),
        ("1:595.58.03-0ubuntu0.24.04.1", "595.58.03"),
        ("595.58.03", "595.58.03"),
        ("535.261.03-1~deb12u1", "535.261.03"),
        ("2.0-rc1-3", "2.0-rc1"),
    ],
)
def test_the_upstream_part_of_a_version(version: str, upstream: str) -> None:
    assert upstream_version(version) == upstream


def test_only_installed_packages_of_the_release_count() -> None:
    found = parse_packages(DPKG, "595.58.03")
    assert [(package.name, package.want) for package in found] == [
        ("libcuda1:amd64", "install"),
        ("libcuda1:i386", "install"),
        ("libnvidia-compute-595-server:amd64", "install"),
        ("nvidia-utils-595-server", "hold"),
    ]
    assert parse_packages(DPKG, "580.95.05") == ()


@given(st.text())
def test_other_text_is_no_package(text: str) -> None:
    assert all(package.version for package in parse_packages(text, "595.58.03"))


def test_each_name_is_pinned_once_to_its_version() -> None:
    text = pin_text([Package(f"libcuda1:{arch}", "595.58.03-1", "install") for arch in "ab"])
    stanzas = re.findall(r"^Package: (\S+)\nPin: version (\S+)\nPin-Priority: 1001$", text, re.M)
    assert stanzas == [("libcuda1", "595.58.03-1")]
