# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which kinds of guests there are, and how a description asks for one."""

from __future__ import annotations

import pytest

from gpufleet.lab.kind import GuestKind, parse_kind
from gpufleet.lab.section import DescriptionInvalid, Section


def parsed(**keys: object) -> GuestKind:
    section = Section(keys, "host")
    kind = parse_kind(section, "host")
    section.close()
    return kind


def test_a_description_that_asks_for_nothing_gets_the_default() -> None:
    assert parsed() == GuestKind("bookworm", "bios", "grub")
    assert GuestKind().as_data() == {}


@pytest.mark.parametrize(
    "keys",
    [
        {"release": "bullseye"},
        {"release": "trixie", "firmware": "efi"},
        {"firmware": "efi", "boot_loader": "systemd-boot"},
    ],
)
def test_what_was_asked_for_is_written_back(keys: dict[str, object]) -> None:
    assert parsed(**keys).as_data() == keys


@pytest.mark.parametrize(
    ("keys", "named"),
    [
        ({"release": "buster"}, "release"),
        ({"release": 12}, "release"),
        ({"firmware": "uefi"}, "firmware"),
        ({"boot_loader": "lilo", "firmware": "efi"}, "boot_loader"),
        ({"boot_loader": "systemd-boot"}, "systemd-boot with firmware bios"),
        (
            {"boot_loader": "systemd-boot", "firmware": "efi", "release": "bullseye"},
            "systemd-boot on bullseye",
        ),
    ],
)
def test_what_debian_does_not_have_is_refused(keys: dict[str, object], named: str) -> None:
    with pytest.raises(DescriptionInvalid) as caught:
        parsed(**keys)
    assert named in caught.value.read
