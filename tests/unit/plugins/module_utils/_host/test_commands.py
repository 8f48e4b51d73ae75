# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Commands end in a result or a named error, and leave no process behind."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest
from ansible_collections.gpufleet.p2p.plugins.module_utils._host.commands import (
    CommandFailed,
    CommandMissing,
    CommandTimedOut,
    run,
)


def test_result_holds_both_streams_and_the_status() -> None:
    result = run(["sh", "-c", "echo out; echo err >&2; exit 3"], check=False)
    assert (result.rc, result.stdout, result.stderr) == (3, "out\n", "err\n")


def test_failure_names_the_command_and_its_last_words() -> None:
    with pytest.raises(CommandFailed) as caught:
        run(["sh", "-c", "echo 'no space left' >&2; exit 4"])
    assert caught.value.code == "command_failed"
    assert "returned 4" in caught.value.read
    assert "no space left" in caught.value.read


def test_failure_keeps_the_last_lines_only() -> None:
    with pytest.raises(CommandFailed) as caught:
        run(["sh", "-c", "seq 100; exit 1"])
    assert "\n100" in caught.value.read
    assert "\n50\n" not in caught.value.read


def test_missing_command_is_told_with_its_name() -> None:
    with pytest.raises(CommandMissing, match="gpufleet-no-such-tool"):
        run(["gpufleet-no-such-tool"])


def test_a_file_that_is_no_program_counts_as_missing(tmp_path: Path) -> None:
    (tmp_path / "tool").write_text("")
    with pytest.raises(CommandMissing, match="permission denied"):
        run([str(tmp_path / "tool")])


def test_missing_working_directory_is_not_blamed_on_the_command(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        run(["true"], cwd=tmp_path / "absent")


def test_time_out_kills_the_whole_group(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    # The shell ends at once; its child keeps the pipe open.
    script = f"sleep 60 & echo $! > {pid_file}"
    began = time.monotonic()
    with pytest.raises(CommandTimedOut) as caught:
        run(["sh", "-c", script], timeout=0.5)
    assert caught.value.code == "command_timed_out"
    assert time.monotonic() - began < 5
    assert _ended(int(pid_file.read_text()))


def test_standard_input_is_fed_and_never_inherited() -> None:
    assert run(["cat"], stdin="text").stdout == "text"
    assert run(["cat"]).stdout == ""


def test_locale_is_c_and_variables_are_added() -> None:
    result = run(["sh", "-c", 'echo "$LC_ALL $EXTRA"'], env={"EXTRA": "1"})
    assert result.stdout == "C 1\n"


def test_undecodable_output_is_replaced() -> None:
    script = "import sys; sys.stdout.buffer.write(bytes([0xff, 0x0a]))"
    assert run([sys.executable, "-c", script]).stdout == "\ufffd\n"


def _ended(pid: int) -> bool:
    for _ in range(100):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        # A killed orphan stays a zombie until init reaps it.
        if ") Z " in Path(f"/proc/{pid}/stat").read_text():
            return True
        time.sleep(0.02)
    return False


def test_an_outer_make_does_not_govern_an_inner_one(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL", "MAKEOVERRIDES"):
        monkeypatch.setenv(name, "w")
    assert "MAKE" not in run(["env"]).stdout
    assert "MAKEFLAGS=-j2" in run(["env"], env={"MAKEFLAGS": "-j2"}).stdout
