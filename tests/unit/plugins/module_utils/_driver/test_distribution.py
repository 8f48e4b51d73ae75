# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which archives are the distribution's own, and which sources are open drivers."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.gpufleet.p2p.plugins.module_utils._driver.distribution import (
    AptSource,
    DistributionSourceMissing,
    apt_sources,
    distribution_source,
    upstream_version,
)
from ansible_collections.gpufleet.p2p.plugins.module_utils._driver.source import inspect

KEY = "/usr/share/keyrings/debian-archive-keyring.gpg"
VERSION = "535.261.03"


@pytest.fixture
def debian(tmp_path: Path) -> Path:
    (tmp_path / "etc/apt/sources.list.d").mkdir(parents=True)
    (tmp_path / "etc/os-release").write_text('ID=debian\nVERSION_CODENAME="bookworm"\n')
    return tmp_path


def installed(root: Path, name: str, licence: str = "Dual MIT/GPL") -> Path:
    folder = root / "usr/src" / name
    (folder / "nvidia").mkdir(parents=True)
    (folder / "nvidia/nv-kernel.o_binary").write_text("object")
    (folder / "nvidia/nv-frontend.c").write_text(f'MODULE_LICENSE("{licence}");\n')
    (folder / "Kbuild").write_text(f'ccflags-y += -DNV_VERSION_STRING=\\"{VERSION}\\"\n')
    (folder / "dkms.conf").write_text("theirs\n")
    return folder


def test_the_distributions_archives_in_either_form(debian: Path) -> None:
    lists = debian / "etc/apt/sources.list.d"
    (lists / "debian.sources").write_text(
        "Types: deb deb-src\n# a remark\nURIs: http://mirror.example/debian\n"
        f"Suites: bookworm bookworm-updates\nComponents: main\nSigned-By: {KEY}\n\n"
        "Types: deb\nURIs: http://mirror.example/old\nSuites: bookworm\nComponents: main\n"
        "Enabled: no\n"
    )
    (debian / "etc/apt/sources.list").write_text(
        "# deb http://off.example/debian bookworm main\n"
        f"deb [arch=amd64 signed-by={KEY}] http://security.example bookworm-security main contrib\n"
        "deb-src http://mirror.example/debian bookworm main\n"
    )
    assert apt_sources(debian) == [
        AptSource("http://security.example", "bookworm-security", KEY),
        AptSource("http://mirror.example/debian", "bookworm", KEY),
        AptSource("http://mirror.example/debian", "bookworm-updates", KEY),
    ]


def test_third_parties_archives_are_left_out(debian: Path) -> None:
    (debian / "etc/apt/sources.list").write_text(
        "deb http://vendor.example/repo stable main\n"
        "deb http://vendor.example/docker bookworm stable\n"
        "deb http://vendor.example/cuda /\n"
    )
    assert apt_sources(debian) == []


def test_a_line_has_the_components_that_drivers_lie_in() -> None:
    line = AptSource("http://mirror.example", "bookworm", KEY).line(("main", "contrib"))
    assert line == f"deb [signed-by={KEY}] http://mirror.example bookworm main contrib"


@pytest.mark.parametrize(
    ("package", "driver"),
    [("535.261.03-1", VERSION), ("1:550.163.01-2~deb13u1", "550.163.01"), ("535", "535")],
)
def test_the_drivers_release_in_a_packages_version(package: str, driver: str) -> None:
    assert upstream_version(package) == driver


def test_an_installed_source_becomes_a_whole_tree(debian: Path) -> None:
    installed(debian, f"nvidia-current-open-{VERSION}")
    tree = distribution_source("any", VERSION, debian / "tree", root=debian)
    checked = inspect(tree, VERSION)
    assert checked.prebuilt
    assert checked.modules == ("nvidia",)
    assert not (tree / "kernel-open/dkms.conf").exists()


@pytest.mark.parametrize(
    ("name", "licence"),
    [
        (f"nvidia-current-{VERSION}", "NVIDIA"),
        ("nvidia-current-open-535.247.01", "Dual MIT/GPL"),
    ],
)
def test_closed_and_other_versions_are_not_it(debian: Path, name: str, licence: str) -> None:
    installed(debian, name, licence)
    with pytest.raises(DistributionSourceMissing, match="distribution_source_unsupported"):
        distribution_source("any", VERSION, debian / "tree", root=debian)


def test_a_folder_that_lies_about_its_version_is_refused(debian: Path) -> None:
    folder = installed(debian, f"nvidia-current-open-{VERSION}")
    (folder / "Kbuild").write_text('ccflags-y += -DNV_VERSION_STRING=\\"535.247.01\\"\n')
    with pytest.raises(DistributionSourceMissing, match=r"unfit.*535\.247\.01"):
        distribution_source("any", VERSION, debian / "tree", root=debian)
