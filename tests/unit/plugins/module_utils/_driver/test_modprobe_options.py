# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What others set for the nvidia module: in which order, by which names, with which quotes."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.gpufleet.p2p.plugins.module_utils._driver import (
    modprobe_options as options,
)
from ansible_collections.gpufleet.p2p.plugins.module_utils._driver.modprobe_options import (
    OPTIONS_FILE,
    Setting,
    foreign_settings,
    parse_configuration,
    passed_options,
    split_options,
)
from hypothesis import given
from hypothesis import strategies as st


def write(root: Path, path: str, text: str) -> None:
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_text(text)


class TestFiles:
    def test_files_come_in_the_order_of_their_names_whatever_directory(
        self, tmp_path: Path
    ) -> None:
        write(tmp_path, "usr/lib/modprobe.d/a.conf", "options nvidia NVreg_EnableMSI=0\n")
        write(tmp_path, "etc/modprobe.d/b.conf", "\n# no\noptions nvidia NVreg_EnableMSI=1\n")
        write(tmp_path, "etc/modprobe.d/zzz.conf", "options nvidia NVreg_EnableMSI=2\n")
        assert foreign_settings(tmp_path) == (
            Setting("NVreg_EnableMSI", "0", "/usr/lib/modprobe.d/a.conf:1", later=False),
            Setting("NVreg_EnableMSI", "1", "/etc/modprobe.d/b.conf:3", later=False),
            Setting("NVreg_EnableMSI", "2", "/etc/modprobe.d/zzz.conf:1", later=True),
        )

    def test_a_name_in_etc_hides_the_distributions(self, tmp_path: Path) -> None:
        write(tmp_path, "usr/lib/modprobe.d/nvidia.conf", "options nvidia NVreg_EnableMSI=0\n")
        write(tmp_path, "etc/modprobe.d/nvidia.conf", "# nothing\n")
        assert foreign_settings(tmp_path) == ()

    def test_our_own_file_and_other_kinds_of_files_do_not_count(self, tmp_path: Path) -> None:
        line = "options nvidia NVreg_EnableMSI=0\n"
        for name in (OPTIONS_FILE.name, "nvidia.conf.dpkg-old", "README", ".hidden.conf"):
            write(tmp_path, f"etc/modprobe.d/{name}", line)
        write(tmp_path, f"usr/lib/modprobe.d/{OPTIONS_FILE.name}", line)
        assert foreign_settings(tmp_path) == ()

    def test_options_of_an_alias_reach_the_module_and_those_of_others_do_not(
        self, tmp_path: Path
    ) -> None:
        text = (
            "alias gpu-driver nvidia\n"
            "options gpu_driver NVreg_EnableMSI=0\n"
            "options nvidia-current NVreg_EnableMSI=0\n"
            "options nvidia-drm modeset=1\n"
        )
        write(tmp_path, "etc/modprobe.d/nvidia.conf", text)
        assert [setting.origin for setting in foreign_settings(tmp_path)] == [
            "/etc/modprobe.d/nvidia.conf:2"
        ]

    def test_the_kernel_command_line_comes_last(self, tmp_path: Path) -> None:
        write(tmp_path, "proc/cmdline", "quiet nvidia.NVreg_EnableMSI=0 nvidia-drm.modeset=1\n")
        assert foreign_settings(tmp_path) == (
            Setting("NVreg_EnableMSI", "0", "/proc/cmdline", later=True),
        )

    def test_a_host_without_any_is_none(self, tmp_path: Path) -> None:
        assert foreign_settings(tmp_path) == ()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("options nvidia a=1", [(1, "options", "nvidia a=1")]),
        ("\n\n  options\tnvidia\ta=1\n", [(3, "options", "nvidia\ta=1")]),
        ("#options nvidia a=1\n", []),
        ("options nvidia a=1 \\\n b=2\nx y\n", [(1, "options", "nvidia a=1  b=2"), (3, "x", "y")]),
        ("install nvidia printf 'a\\tb'", [(1, "install", "nvidia printf 'atb'")]),
    ],
)
def test_lines(text: str, expected: list[tuple[int, str, str]]) -> None:
    found = [(line.number, line.command, line.rest) for line in parse_configuration(text)]
    assert found == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a=1 b=2", (("a", "1"), ("b", "2"))),
        ('NVreg_RegistryDwords="A=1; B=2"', (("NVreg_RegistryDwords", "A=1; B=2"),)),
        ('"NVreg_RmMsg=a b" flag', (("NVreg_RmMsg", "a b"), ("flag", ""))),
        ("some-name=1", (("some_name", "1"),)),
        ("", ()),
    ],
)
def test_parameters(text: str, expected: tuple[tuple[str, str], ...]) -> None:
    assert split_options(text) == expected


def test_what_modprobe_says_that_it_passes() -> None:
    said = (
        "insmod /lib/modules/6.1/kernel/drivers/video.ko \n"
        'insmod /lib/modules/6.1/updates/dkms/nvidia.ko.xz A=1 A=2 NVreg_RegistryDwords="B=1" \n'
        "insmod /lib/modules/6.1/updates/dkms/nvidia-uvm.ko uvm_x=1 \n"
    )
    assert passed_options(said) == {"A": "2", "NVreg_RegistryDwords": "B=1"}
    assert passed_options("insmod /lib/modules/6.1/updates/dkms/nvidia.ko \n") == {}
    assert passed_options("install modprobe -i nvidia-current \n") is None
    assert passed_options("") is None


names = st.text(st.characters(categories=("Ll",), include_characters="_"), min_size=1, max_size=6)
values = st.text(st.characters(categories=("Nd", "Ll"), include_characters=" ;=."), max_size=12)


@given(st.lists(st.tuples(names, values), max_size=5))
def test_what_is_quoted_is_read_back(parameters: list[tuple[str, str]]) -> None:
    text = " ".join(f'{name}="{value}"' for name, value in parameters)
    assert split_options(text) == tuple(parameters)


def test_our_file_comes_after_what_distributions_ship() -> None:
    shipped = (
        "nvidia.conf",
        "nvidia-graphics-drivers-kms.conf",
        "nvidia-options.conf",
        "99-x.conf",
    )
    assert all(name < options.OPTIONS_FILE.name for name in shipped)
