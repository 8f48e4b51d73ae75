# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Build-ids and modinfo strings out of module files, whole and damaged."""

from __future__ import annotations

import gzip
import lzma
from pathlib import Path

import pytest
from ansible_collections.gpufleet.p2p.plugins.module_utils._driver import elf
from hypothesis import given
from hypothesis import strategies as st
from support.elf_objects import build_id_note, module_image

BUILD_ID = bytes.fromhex("9f6f3c1e0b7a4d55a1c2e3f405162738495a6b7c")


@pytest.mark.parametrize("wide", [True, False])
@pytest.mark.parametrize("order", ["<", ">"])
def test_build_id_and_modinfo_of_each_elf_flavour(wide: bool, order: str) -> None:
    image = module_image(BUILD_ID, {"version": "595.58.03"}, wide=wide, order=order)
    assert elf.build_id_of(image, "nvidia.ko") == BUILD_ID.hex()
    assert elf.modinfo_of(image, "nvidia.ko") == {"version": "595.58.03"}


def test_an_object_without_a_build_id_has_none() -> None:
    assert elf.build_id_of(module_image(None), "nvidia.ko") is None


@pytest.mark.parametrize(
    ("suffix", "pack"), [(".ko", bytes), (".ko.xz", lzma.compress), (".ko.gz", gzip.compress)]
)
def test_compressed_modules_read_as_their_content(tmp_path: Path, suffix: str, pack) -> None:
    image = module_image(BUILD_ID)
    path = tmp_path / f"nvidia{suffix}"
    path.write_bytes(pack(image))
    assert elf.module_bytes(path) == image


@pytest.mark.parametrize(("suffix", "pack"), [(".ko.xz", lzma.compress), (".ko.gz", gzip.compress)])
def test_a_compressed_module_cut_short_is_named(tmp_path: Path, suffix: str, pack) -> None:
    path = tmp_path / f"nvidia{suffix}"
    path.write_bytes(pack(module_image(BUILD_ID))[:-12])
    with pytest.raises(elf.ModuleUnreadable) as refusal:
        elf.module_bytes(path)
    assert refusal.value.code == "module_unreadable"


@given(st.integers(min_value=0, max_value=10_000))
def test_every_proper_prefix_of_a_module_is_refused(cut: int) -> None:
    image = module_image(BUILD_ID, {"version": "595.58.03"})
    with pytest.raises(elf.ModuleUnreadable):
        elf.build_id_of(image[: cut % len(image)], "nvidia.ko")


@given(st.binary(max_size=400))
def test_notes_of_any_bytes_never_raise(notes: bytes) -> None:
    found = elf.build_id_in_notes(notes)
    assert found is None or bytes.fromhex(found) in notes


@given(st.binary(max_size=300))
def test_arbitrary_bytes_are_refused_or_read_but_never_crash(tail: bytes) -> None:
    with pytest.raises(elf.ModuleUnreadable):
        elf.sections(b"\x7fELF\x02\x01" + tail[:40], "nvidia.ko")


def test_the_note_behind_another_owner_is_found() -> None:
    other = b"\x06\0\0\0\x04\0\0\0\x01\0\0\0Linux\0\0\0abcd"
    assert elf.build_id_in_notes(other + build_id_note(BUILD_ID)) == BUILD_ID.hex()


@pytest.mark.parametrize("wide", [True, False])
def test_a_section_table_beyond_any_file_is_refused(wide: bool) -> None:
    # Its offset does not fit into a C size; found by the fuzzer.
    image = bytearray(module_image(BUILD_ID, wide=wide))
    place, size = (0x28, 8) if wide else (0x20, 4)
    image[place : place + size] = b"\xff" * size
    with pytest.raises(elf.ModuleUnreadable):
        elf.sections(bytes(image), "a file")
