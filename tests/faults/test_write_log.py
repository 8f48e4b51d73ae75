# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The log that QEMU itself writes is read, and replayed to the disk that QEMU left."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from faults.crash_states import CrashState, Cursor, Timeline, make_disk
from faults.write_log import LogInvalid, read_log

SIZE = 1 << 20
REQUESTS = """
write -P 1 0 4096
write -P 2 8192 512
flush
write -z 4096 4096
write -P 9 4096 512
discard 0 4096
write -P 3 16384 1536
write -P 4 512 512
flush
write -P 5 0 4096
write -P 6 65536 4096
"""


@dataclass(frozen=True)
class Logged:
    """A disk before, the log of what was done to it, and the disk after."""

    before: Path
    log: Path
    after: Path


@pytest.fixture(scope="module")
def logged(tmp_path_factory: pytest.TempPathFactory) -> Logged:
    directory = tmp_path_factory.mktemp("log")
    files = Logged(directory / "before", directory / "log", directory / "after")
    files.before.write_bytes(b"\x77" * SIZE)
    shutil.copy(files.before, files.after)
    files.log.touch()
    node = (
        f"driver=blklogwrites,file.driver=file,file.filename={files.after},"
        f"file.discard=unmap,log.driver=file,log.filename={files.log}"
    )
    subprocess.run(
        ["qemu-io", "-t", "writeback", "-d", "unmap", "--image-opts", node],
        input=REQUESTS,
        text=True,
        check=True,
        stdout=subprocess.DEVNULL,
    )
    return files


def test_each_request_is_an_entry(logged: Logged) -> None:
    entries = [entry for entry in read_log(logged.log) if entry.sectors]
    assert [(entry.sector, entry.sectors, entry.discard) for entry in entries] == [
        (0, 8, False),
        (16, 1, False),
        (8, 8, False),
        (8, 1, False),
        (0, 8, True),
        (32, 3, False),
        (1, 1, False),
        (0, 8, False),
        (128, 8, False),
    ]
    assert sum(entry.flush for entry in read_log(logged.log)) >= 2


def test_the_whole_log_gives_the_disk_that_qemu_left(logged: Logged, tmp_path: Path) -> None:
    timeline = Timeline(read_log(logged.log))
    disk = tmp_path / "disk"
    shutil.copy(logged.before, disk)
    make_disk(logged.log, timeline, CrashState(len(timeline.entries)), disk)
    assert disk.read_bytes() == logged.after.read_bytes()


def test_a_log_cut_short_ends_with_its_last_whole_entry(logged: Logged, tmp_path: Path) -> None:
    whole = read_log(logged.log)
    text = logged.log.read_bytes()
    cut = tmp_path / "cut"
    for number in (3, len(whole) - 1):
        cut.write_bytes(text[: whole[number].position - 1])
        assert read_log(cut) == whole[:number]
    cut.write_bytes(text[: whole[2].position] + bytes(4096))
    assert read_log(cut) == whole[:3]


@pytest.mark.parametrize("text", [b"", b"short", b"\0" * 4096])
def test_another_file_is_refused(text: bytes, tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(text)
    with pytest.raises(LogInvalid):
        read_log(path)


def test_a_lost_cache_keeps_what_was_flushed_and_nothing_after_the_power_failed(
    logged: Logged, tmp_path: Path
) -> None:
    timeline = Timeline(read_log(logged.log))
    last = next(number for number, entry in enumerate(timeline.entries) if entry.sectors == 3)
    outcomes = set()
    for seed in range(60):
        disk = tmp_path / "disk"
        shutil.copy(logged.before, disk)
        make_disk(logged.log, timeline, CrashState(last + 1, shuffle=seed), disk)
        text = disk.read_bytes()
        assert text[8192:8704] == b"\x02" * 512, "flushed, and lost"
        assert text[65536:65540] == b"\x77" * 4, "written after the power failed"
        outcomes.add((text[0], text[4096], text[5000], text[16384], text[17408]))
    assert (0, 9, 0, 3, 3) in outcomes, "all of it is never there"
    assert (1, 0x77, 0x77, 0x77, 0x77) in outcomes, "nothing of it is never there"
    assert any(begin == 3 and end == 0x77 for *_, begin, end in outcomes), "never torn"
    # Zeros over the whole came first: a later write to a part of it is never undone by them.
    assert {(part, whole) for _, part, whole, _, _ in outcomes} <= {
        *((0x77, 0x77), (9, 0x77), (0, 0), (9, 0))
    }


def test_the_draw_of_a_state_is_the_same_each_time(logged: Logged) -> None:
    timeline = Timeline(read_log(logged.log))
    state = CrashState(len(timeline.entries), shuffle=7)
    assert list(timeline.pieces(state)) == list(timeline.pieces(state))


def test_the_cursor_goes_to_and_fro(logged: Logged, tmp_path: Path) -> None:
    timeline = Timeline(read_log(logged.log))
    wanted = []
    for until in range(len(timeline.entries) + 1):
        disk = tmp_path / "disk"
        shutil.copy(logged.before, disk)
        make_disk(logged.log, timeline, CrashState(until), disk)
        wanted.append(disk.read_bytes())
    shutil.copy(logged.before, tmp_path / "moved")
    with logged.log.open("rb") as log, (tmp_path / "moved").open("r+b") as moved:
        cursor = Cursor(log, moved, timeline)
        cursor.settle(1)
        for until in (len(timeline.entries), 2, 6, 3, 1, 5):
            cursor.to(until)
            assert (tmp_path / "moved").read_bytes() == wanted[until]
        with pytest.raises(ValueError):
            cursor.to(0)
