# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Stored results in, formats out: what is read, what is written, and how."""

from __future__ import annotations

import io
import json
import os
import stat
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.gpufleet.p2p.plugins.plugin_utils.report_values import figure
from rich.console import Console
from support import sample_results
from support.sample_results import one_way_failure

from gpufleet.errors import GpufleetError
from gpufleet.output import (
    FORMATS,
    Verification,
    formatted,
    read_verification,
    write_atomically,
)
from gpufleet.results import AllToAll, HostRecord, Result
from gpufleet.tables import print_tables


def stored(tmp_path: Path, data: object) -> Path:
    path = tmp_path / "result.json"
    path.write_text(json.dumps(data), encoding="utf-8")
    return path


def record(**changes: object) -> dict[str, Any]:
    verified = sample_results.result()
    made = HostRecord("gpu07", "verified", finished="2026-11-23T09:30:00+00:00", verify=verified)
    return {**made.to_dict(), **changes}


def test_a_result_what_the_module_returned_and_a_record_are_read_alike(tmp_path: Path) -> None:
    result = sample_results.result()
    for data in (result.to_dict(), {"p2p": result.to_dict(), "changed": False}, record()):
        assert read_verification(stored(tmp_path, data)).result == result


def test_a_record_says_when_and_another_file_is_as_old_as_its_last_change(tmp_path: Path) -> None:
    moment = datetime(2026, 11, 23, 9, 30, tzinfo=UTC).timestamp()
    assert read_verification(stored(tmp_path, record())).at == moment
    path = stored(tmp_path, sample_results.result().to_dict())
    os.utime(path, (5000.0, 6000.0))
    assert read_verification(path).at == 6000.0


@pytest.mark.parametrize(
    ("data", "code"),
    [
        ({}, "result_malformed"),
        ([], "result_malformed"),
        ({"p2p": 3}, "result_malformed"),
        (record(verify=None, outcome="refused"), "verification_missing"),
        (record(schema=9), "result_malformed"),
    ],
)
def test_what_is_no_verification_is_refused_by_name(
    tmp_path: Path, data: object, code: str
) -> None:
    with pytest.raises(GpufleetError) as refusal:
        read_verification(stored(tmp_path, data))
    assert refusal.value.code == code


@pytest.mark.parametrize("text", ["", "{", "\x00", "[" * 100_000])
def test_what_is_no_json_is_refused_by_name(tmp_path: Path, text: str) -> None:
    path = tmp_path / "result.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(GpufleetError, match="result_unreadable"):
        read_verification(path)
    with pytest.raises(GpufleetError, match="nowhere"):
        read_verification(tmp_path / "nowhere")


def test_json_comes_back_as_the_same_result() -> None:
    result = one_way_failure()
    assert Result.from_dict(json.loads(formatted(Verification(result), "json"))) == result


def test_the_table_has_matrices_groups_causes_and_the_verdict() -> None:
    text = formatted(Verification(sample_results.result(wall_seconds=3.5)), "table")
    for words in (
        "gpu07",
        "GPU 1  0000:1e:00.0",
        "Bandwidth, one direction",
        "55.2",
        "CUDA_VISIBLE_DEVICES=0,1",
        "✓ pass  2 ordered pairs in 3.5 s",
    ):
        assert words in text
    failed = formatted(Verification(one_way_failure()), "table")
    assert "✗ fail" in failed
    assert "iommu_translating: GPU 0 is in group 12 of type DMA-FQ; remedy: boot with" in failed
    assert "CUDA_VISIBLE_DEVICES" not in failed


def test_the_table_says_what_could_not_be_read() -> None:
    dark = sample_results.Bandwidth(payload_assumed=True)
    result = sample_results.result(pairs={(0, 1): sample_results.pair(0, 1, bandwidth=dark)})
    assert "not read: configuration space" in formatted(Verification(result), "table")
    assert "not read" not in formatted(Verification(sample_results.result()), "table")
    note = sample_results.Cause("kernel_log_unread", "Operation not permitted", "run as root")
    noted = formatted(Verification(sample_results.result(notes=(note,))), "table")
    assert "note: kernel_log_unread: Operation not permitted; run as root" in noted


