# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Capabilities are found where they are, and no configuration space crashes or loops."""

from __future__ import annotations

import struct

import pytest
from ansible_collections.gpufleet.p2p.plugins.module_utils._host import config_space
from ansible_collections.gpufleet.p2p.plugins.module_utils._host.acs import parse_acs
from hypothesis import given
from hypothesis import strategies as st

ACS_AT = 0x148
REBAR_AT = 0x200


def space(
    *,
    payload_exponent: int = 1,
    acs: int | None = None,
    bar_sizes: tuple[int, ...] = (),
    size: int = 4096,
) -> bytes:
    """Return a configuration space: power management at 0x50, PCI Express at 0x70 behind it."""
    config = bytearray(size)
    struct.pack_into("<HH", config, 0, 0x10DE, 0x2684)
    config[0x06] = 0x10
    config[0x34] = 0x50
    config[0x50:0x52] = bytes([0x01, 0x70])
    config[0x70:0x72] = bytes([0x10, 0x00])
    struct.pack_into("<H", config, 0x78, payload_exponent << 5)
    if size > 256:
        # Advanced error reporting first, as on real cards.
        struct.pack_into("<I", config, 0x100, 0x0001 | 1 << 16 | ACS_AT << 20)
        kind = 0x000D if acs is not None else 0x0003
        struct.pack_into("<I", config, ACS_AT, kind | 1 << 16 | REBAR_AT << 20)
        struct.pack_into("<H", config, ACS_AT + 6, acs or 0)
        if bar_sizes:
            struct.pack_into("<I", config, REBAR_AT, 0x0015 | 1 << 16)
            supported = sum(1 << ((size // (1 << 20)).bit_length() - 1 + 4) for size in bar_sizes)
            struct.pack_into("<II", config, REBAR_AT + 4, supported, 1 << 5 | 1)
    return bytes(config)


@pytest.mark.parametrize(("exponent", "payload"), [(0, 128), (1, 256), (2, 512), (5, 4096)])
def test_payload_is_read_from_device_control(exponent: int, payload: int) -> None:
    assert config_space.max_payload_bytes(space(payload_exponent=exponent)) == payload


def test_reserved_payload_is_unknown() -> None:
    assert config_space.max_payload_bytes(space(payload_exponent=6)) is None


def test_payload_is_unknown_to_ordinary_users() -> None:
    assert config_space.max_payload_bytes(space()[:64]) is None


def test_no_capability_list_no_capability() -> None:
    config = bytearray(space())
    config[0x06] = 0
    assert config_space.find_capability(bytes(config), 0x10) is None


def test_a_ring_of_capabilities_ends() -> None:
    config = bytearray(space())
    config[0x71] = 0x50
    assert config_space.find_capability(bytes(config), 0x99) is None


@pytest.mark.parametrize(
    ("control", "redirect"),
    [
        (0x00, ()),
        (0x1D, ("RR", "CR")),  # SV, RR, CR, UF: what the kernel sets with an IOMMU on
        (0x04, ("RR",)),
        (0x28, ("CR", "EC")),
        (0x53, ()),  # SV, TB, UF, DT do not redirect
    ],
)
def test_acs_control_names_what_redirects(control: int, redirect: tuple[str, ...]) -> None:
    state = parse_acs("0000:00:01.0", space(acs=control))
    assert (state.readable, state.present, state.control) == (True, True, control)
    assert state.redirect == redirect


def test_every_acs_bit_has_its_name() -> None:
    names = [parse_acs("0000:00:01.0", space(acs=1 << bit)).bits for bit in range(7)]
    assert names == [("SV",), ("TB",), ("RR",), ("CR",), ("UF",), ("EC",), ("DT",)]
    assert parse_acs("0000:00:01.0", space(acs=0xFF80)).bits == ()


def test_bridge_without_acs_is_readable_and_has_none() -> None:
    state = parse_acs("0000:00:01.0", space())
    assert (state.readable, state.present, state.control) == (True, False, None)


@pytest.mark.parametrize("size", [0, 64, 255])
def test_acs_is_unknown_without_root(size: int) -> None:
    assert not parse_acs("0000:00:01.0", space(acs=0)[:size]).readable


def test_acs_is_unknown_where_extended_space_is_out_of_reach() -> None:
    assert not parse_acs("0000:00:01.0", space(size=256)).readable


def test_conventional_bridge_has_no_acs() -> None:
    config = bytearray(space(size=256))
    config[0x06] = 0
    state = parse_acs("0000:00:01.0", bytes(config))
    assert (state.readable, state.present) == (True, False)


def test_sleeping_function_is_unreadable() -> None:
    assert not parse_acs("0000:00:01.0", b"\xff" * 4096).readable


def test_largest_resizable_bar() -> None:
    sizes = (256 << 20, 8 << 30, 32 << 30)
    assert config_space.largest_resizable_bar(space(bar_sizes=sizes)) == 32 << 30
    assert config_space.largest_resizable_bar(space()) is None


@given(st.binary(max_size=4096))
def test_random_bytes_neither_crash_nor_loop(config: bytes) -> None:
    _read_everything(config)


@given(st.lists(st.tuples(st.integers(0, 4092), st.integers(0, 0xFFFFFFFF)), max_size=40))
def test_random_pointers_neither_crash_nor_loop(words: list[tuple[int, int]]) -> None:
    config = bytearray(space(acs=0, bar_sizes=(1 << 30,)))
    for offset, word in words:
        struct.pack_into("<I", config, offset, word)
    _read_everything(bytes(config))


def _read_everything(config: bytes) -> None:
    config_space.is_answering(config)
    for capability in (0x10, 0x0D, 0xFF):
        offset = config_space.find_capability(config, capability)
        assert offset is None or config[offset] == capability
        config_space.find_extended_capability(config, capability)
    assert config_space.max_payload_bytes(config) in (None, 128, 256, 512, 1024, 2048, 4096)
    parse_acs("0000:00:00.0", config)
    config_space.largest_resizable_bar(config)
