# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The note on the host: written once, whole, kept over runs, and gone without a trace."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.gpufleet.p2p.plugins.module_utils._drain import note as notes
from ansible_collections.gpufleet.p2p.plugins.module_utils._drain.hooks import parse
from ansible_collections.gpufleet.p2p.plugins.module_utils._host.state_file import StateUnreadable

HOOKS = parse({"method": "units", "units": ["a.service", "b.service"]})


def test_what_was_written_is_read(tmp_path: Path) -> None:
    note = notes.new_note(HOOKS, ["a.service"])
    notes.write_note(tmp_path, note)
    assert notes.read_note(tmp_path) == note
    assert (tmp_path / notes.NOTE).stat().st_mode & 0o7777 == 0o644


def test_no_note_is_no_error(tmp_path: Path) -> None:
    assert notes.read_note(tmp_path) is None
    assert notes.interrupted(tmp_path) is None
    assert not notes.forget(tmp_path)


def test_an_interruption_is_noted_and_the_rest_kept(tmp_path: Path) -> None:
    note = notes.new_note(HOOKS, ["a.service"])
    notes.write_note(tmp_path, note)
    after = notes.interrupted(tmp_path)
    assert after is not None
    assert after.interrupted
    assert (after.mark, after.units, after.hooks) == (note.mark, note.units, note.hooks)
    assert notes.read_note(tmp_path) == after == notes.interrupted(tmp_path)


def test_forgetting_leaves_what_is_not_its_own(tmp_path: Path) -> None:
    notes.write_note(tmp_path, notes.new_note(HOOKS))
    lock = tmp_path / "var/lib/gpufleet/lock.json"
    lock.write_text("{}")
    assert notes.forget(tmp_path)
    assert lock.exists()
    lock.unlink()
    notes.write_note(tmp_path, notes.new_note(HOOKS))
    notes.forget(tmp_path)
    assert not lock.parent.exists()


@pytest.mark.parametrize("damage", [b"", b"{}", b'{"schema": 1', b'{"schema": 2}', b"[]", b"null"])
def test_a_damaged_note_is_not_taken_for_none(tmp_path: Path, damage: bytes) -> None:
    notes.write_note(tmp_path, notes.new_note(HOOKS))
    (tmp_path / notes.NOTE).write_bytes(damage)
    with pytest.raises(StateUnreadable):
        notes.read_note(tmp_path)


def test_marks_differ(tmp_path: Path) -> None:
    assert notes.new_note(HOOKS).mark != notes.new_note(HOOKS).mark
