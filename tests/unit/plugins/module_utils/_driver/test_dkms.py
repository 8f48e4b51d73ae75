# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""dkms status and --version as the releases print them."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.gpufleet.p2p.plugins.module_utils._driver import dkms
from ansible_collections.gpufleet.p2p.plugins.module_utils._driver.dkms import DkmsEntry
from hypothesis import given
from hypothesis import strategies as st

# What the scripts of the releases named print, from their show_status and do_status functions.
SAMPLES = {
    "2.8.4 (Debian 11): commas throughout": (
        "nvidia, 450.80.02, 5.10.0-8-amd64, x86_64: installed (original_module exists) "
        "(WARNING! Diff between built and installed module!)\n"
        "zfs, 2.0.3: added\n",
        [
            DkmsEntry(
                "nvidia",
                "450.80.02",
                "5.10.0-8-amd64",
                "x86_64",
                "installed",
                ("original_module exists", "WARNING! Diff between built and installed module!"),
            ),
            DkmsEntry("zfs", "2.0.3", None, None, "added"),
        ],
    ),
    "2.8.6: mixed": (
        "nvidia, 460.91.03, 5.14.0-1-amd64, x86_64: built\nzfs/2.1.4: added\n",
        [
            DkmsEntry("nvidia", "460.91.03", "5.14.0-1-amd64", "x86_64", "built"),
            DkmsEntry("zfs", "2.1.4", None, None, "added"),
        ],
    ),
    "3.0.10 (Debian 12): slash, weak modules with commas": (
        "Deprecated feature: REMAKE_INITRD (/var/lib/dkms/x/1/source/dkms.conf)\n"
        "gpufleet-nvidia/595.58.03, 6.1.0-56-cloud-amd64, x86_64: installed\n"
        "gpufleet-nvidia/590.48.01, 6.1.0-56-cloud-amd64, x86_64: built "
        "(WARNING! Missing some built modules!)\n"
        "kmod, 1.0, 4.18.0-2.el8.x86_64, x86_64: installed-weak from 4.18.0-1.el8.x86_64\n",
        [
            DkmsEntry(
                "gpufleet-nvidia", "595.58.03", "6.1.0-56-cloud-amd64", "x86_64", "installed"
            ),
            DkmsEntry(
                "gpufleet-nvidia",
                "590.48.01",
                "6.1.0-56-cloud-amd64",
                "x86_64",
                "built",
                ("WARNING! Missing some built modules!",),
            ),
            DkmsEntry("kmod", "1.0", "4.18.0-2.el8.x86_64", "x86_64", "installed-weak"),
        ],
    ),
    "3.2 (Debian 13): new remarks, broken versions": (
        "Error! broken/1: Missing the module source directory or the symbolic link pointing to "
        "it.\nManual intervention is required!\n"
        "broken/1: broken\n"
        "nvidia-current-open/550.163.01, 6.12.107+deb13-amd64, x86_64: installed "
        "(Original modules exist) (Differences between built and installed modules)\n",
        [
            DkmsEntry("broken", "1", None, None, "broken"),
            DkmsEntry(
                "nvidia-current-open",
                "550.163.01",
                "6.12.107+deb13-amd64",
                "x86_64",
                "installed",
                (
                    "Original modules exist",
                    "Differences between built and installed modules",
                ),
            ),
        ],
    ),
    "nothing registered": ("", []),
}


@pytest.mark.parametrize("sample", SAMPLES)
def test_status_of_each_generation(sample: str) -> None:
    text, expected = SAMPLES[sample]
    assert dkms.parse_status(text) == expected


words = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9.+_~-]{0,20}", fullmatch=True)


@given(module=words, version=words, kernel=words, arch=words, slash=st.booleans())
def test_any_names_survive_the_round_trip(
    module: str, version: str, kernel: str, arch: str, slash: bool
) -> None:
    separator = "/" if slash else ", "
    line = f"{module}{separator}{version}, {kernel}, {arch}: built"
    assert dkms.parse_status(line) == [DkmsEntry(module, version, kernel, arch, "built")]


@given(st.text(max_size=300))
def test_arbitrary_text_never_raises(text: str) -> None:
    for entry in dkms.parse_status(text):
        assert entry.module and entry.version and entry.status


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("dkms-3.0.10\n", "3.0.10"),
        ("dkms 3.2.2\n", "3.2.2"),
        ("dkms: 2.8.4\n", "2.8.4"),
        ("", None),
    ],
)
def test_version_of_each_generation(said: str, expected: str | None) -> None:
    assert dkms.parse_version(said) == expected


def test_a_version_is_active_only_where_the_link_leads_to_its_own_build(tmp_path: Path) -> None:
    trees = dkms.DkmsTrees(tmp_path / "state", tmp_path / "source", tmp_path / "install")
    old = dkms.DkmsPackage("gpufleet-nvidia", "590.48.01", trees, "x86_64")
    new = dkms.DkmsPackage("gpufleet-nvidia", "595.58.03", trees, "x86_64")
    for package in (old, new):
        package.build_directory("6.1").mkdir(parents=True)
    new.active_link("6.1").symlink_to("595.58.03/6.1/x86_64")
    assert new.is_active("6.1")
    assert not old.is_active("6.1")
