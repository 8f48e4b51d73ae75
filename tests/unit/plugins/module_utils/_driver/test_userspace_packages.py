# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which packages are NVIDIA's of one release, and to which other ones apt could bring them."""

from __future__ import annotations

import pytest
from ansible_collections.gpufleet.p2p.plugins.module_utils._driver.userspace_packages import (
    Package,
    common_releases,
    held_by_host,
    parse_madison,
    parse_packages,
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


MADISON = """\
  libcuda1 | 595.71.05-1 | file:/srv/repository ./ Packages
  libcuda1 | 595.58.03-2 | file:/srv/repository ./ Packages
  libcuda1 | 595.58.03-1 | file:/srv/old ./ Packages
libcuda1:i386 | 595.58.03-2 | file:/srv/repository ./ Packages
libnvidia-ml1 | 595.58.03-2 | file:/srv/repository ./ Packages
nvidia-graphics-drivers | 595.58.03-2 | https://example.org sid/non-free Sources
N: Unable to locate package other
"""


def test_versions_of_packages_and_not_of_sources() -> None:
    assert parse_madison(MADISON) == {
        "libcuda1": ("595.71.05-1", "595.58.03-2", "595.58.03-1"),
        "libcuda1:i386": ("595.58.03-2",),
        "libnvidia-ml1": ("595.58.03-2",),
    }


def test_packages_move_together_or_not_at_all() -> None:
    available = {"a": ("595.71.05-1", "595.58.03-2", "595.58.03-1"), "b": ("595.58.03-2",)}
    # Of several builds of one release the newest is taken.
    assert common_releases(available) == {"595.58.03": {"a": "595.58.03-2", "b": "595.58.03-2"}}
    assert common_releases({**available, "c": ()}) == {}
    assert common_releases({}) == {}


def test_a_hold_is_the_hosts_own_unless_we_set_it() -> None:
    packages = [Package("a", "1", "hold"), Package("b", "1", "hold"), Package("c", "1", "install")]
    assert held_by_host(packages, {"a": "install"}) == ("b",)
