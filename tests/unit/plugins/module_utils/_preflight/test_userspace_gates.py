# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Libraries and firmware: what is there, and what will be there after the run has brought it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from ansible_collections.gpufleet.p2p.plugins.module_utils._driver.specification import parse
from ansible_collections.gpufleet.p2p.plugins.module_utils._preflight.gate import Gate, Intent
from support.gate_facts import DRIVER, ask

WANTED = "595.58.03"
DESCRIBED = {"version": WANTED, "prebuilt": True, "resize_arguments": []}
GOOD = {"path": "/srv/a.run", "expected": "ab", "sha256": "ab", "release": WANTED}
PACKAGES = ["libcuda1:amd64", "libnvidia-ml1:amd64"]


def intent(userspace: str, runfile: dict[str, Any] | None = None) -> Intent:
    """Return the intent to install a build that has its libraries brought so."""
    build = parse({"version": WANTED, "source": {"path": "/srv"}, "userspace": userspace})
    source = {"key": "x", "description": DESCRIBED, "runfile": runfile}
    return replace(DRIVER, build=build, source=source)


def libraries(
    asked: Intent, found: str | None, by: str | None, archive: dict[str, Any] | None = None
) -> Gate:
    return ask(
        "userspace_version_match",
        asked,
        driver__userspace_version=found,
        driver__userspace_origin={"by": by, "packages": []},
        driver__userspace_archive={"releases": {}, "held": [], **(archive or {})},
    )


class TestAsTheyAre:
    @pytest.mark.parametrize("found", [None, "595.58.3", "570.124.04"])
    def test_the_release_is_exact(self, found: str | None) -> None:
        answer = ask("userspace_version_match", driver__userspace_version=found)
        assert not answer.passed
        assert WANTED in answer.remedy

    def test_the_way_it_came_is_told(self) -> None:
        assert ask("userspace_version_match").read == "595.58.03, by packages (libcuda1)"

    @pytest.mark.parametrize(
        ("declared", "found", "passed"),
        [
            ("keep", "runfile", True),
            ("runfile", "runfile", True),
            ("runfile", "packages", False),
            ("packages", "runfile", False),
            ("packages", "unknown", True),
        ],
    )
    def test_two_ways_are_not_mixed(self, declared: str, found: str, passed: bool) -> None:
        # With the right libraries there, nothing else is asked: no installer, no archive.
        assert libraries(intent(declared), WANTED, found).passed is passed


class TestBroughtByTheInstaller:
    @pytest.mark.parametrize(("found", "by"), [(None, None), ("570.86.16", "runfile")])
    def test_what_will_be_there_counts(self, found: str | None, by: str | None) -> None:
        answer = libraries(intent("runfile", GOOD), found, by)
        assert answer.passed
        assert "to be installed by /srv/a.run" in answer.note

    @pytest.mark.parametrize(
        ("runfile", "read"),
        [
            (None, "no installer given"),
            ({**GOOD, "sha256": None}, "no such file"),
            ({**GOOD, "sha256": "cd"}, "sha256 cd"),
            ({**GOOD, "release": "610.43.02"}, "brings 610.43.02"),
        ],
    )
    def test_an_installer_that_is_not_the_one_refuses(
        self, runfile: dict[str, Any] | None, read: str
    ) -> None:
        answer = libraries(intent("runfile", runfile), "570.86.16", "runfile")
        assert not answer.passed
        assert read in answer.read

    def test_it_does_not_overwrite_packages(self) -> None:
        answer = libraries(intent("runfile", GOOD), "570.86.16", "packages")
        assert not answer.passed
        assert "set p2p_driver.userspace to packages" in answer.remedy

    def test_one_that_does_not_tell_is_held_to_its_checksum_alone(self) -> None:
        assert libraries(intent("runfile", {**GOOD, "release": None}), None, None).passed

    def test_before_the_source_was_fetched_it_is_not_judged(self) -> None:
        for source in (None, {"error": {"read": "a", "want": "b", "remedy": "c"}}):
            asked = replace(intent("runfile"), source=source)
            assert "verified before it is run" in libraries(asked, None, None).note


class TestBroughtByPackages:
    def test_what_will_be_there_counts(self) -> None:
        archive = {"releases": {WANTED: PACKAGES}}
        answer = libraries(intent("packages"), "595.71.05", "packages", archive)
        assert answer.passed
        assert "libcuda1:amd64" in answer.note

    @pytest.mark.parametrize(
        ("archive", "read", "remedy"),
        [
            ({}, "for all of their packages: none", "apt-get update"),
            ({"releases": {"610.43.02": PACKAGES}}, "610.43.02", "add the archive"),
            ({"releases": {WANTED: PACKAGES}, "held": ["libcuda1"]}, "on hold", "apt-mark unhold"),
        ],
    )
    def test_what_apt_cannot_bring_refuses(
        self, archive: dict[str, Any], read: str, remedy: str
    ) -> None:
        answer = libraries(intent("packages"), "595.71.05", "packages", archive)
        assert not answer.passed
        assert read in answer.read
        assert remedy in answer.remedy

    def test_nothing_is_brought_where_it_is_to_be_kept(self) -> None:
        archive = {"releases": {WANTED: PACKAGES}}
        assert not libraries(intent("keep"), "595.71.05", "packages", archive).passed


class TestFirmware:
    def firmware(self, asked: Intent, found: str | None = "570.86.16", **changes: Any) -> Gate:
        told = {"driver__firmware": ["570.86.16"], "driver__userspace_version": found, **changes}
        return ask("firmware_directory", asked, **told)

    def test_it_is_that_of_the_release(self) -> None:
        answer = ask("firmware_directory", intent("keep"), driver__firmware=["570.86.16"])
        assert not answer.passed
        assert answer.want == "/lib/firmware/nvidia/595.58.03/gsp_*.bin"
        assert "gsp" in ask("firmware_directory", intent("keep"), driver__firmware=[]).read

    def test_the_installer_brings_it_with_the_libraries(self) -> None:
        assert "installer brings it" in self.firmware(intent("runfile", GOOD)).note
        # It is not run where the libraries are there, and another one is no help.
        assert not self.firmware(intent("runfile", GOOD), found=WANTED).passed
        assert not self.firmware(intent("runfile", {**GOOD, "sha256": "cd"})).passed

    @pytest.mark.parametrize(
        ("packages", "passed"),
        [([*PACKAGES, "firmware-nvidia-gsp"], True), (PACKAGES, False)],
    )
    def test_packages_bring_it_if_it_is_one_of_them(
        self, packages: list[str], passed: bool
    ) -> None:
        archive = {"releases": {WANTED: packages}, "held": []}
        answer = self.firmware(intent("packages"), driver__userspace_archive=archive)
        assert answer.passed is passed
