# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Only the Debian suite's own sources reach the image."""

from __future__ import annotations

from pathlib import Path

import pytest

from gpufleet.lab.sources import (
    SourcesMissing,
    given_sources,
    machine_sources,
    refuse_missing_release,
    select,
)

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


@pytest.mark.parametrize("release", ["bullseye", "trixie"])
def test_a_mirror_of_one_release_is_asked_for_another(tmp_path: Path, release: str) -> None:
    assert select([DEB822], release) == CLEANED.replace("bookworm", release)
    given = tmp_path / "debian.sources"
    given.write_text(DEB822)
    assert given_sources(given, release) == CLEANED.replace("bookworm", release)


def test_what_names_the_release_itself_goes_before_any_other() -> None:
    line = "deb http://archive.test/debian bullseye main\n"
    assert "mirror.test" not in select([DEB822, line], "bullseye")
    assert select([line, DEB822]) == CLEANED


def test_a_machine_of_no_release_that_is_known_here_has_no_mirror() -> None:
    assert select(["deb http://mirror.test/ubuntu noble main\n"], "trixie") == ""


def test_what_apt_prints_of_a_release_that_is_not_there_becomes_the_error() -> None:
    log = (
        "Err:2 http://mirror.test/debian bullseye Release\n"
        "  404  Not Found [IP: 192.0.2.1 80]\n"
        "Reading package lists...\n"
        "E: The repository 'http://mirror.test/debian bullseye Release' does not have a Release "
        "file.\n"
    )
    with pytest.raises(SourcesMissing, match="--apt-sources FILE") as caught:
        refuse_missing_release(log, "bullseye")
    assert "http://mirror.test/debian bullseye" in caught.value.read


def test_a_key_that_the_keyring_lacks_is_told_as_that() -> None:
    log = (
        "W: GPG error: http://mirror.test/debian trixie InRelease: The following signatures "
        "couldn't be verified because the public key is not available: NO_PUBKEY 6ED0E7B82643E131\n"
    )
    with pytest.raises(SourcesMissing, match="debian-archive-keyring"):
        refuse_missing_release(log, "trixie")


def test_another_failure_is_left_to_who_saw_it() -> None:
    refuse_missing_release("E: Unable to locate package linux-image-amd64\n", "trixie")
