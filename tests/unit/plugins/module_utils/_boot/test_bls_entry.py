# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Boot entries as GRUB reads them: keys, variables, and the order of the menu."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.gpufleet.p2p.plugins.module_utils._boot.bls_entry import (
    compare_versions,
    expand,
    parse_entry,
    read_entries,
)
from ansible_collections.gpufleet.p2p.plugins.module_utils._boot.bls_trial import render
from ansible_collections.gpufleet.p2p.plugins.module_utils._boot.grub_script import read_words
from ansible_collections.gpufleet.p2p.plugins.module_utils._boot.interface import Trial
from hypothesis import given
from hypothesis import strategies as st

NAME = Path("m-6.9.7-200.fc40.x86_64.conf")


@pytest.mark.parametrize(
    ("older", "newer"),
    [
        ("1.0", "2.0"),
        ("2.0", "2.0.1"),
        ("5.5p1", "5.5p2"),
        ("5.5p1", "5.5p10"),
        ("10xyz", "10.1xyz"),
        ("xyz10", "xyz10.1"),
        ("xyz.4", "8"),
        ("20101121", "20101122"),
        ("6.0", "6.0.rc1"),
        ("1.0~rc1", "1.0"),
        ("1.0~rc1", "1.0~rc2"),
        ("1.0", "1.0+x"),
        ("1.0+x", "1.0.1"),
        ("9", "10"),
        ("~gpufleet", "0"),
        ("~gpufleet", "a"),
        ("~gpufleet", ""),
    ],
)
def test_the_order_of_rpm(older: str, newer: str) -> None:
    assert (compare_versions(older, newer), compare_versions(newer, older)) == (-1, 1)


@pytest.mark.parametrize(("left", "right"), [("1.0", "1.0"), ("0010", "10"), ("2_0", "2.0")])
def test_what_rpm_takes_for_the_same(left: str, right: str) -> None:
    assert compare_versions(left, right) == 0


VERSIONS = st.text("09aB.-~+_", max_size=8)


@given(VERSIONS, VERSIONS, VERSIONS)
def test_the_order_is_one(one: str, two: str, three: str) -> None:
    assert compare_versions(one, two) == -compare_versions(two, one)
    if compare_versions(one, two) <= 0 and compare_versions(two, three) <= 0:
        assert compare_versions(one, three) <= 0


def test_the_menu_is_newest_first_and_a_trial_is_last(tmp_path: Path) -> None:
    entries = tmp_path / "boot/loader/entries"
    entries.mkdir(parents=True)
    machine = "ffff8e5a1b7c4f0e9d3a6b8c7e5f1a20"
    names = [
        # Digits are newer than letters: another installation's entries may come first.
        "00008e5a1b7c4f0e9d3a6b8c7e5f1a20-6.1.0-1",
        f"{machine}-5.14.0-427.13.1.el9_4.x86_64",
        f"{machine}-5.14.0-427.el9.x86_64",
        f"{machine}-5.14.0-70.el9.x86_64",
        f"{machine}-0-rescue",
        "~gpufleet-trial-0123456789abcdef",
    ]
    for name in reversed(names):
        (entries / f"{name}.conf").write_text("title x\nlinux /vmlinuz\noptions ro\n")
    (entries / ".hidden.conf").write_text("linux /vmlinuz\n")
    (entries / "not_linux.conf").write_text("title Windows\n")
    (entries / "notes.txt").write_text("linux /vmlinuz\n")
    assert [entry.identity for entry in read_entries(tmp_path)] == names


def test_keys_are_read_as_grub_reads_them() -> None:
    entry = parse_entry(
        NAME,
        b"# a comment\n  title\tFedora Linux 40\noptions  root=x ro \noptions other\n"
        b"initrd /a.img $tuned_initrd\n\nlinux /after-an-empty-line\n",
    )
    assert entry.value("title\tFedora") == "Linux 40"
    assert entry.value("options") == "root=x ro "
    assert entry.value("linux") is None
    text = entry.with_value("options", "new")
    assert text == entry.text.replace("options  root=x ro ", "options  new")


@given(st.binary(max_size=80), st.text(st.characters(codec="utf-8", min_codepoint=32), max_size=20))
def test_another_value_changes_nothing_else(data: bytes, value: str) -> None:
    entry = parse_entry(NAME, b"options ro\n" + data)
    assert entry.with_value("options", "ro") == entry.text
    changed = entry.with_value("options", value).encode("utf-8", "surrogateescape")
    assert changed == b"options " + value.encode() + b"\n" + data


@pytest.mark.parametrize(
    ("text", "expanded"),
    [
        ("$kernelopts $tuned_params", "root=x ro  "),
        ("$tuned_params $kernelopts quiet", "root=x ro quiet"),
        ("ro $gone quiet", "ro quiet"),
        ("a$kernelopts", "aroot=x ro "),
    ],
)
def test_variables(text: str, expanded: str) -> None:
    words = [word.text for word in read_words(expand(text, {"kernelopts": "root=x ro "}))]
    assert words == expanded.split()


def test_a_trial_has_the_watchdog_behind_its_token_and_panic_last() -> None:
    trial = Trial("0123456789abcdef", ("iommu=pt",), 30, "boot", "2026-01-01", watchdog_seconds=60)
    entry = parse_entry(NAME, b"title Fedora Linux\noptions root=x ro\nlinux /vmlinuz\n")
    assert render(entry, "root=x ro", trial) == (
        b"title gpufleet trial of Fedora Linux\noptions root=x ro iommu=pt"
        b" gpufleet.trial=0123456789abcdef systemd.watchdog_sec=60 panic=30\nlinux /vmlinuz\n"
    )
