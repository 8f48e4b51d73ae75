# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files are replaced whole or not at all."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from ansible_collections.gpufleet.p2p.plugins.module_utils._host import files
from ansible_collections.gpufleet.p2p.plugins.module_utils._host.errors import GpufleetError
from hypothesis import given
from hypothesis import strategies as st


def test_write_makes_directories_content_and_mode(tmp_path: Path) -> None:
    path = tmp_path / "a/b/file"
    assert files.atomic_write(path, b"content", mode=0o600)
    assert path.read_bytes() == b"content"
    assert path.stat().st_mode & 0o7777 == 0o600


def test_second_write_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "file"
    files.atomic_write(path, b"content")
    before = path.stat()
    assert not files.atomic_write(path, b"content")
    assert path.stat().st_ino == before.st_ino


def test_mode_alone_is_a_change(tmp_path: Path) -> None:
    path = tmp_path / "file"
    files.atomic_write(path, b"content", mode=0o644)
    assert files.atomic_write(path, b"content", mode=0o600)


def test_failed_write_leaves_the_old_file_and_nothing_beside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def refuse(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", refuse)
    with pytest.raises(OSError, match="No space"):
        files.atomic_write(path, b"new")
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_the_label_of_selinux_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """/etc/default/grub has a label of its own, which a new file in /etc/default has not."""
    labels = {}
    monkeypatch.setattr(files.os, "getxattr", lambda path, name: b"bootloader_etc_t")
    monkeypatch.setattr(
        files.os, "setxattr", lambda _file, name, value: labels.update({name: value})
    )
    files.atomic_write(tmp_path / "grub", b"new")
    assert labels == {"security.selinux": b"bootloader_etc_t"}


def test_remove_tells_whether_there_was_a_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.touch()
    assert files.remove(path)
    assert not files.remove(path)


def test_only_empty_directories_are_removed(tmp_path: Path) -> None:
    directory = tmp_path / "own"
    assert not files.remove_empty(directory)
    directory.mkdir()
    (directory / "file").touch()
    assert not files.remove_empty(directory)
    assert not files.remove_empty(directory / "file")
    (directory / "file").unlink()
    assert files.remove_empty(directory)
    assert not directory.exists()


def test_absent_and_unreadable_files_read_as_none(tmp_path: Path) -> None:
    assert files.read_text(tmp_path / "absent") is None
    assert files.read_bytes(tmp_path) is None


def test_undecodable_bytes_are_escaped(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"a\xffb")
    assert files.read_text(tmp_path / "file") == "a\\xffb"


@given(st.binary(max_size=4096))
def test_checksum_is_sha256_of_the_content(
    tmp_path_factory: pytest.TempPathFactory, data: bytes
) -> None:
    path = tmp_path_factory.mktemp("sum") / "file"
    path.write_bytes(data)
    assert files.sha256_of(path) == hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize("before", [None, b"old"])
@pytest.mark.parametrize("after", [None, b"new"])
def test_change_applies_and_shows_itself(
    tmp_path: Path, before: bytes | None, after: bytes | None
) -> None:
    path = tmp_path / "file"
    if before is not None:
        path.write_bytes(before)
    change = files.FileChange(path, before, after)
    assert change.is_change == (before != after)
    assert change.apply() == change.is_change
    assert files.read_bytes(path) == after
    diff = change.as_diff()
    assert diff["before_header"] == str(path)
    assert diff["after"] == (after or b"").decode()


def test_errors_carry_what_an_operator_needs() -> None:
    error = GpufleetError("disk_full", read="0 MiB", want="10 MiB", remedy="free space")
    assert str(error) == "disk_full: read 0 MiB; want 10 MiB; remedy: free space"
    assert error.as_dict() == {
        "code": "disk_full",
        "read": "0 MiB",
        "want": "10 MiB",
        "remedy": "free space",
    }


class TestSettled:
    """For GRUB, which may see the former directory entry or the new one until both are written."""

    @pytest.fixture
    def moments(self, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, bytes]]:
        """Return what lies beside the file whenever all of it is brought to its place."""
        seen: list[dict[str, bytes]] = []

        def note(directory: Path) -> None:
            seen.append({path.name: path.read_bytes() for path in directory.iterdir()})

        monkeypatch.setattr(files, "settle", note)
        return seen

    def test_either_entry_leads_to_a_whole_file(
        self, moments: list[dict[str, bytes]], tmp_path: Path
    ) -> None:
        path = tmp_path / "grub.cfg"
        path.write_bytes(b"old")
        assert files.atomic_write(path, b"new", settled=True)
        before, after = moments
        # In place before the entry changes: the new file under its other name.
        assert before.pop("grub.cfg") == b"old"
        assert sorted(before.values()) == [b"new", b"old"]
        # The former one is not freed before the change is in place.
        assert after == {"grub.cfg": b"new", ".grub.cfg.former": b"old"}
        assert [entry.name for entry in tmp_path.iterdir()] == ["grub.cfg"]

    def test_a_removed_file_outlives_its_entry(
        self, moments: list[dict[str, bytes]], tmp_path: Path
    ) -> None:
        path = tmp_path / "custom.cfg"
        path.write_bytes(b"old")
        assert files.remove(path, settled=True)
        assert moments[1] == {".custom.cfg.former": b"old"}
        assert not list(tmp_path.iterdir())

    def test_the_leftover_of_a_killed_write_goes_with_the_next(
        self, moments: list[dict[str, bytes]], tmp_path: Path
    ) -> None:
        (tmp_path / ".grub.cfg.former").write_bytes(b"of before")
        assert files.atomic_write(tmp_path / "grub.cfg", b"new", settled=True)
        assert [entry.name for entry in tmp_path.iterdir()] == ["grub.cfg"]
        assert len(moments) == 2

    def test_the_file_system_takes_it(self, tmp_path: Path) -> None:
        files.settle(tmp_path)
        with pytest.raises(OSError, match="nothing"):
            files.settle(tmp_path / "nothing")
