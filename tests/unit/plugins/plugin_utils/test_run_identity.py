# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A run is named the same by all its workers, and a dead one is recognised only here."""

from __future__ import annotations

import multiprocessing
import os
from dataclasses import replace
from pathlib import Path

import pytest
from ansible_collections.gpufleet.p2p.plugins.plugin_utils.run_identity import (
    RunIdentity,
    describe_run,
    is_dead,
    parse_identity,
    process_start,
    this_run,
)


def test_workers_of_one_process_share_the_identity() -> None:
    context = multiprocessing.get_context("fork")
    with context.Pool(2) as pool:
        named = {pool.apply(_name_run) for _ in range(4)}
    assert named == {str(this_run())}


def _name_run() -> str:
    return str(this_run())


def test_identity_survives_text() -> None:
    here = this_run()
    assert here.pid == os.getpid()
    assert parse_identity(str(here)) == here


@pytest.mark.parametrize("text", ["", "a/b/c", "a/b/x/d", "a//1/d", "my own run", "a/b/1/c/d"])
def test_other_names_are_no_identity(text: str) -> None:
    assert parse_identity(text) is None


def test_living_run_is_not_dead() -> None:
    assert not is_dead(this_run(), this_run())


def test_ended_process_and_reused_number_are_dead() -> None:
    here = this_run()
    process = multiprocessing.get_context("fork").Process(target=int)
    process.start()
    assert process.pid is not None
    started = process_start(process.pid)
    process.join()
    assert is_dead(replace(here, pid=process.pid, start=started or "1"), here)
    assert is_dead(replace(here, start="1"), here)


@pytest.mark.parametrize("change", [{"boot": "another"}, {"namespace": "another"}])
def test_nothing_is_known_of_other_controllers(change: dict[str, str]) -> None:
    here = this_run()
    assert not is_dead(replace(here, start="1", **change), here)


def test_nothing_is_known_without_proc(tmp_path: Path) -> None:
    here = this_run(tmp_path)
    assert here.start == "unknown"
    assert not is_dead(RunIdentity(here.boot, here.namespace, 1, "unknown"), here, tmp_path)


@pytest.mark.parametrize(("state", "start"), [("S", "81920"), ("Z", None), ("X", None)])
def test_start_is_read_behind_an_awkward_name(
    tmp_path: Path, state: str, start: str | None
) -> None:
    (tmp_path / "7").mkdir()
    fields = " ".join(["0"] * 18)
    (tmp_path / "7/stat").write_text(f"7 (a) b (c) {state} {fields} 81920 0 0\n")
    assert process_start(7, tmp_path) == start


def test_run_is_described_for_people() -> None:
    assert describe_run(4711).endswith(" pid 4711")
    assert "@" in describe_run(1)
