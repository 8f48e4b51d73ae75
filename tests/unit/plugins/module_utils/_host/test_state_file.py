# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What gpufleet wrote down for itself: read back as it was, or refused by its name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible_collections.gpufleet.p2p.plugins.module_utils._host.state_file import (
    StateUnreadable,
    read_state,
)


def names(fields: Any) -> list[str]:
    return [str(name) for name in fields["names"]]


def read(path: Path) -> list[str] | None:
    return read_state(path, names, want="a list of names", remedy="write it anew")


def test_what_was_written_and_what_was_not(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    assert read(path) is None
    path.write_text('{"names": ["a"]}')
    assert read(path) == ["a"]


@pytest.mark.parametrize(
    "data", [b"", b"{", b'{"names": ["a"', b"[]", b"7", b"null", b"\xff\xfe", b"[" * 100_000]
)
def test_another_content_is_told_by_the_file(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "state.json"
    path.write_bytes(data)
    with pytest.raises(StateUnreadable) as caught:
        read(path)
    error = caught.value
    assert error.code == "state_unreadable"
    assert error.read.startswith(f"{path}: {len(data)} bytes")
    assert (error.want, error.remedy) == ("a list of names", "write it anew")


def test_a_file_that_cannot_be_read_is_not_a_missing_one(tmp_path: Path) -> None:
    (tmp_path / "state.json").mkdir()
    with pytest.raises(OSError, match="directory"):
        read(tmp_path / "state.json")
