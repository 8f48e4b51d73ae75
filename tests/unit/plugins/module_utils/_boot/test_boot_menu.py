# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Versions are ordered as systemd orders them; tests/integration/boot asks bootctl itself."""

from __future__ import annotations

import itertools

import pytest
from ansible_collections.gpufleet.p2p.plugins.module_utils._boot.boot_menu import version_key

#: Older ones first: the list in the comment of systemd's strverscmp_improved(), and what follows
#: from its code for marks that stand together and for texts that end.
OLDER_FIRST = [
    ["122.1", "123~rc1-1", "123", "123-a", "123-a.1", "123-1", "123-1.1", "123^post1"],
    ["123^post1", "123.a-1", "123.1-1", "123a-1", "124-1"],
    ["-.conf", "--.conf"],
    ["6.1.0-9", "6.1.0-10"],
    ["~", "", "a"],
]


@pytest.mark.parametrize("texts", OLDER_FIRST)
def test_an_older_version_comes_before_a_newer_one(texts: list[str]) -> None:
    for older, newer in itertools.combinations(texts, 2):
        assert version_key(older) < version_key(newer), (older, newer)


@pytest.mark.parametrize("same", [("0", "00"), ("123_a", "123a"), ("a", "a_"), ("1.01", "1.1")])
def test_zeros_and_other_characters_make_no_difference(same: tuple[str, str]) -> None:
    assert version_key(same[0]) == version_key(same[1])
