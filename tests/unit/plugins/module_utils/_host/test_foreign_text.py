# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Numbers and documents that int() and json would choke on, found by the fuzzer."""

from __future__ import annotations

import pytest
from ansible_collections.gpufleet.p2p.plugins.module_utils._host.foreign_text import (
    decimal,
    parse_json,
)
from hypothesis import given
from hypothesis import strategies as st


@pytest.mark.parametrize(("text", "number"), [("0", 0), ("007", 7), (str(2**64 - 1), 2**64 - 1)])
def test_decimal_digits_are_a_number(text: str, number: int) -> None:
    assert decimal(text) == number


@pytest.mark.parametrize(
    "text", ["", "-1", "+1", " 1", "1\n", "1_0", "0x1", "\u00b2", "\u0663", "9" * 5000, None]
)
def test_everything_else_is_none(text: str | None) -> None:
    assert decimal(text) is None


@given(st.integers(0, 2**64 - 1))
def test_every_number_of_64_bits_comes_back(number: int) -> None:
    assert decimal(str(number)) == number


@pytest.mark.parametrize("text", ["[" * 100_000, b"[" * 100_000, "{", b"\xff", "9" * 5000])
def test_what_is_no_document_is_a_value_error(text: str | bytes) -> None:
    with pytest.raises(ValueError):
        parse_json(text)


def test_a_document() -> None:
    assert parse_json(b'{"a": [1, null]}') == {"a": [1, None]}
