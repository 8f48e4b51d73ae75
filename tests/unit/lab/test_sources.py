# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Only the Debian suite's own sources reach the image."""

from __future__ import annotations

from pathlib import Path

import pytest

from gpufleet.lab.sources import SourcesMissing, given_sources, machine_sources, select

DEB822 = """\
Types: deb deb-src
# a comment
URIs: http://mirror.test/debian
Suites: bookworm bookworm-updates bookworm-backports
Components: main contrib
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: http://mirror.test/debian-security
Suites: bookworm-security
Components: main
"""
CLEANED = """\
Types: deb
URIs: http://mirror.test/debian
Suites: bookworm bookworm-updates
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: http://mirror.test/debian-security
Suites: bookworm-security
Components: main
"""


def test_deb822_is_reduced_to_the_suite_and_main() -> None:
    assert select([DEB822]) == CLEANED


def test_one_line_sources_are_read_too() -> None:
    text = (
        "# deb http://old.test/debian bookworm main\n"
        "deb-src http://mirror.test/debian bookworm main\n"
        "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg arch=amd64] "
        "http://mirror.test/debian bookworm main non-free-firmware\n"
    )
    assert select([text]) == CLEANED.partition("\n\n")[0].replace(" bookworm-updates", "") + "\n"


@pytest.mark.parametrize(
    "text",
    [
        "deb http://other.test/apt other-bookworm main\n",
        "deb http://other.test/apt bookworm stable\n",
        "deb [signed-by=/etc/apt/keyrings/other.gpg] http://other.test/apt bookworm main\n",
        DEB822.partition("\n\n")[0] + "\nEnabled: no\n",
        "deb nonsense\n",
        "",
    ],
)
def test_other_sources_are_left_out(text: str) -> None:
    assert select([text]) == ""


def test_files_that_apt_would_not_read_are_not_read(tmp_path: Path) -> None:
    directory = tmp_path / "etc/apt/sources.list.d"
    directory.mkdir(parents=True)
    (directory / "debian.sources.disabled").write_text(DEB822)
    with pytest.raises(SourcesMissing, match="--apt-sources"):
        machine_sources(tmp_path)
    (directory / "debian.sources").write_text(DEB822)
    assert machine_sources(tmp_path) == CLEANED


def test_a_given_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(SourcesMissing, match="No such file"):
        given_sources(tmp_path / "missing.sources")
