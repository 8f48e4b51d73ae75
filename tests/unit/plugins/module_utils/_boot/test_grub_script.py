# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""GRUB's script language: words as GRUB's lexer makes them, entries with their sources."""

from __future__ import annotations

import pytest
from ansible_collections.gpufleet.p2p.plugins.module_utils._boot import grub_script
from hypothesis import given
from hypothesis import strategies as st

MENU = """\
set default="0"
if [ "${next_entry}" ] ; then
   set default="${next_entry}"
else
   set default="1>gnulinux-b"
fi
function load_video { insmod all_video; }
menuentry 'One' --class os $menuentry_id_option 'simple' --unrestricted {
\tif [ x$feature = xy ]; then insmod gzio; fi
\tlinux\t/boot/vmlinuz-1 root=UUID=1 ro quiet 'pci=a;b' # a comment
\tinitrd\t/boot/early.img /boot/initrd.img-1
}
submenu 'More' $menuentry_id_option 'advanced' {
\tmenuentry 'A' $menuentry_id_option 'gnulinux-a' {
\t\tlinux /boot/vmlinuz-1 ro
\t}
\tmenuentry "B" $menuentry_id_option 'gnulinux-b' { linux /boot/vmlinuz-0 ro
\t}
}
"""


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a b", ["a", "b"]),
        ("'a b'c", ["a bc"]),
        ('"a;b"', ["a;b"]),
        ('"a\\"b\\$c\\d"', ['a"b$c\\d']),
        ("a\\;b", ["a;b"]),
        ("a;b", ["a"]),
        ("a #b", ["a"]),
        ("a#b", ["a#b"]),
        ("$x ${y}z", ["${x}", "${y}z"]),
        ("'$x'", ["$x"]),
        ("\t a \t", ["a"]),
    ],
)
def test_words(text: str, words: list[str]) -> None:
    assert [word.text for word in grub_script.read_words(text)] == words


@given(
    st.text(
        alphabet=st.characters(min_codepoint=32, max_codepoint=126, exclude_characters="'"),
        min_size=1,
    )
)
def test_a_quoted_word_is_read_back(text: str) -> None:
    quoted = grub_script.quote(text)
    assert [word.text for word in grub_script.read_words(f"{quoted} next")] == [text, "next"]


def test_entries_keep_their_source_and_meaning() -> None:
    script = grub_script.parse(MENU)
    one, more = script.entries
    assert (one.title, one.identity, more.identity) == ("One", "simple", "advanced")
    assert script.text[one.start : one.end].startswith("menuentry 'One'")
    assert script.text[one.end - 1] == "}"
    assert one.linux is not None
    assert [word.text for word in one.linux.words][1:] == [
        "/boot/vmlinuz-1",
        "root=UUID=1",
        "ro",
        "quiet",
        "pci=a;b",
    ]
    assert one.files == ("/boot/vmlinuz-1", "/boot/early.img", "/boot/initrd.img-1")
    assert [entry.identity for entry in more.children] == ["gnulinux-a", "gnulinux-b"]


@pytest.mark.parametrize(
    ("selector", "title"),
    [("0", "One"), ("simple", "One"), ("1>1", "B"), ("advanced>gnulinux-b", "B"), ("1", "A")],
)
def test_the_default_is_found(selector: str, title: str) -> None:
    assert grub_script.find_entry(grub_script.parse(MENU), selector).title == title


def test_the_default_is_the_one_without_a_one_shot_entry() -> None:
    assert grub_script.default_selector(grub_script.parse(MENU), None) == "1>gnulinux-b"
    saved = grub_script.parse('set default="${saved_entry}"')
    assert grub_script.default_selector(saved, "x") == "x"
    assert grub_script.default_selector(saved, None) == "0"


@pytest.mark.parametrize("selector", ["7", "nowhere", "0>1", "1>7", "\u00b2", "9" * 5000])
def test_an_unknown_default_is_refused(selector: str) -> None:
    with pytest.raises(grub_script.GrubScriptError) as refusal:
        grub_script.find_entry(grub_script.parse(MENU), selector)
    assert refusal.value.code == "default_entry_unknown"


@pytest.mark.parametrize("text", ["menuentry 'x' {", "echo 'x", 'echo "x', "}"])
def test_what_does_not_close_is_refused(text: str) -> None:
    with pytest.raises(grub_script.GrubScriptError) as refusal:
        grub_script.parse(text)
    assert refusal.value.code == "grub_script_malformed"


@pytest.mark.parametrize("braces", [101, 100_000])
def test_a_depth_that_no_menu_has_is_refused(braces: int) -> None:
    with pytest.raises(grub_script.GrubScriptError) as refusal:
        grub_script.parse("submenu 'deeper' {\n" * braces + "}" * braces)
    assert refusal.value.code == "grub_script_malformed"
    assert "line 101" in refusal.value.read


def test_a_hundred_braces_are_read() -> None:
    script = grub_script.parse("submenu 'deeper' {\n" * 100 + "}" * 100)
    assert len(script.entries) == 1