def test_the_table_says_what_a_group_moves_at_once_beside_what_its_pairs_reach_alone() -> None:
    group = AllToAll(
        (0, 1, 2),
        total=120.0,
        spread=0.004,
        per_gpu={0: 40.0, 1: 40.0, 2: 40.0},
        ceiling=150.0,
        fraction=0.8,
        bottleneck=f"{sample_results.gpu(1).bdf} up",
        sharing=2,
        data="passed",
    )
    text = formatted(Verification(sample_results.result(3, all_to_all=(group,))), "table")
    (row,) = (line for line in text.splitlines() if line.startswith("0,1,2"))
    words = row.replace("\N{NO-BREAK SPACE}", " ").split()
    assert words == ["0,1,2", "120", "±0.4", "%", "20.0", "56.2", "36", "%", "150", "80", "%"]
    assert "0,1,2: data right; narrowest: link of GPU 1, sending: 2 of 6 pairs" in text
    dead = AllToAll((0, 1, 2), detail="killed after 60 s")
    text = formatted(Verification(sample_results.result(3, all_to_all=(dead,))), "table")
    assert "0,1,2: not measured: killed after 60 s" in text
    assert "All at once" not in formatted(Verification(sample_results.result(3)), "table")


@pytest.mark.parametrize("columns", [20, 80, 200])
def test_no_figure_is_cut_on_a_narrow_screen(columns: int) -> None:
    screen = io.StringIO()
    print_tables(Console(file=screen, width=columns), sample_results.result(8))
    text = screen.getvalue()
    assert "…" not in text
    assert text.count("pass ") + text.count("pass\n") >= 8 * 7
    for pair in sample_results.result(8).pairs:
        assert figure(pair.bandwidth.on.uni) in text


@pytest.mark.parametrize("name", FORMATS)
def test_hosts_cannot_steer_the_terminal(name: str) -> None:
    evil = "\x1b[2J\x07"
    cause = sample_results.Cause(evil, evil, evil)
    result = sample_results.result(
        gpus=(sample_results.gpu(0, name=evil), sample_results.gpu(1)),
        host=evil,
        kernel=evil,
        causes=(cause,),
    )
    text = formatted(Verification(result), name)
    # Metrics are for a program, and their format has no escape for such characters.
    assert name == "prometheus" or "\x1b" not in text


def test_a_file_is_replaced_at_once_and_readable_by_all(tmp_path: Path) -> None:
    path = tmp_path / "gpufleet.prom"
    path.write_text("old", encoding="utf-8")
    path.chmod(0o600)
    with path.open(encoding="utf-8") as reader:
        write_atomically(path, "new\n")
        assert reader.read() == "old", "a reader that was at it keeps the old file whole"
    assert path.read_text(encoding="utf-8") == "new\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert list(tmp_path.iterdir()) == [path]


def test_a_link_stays_and_its_target_is_replaced(tmp_path: Path) -> None:
    target, link = tmp_path / "target", tmp_path / "link"
    link.symlink_to(target)
    write_atomically(link, "x")
    assert link.is_symlink()
    assert target.read_text(encoding="utf-8") == "x"


def test_a_device_is_written_to_and_not_replaced() -> None:
    write_atomically(Path("/dev/null"), "x")
    assert Path("/dev/null").is_char_device()


def test_where_nothing_can_be_written_nothing_is_left(tmp_path: Path) -> None:
    for path in (tmp_path / "nowhere" / "file", tmp_path):
        with pytest.raises(GpufleetError, match="output_unwritable"):
            write_atomically(path, "x")
    assert list(tmp_path.iterdir()) == []
