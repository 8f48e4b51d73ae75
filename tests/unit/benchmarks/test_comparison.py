# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The comparison: ratios, tolerances, and tools that are missing, fail or hang."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support import sample_results

from benchmarks.p2p import compare
from benchmarks.p2p.comparison import rows_of, summary, table_lines, trouble_lines
from benchmarks.p2p.figures import ALL, figures_of_result
from benchmarks.p2p.tools import OURS, Run, Tool, other_tools, our_tool, run

SAMPLES = Path(__file__).parent / "samples"
MACHINE: dict[str, object] = {}


def a_run(tool: str, *values: float, figure: str = "copy write") -> Run:
    pairs = [(0, 1), (1, 0)]
    figures = {(figure, pair): value for pair, value in zip(pairs, values, strict=False)}
    return Run(tool, 2.0, figures)


def test_our_figures_come_from_the_result() -> None:
    figures = figures_of_result(sample_results.result().to_dict())
    assert figures[("copy write", (0, 1))] == 55.225
    assert figures[("copy read", (1, 0))] == 50.0
    assert figures[("kernel read, both ways", (0, 1))] == 100.0
    assert figures[("pointer chase", (0, 1))] == pytest.approx(1.2)
    # Half of a sum of both ways, the slower pair's.
    assert figures[("NCCL send and receive", ALL)] == pytest.approx(99.0 / 2)
    three = figures_of_result(sample_results.result(3).to_dict())
    assert ("NCCL send and receive", ALL) not in three
    failed = figures_of_result(sample_results.one_way_failure().to_dict())
    assert ("copy write", (1, 0)) not in failed


def test_ratios_are_of_medians_and_every_pair_has_to_hold() -> None:
    runs = [
        a_run(OURS, 100.0, 100.0),
        a_run(OURS, 101.0, 100.0),
        a_run(OURS, 500.0, 100.0),
        a_run("nvbandwidth", 100.5, 101.2),
        a_run("nvbandwidth", 100.5, 101.2),
    ]
    (row,) = rows_of(runs)
    assert row.ours == pytest.approx((101.0 + 100.0) / 2)
    assert row.highest == pytest.approx(101.0 / 100.5)
    assert row.lowest == pytest.approx(100.0 / 101.2)
    assert row.ours_range == pytest.approx(400.0 / 101.0)
    assert row.theirs_range == 0
    assert row.tolerance == 0.01
    assert row.within is False
    (row,) = rows_of([a_run(OURS, 100.0, 100.0), a_run("nvbandwidth", 100.9, 99.2)])
    assert row.within is True


@pytest.mark.parametrize(
    ("tool", "figure", "tolerance"),
    [
        ("nvbandwidth", "pointer chase", 0.05),
        ("nvbandwidth", "kernel write", 0.01),
        ("p2pBandwidthLatencyTest", "queued copy", 0.15),
        ("p2pBandwidthLatencyTest", "queued copy, staged", None),
        ("p2pBandwidthLatencyTest", "copy write", None),
    ],
)
def test_what_is_promised(tool: str, figure: str, tolerance: float | None) -> None:
    (row,) = rows_of([a_run(OURS, 1.0, figure=figure), a_run(tool, 1.0, figure=figure)])
    assert row.tolerance == tolerance


def test_a_figure_that_only_they_have_is_shown_without_a_ratio() -> None:
    (row,) = rows_of([a_run(OURS), a_run("nvbandwidth", 0.0, 5.0)])
    assert (row.ours, row.ratio, row.within, row.pairs) == (None, None, None, 0)
    (row,) = rows_of([a_run(OURS, 5.0, 5.0), a_run("nvbandwidth", 0.0, 5.0)])
    assert row.lowest == row.highest == 1.0, "nothing is divided by zero"


def stand_in(folder: Path, name: str, body: str) -> Path:
    """Return the path of a program that prints what a tool would."""
    path = folder / name
    path.write_text(f"#!{sys.executable}\n{body}\n", encoding="utf-8")
    path.chmod(0o755)
    return path


def printing(folder: Path, name: str, sample: str) -> Path:
    text = repr((SAMPLES / sample).read_text(encoding="utf-8"))
    return stand_in(folder, name, f"import sys; sys.stdout.write({text})")


def prepared(monkeypatch: pytest.MonkeyPatch, folder: Path, *options: str) -> list[str]:
    """Let measure.py give a stored result, and nothing be on PATH but ``folder``."""
    stored = json.dumps(sample_results.result().to_dict())
    measure = stand_in(folder, "measure", f"print({stored!r})")
    ours = Tool(OURS, (str(measure),), our_tool([]).parse)
    monkeypatch.setattr(compare, "our_tool", lambda _options, name=OURS: ours)
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return [*options, "--output", str(folder / "out" / "compare.json")]


def test_all_tools_in_turns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    printing(tmp_path, "nvbandwidth", "nvbandwidth.json")
    printing(tmp_path, "p2pBandwidthLatencyTest", "p2pBandwidthLatencyTest.txt")
    printing(tmp_path, "sendrecv_perf", "sendrecv_perf.txt")
    printing(tmp_path, "all_reduce_perf", "all_reduce_perf.txt")
    assert compare.main(prepared(monkeypatch, tmp_path, "--repeats", "3", "--quick")) == 0
    printed = capsys.readouterr().out
    for words in ("copy write, both ways", "kernel read", "pointer chase", "NCCL all-reduce"):
        assert words in printed
    data = json.loads((tmp_path / "out/compare.json").read_text(encoding="utf-8"))
    order = [one["tool"] for one in data["runs"]]
    assert len(order) == 3 * 5
    assert [order[0], order[5], order[10]] == [OURS, "nvbandwidth", "p2pBandwidthLatencyTest"]
    assert {wall["tool"]: wall["runs"] for wall in data["wall"]} == dict.fromkeys(order, 3)
    assert data["runs"][1]["version"] == "v0.8"
    # What was written can be shown again.
    assert compare.main(["--read", str(tmp_path / "out/compare.json"), "--markdown"]) == 0
    assert "| copy write | GB/s | nvbandwidth | 2 |" in capsys.readouterr().out


def test_what_is_missing_fails_or_prints_nonsense_stops_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stand_in(tmp_path, "nvbandwidth", "print('Segmentation fault'); raise SystemExit(139)")
    printing(tmp_path, "p2pBandwidthLatencyTest", "p2pBandwidthLatencyTest.txt")
    stand_in(tmp_path, "sendrecv_perf", "import sys; sys.exit('no libnccl.so.2')")
    assert compare.main(prepared(monkeypatch, tmp_path, "--repeats", "2")) == 0
    printed = capsys.readouterr().out
    assert "queued copy" in printed
    assert "not found: all_reduce_perf" in printed
    assert "sendrecv_perf (run 4): ended with 1: no libnccl.so.2" in printed
    assert "nvbandwidth (run 2): ended with 139; its output was not understood" in printed
    assert "    | Segmentation fault" in printed
    data = json.loads((tmp_path / "out/compare.json").read_text(encoding="utf-8"))
    assert "Segmentation fault" in data["runs"][1]["raw"]


def running(pid: str) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").split()[2] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_a_tool_that_hangs_is_killed_with_all_it_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pid_file = tmp_path / "pid"
    body = (
        "import subprocess, time, pathlib\n"
        "child = subprocess.Popen(['sleep', '61.3'])\n"
        "print('so far', flush=True)\n"
        f"pathlib.Path({str(tmp_path / 'new')!r}).write_text(str(child.pid))\n"
        f"pathlib.Path({str(tmp_path / 'new')!r}).rename({str(pid_file)!r})\n"
        "time.sleep(60)"
    )
    communicate = subprocess.Popen.communicate

    def over_once_it_hangs(
        process: subprocess.Popen[str], *arguments: object, timeout: float | None = None
    ) -> tuple[str, str]:
        # The limit is over when the tool has started its child, however slow this machine is.
        if timeout != 1234:
            return communicate(process, *arguments, timeout=timeout)  # type: ignore[arg-type]  # passed on
        while not pid_file.exists():
            time.sleep(0.01)
        raise subprocess.TimeoutExpired("slow", timeout)

    monkeypatch.setattr(subprocess.Popen, "communicate", over_once_it_hangs)
    tool = Tool("slow", (str(stand_in(tmp_path, "slow", body)),), lambda _text, _gpus: {})
    outcome = run(tool, [0, 1], os.environ, limit_seconds=1234)
    assert outcome.trouble == "killed after 1234 s"
    assert "so far" in outcome.raw
    while running(pid_file.read_text(encoding="utf-8")):
        time.sleep(0.01)


def test_a_tool_that_cannot_be_started_is_told() -> None:
    tool = Tool("gone", ("/nowhere/gone",), lambda _text, _gpus: {})
    assert "could not be started" in run(tool, [0, 1], os.environ, 5).trouble


def test_without_our_own_figures_the_exit_code_is_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    options = prepared(monkeypatch, tmp_path, "--repeats", "1")
    stand_in(tmp_path, "measure", "import sys; sys.exit('gpus_busy: read GPU 0')")
    assert compare.main(options) == 1
    assert "gpus_busy" in capsys.readouterr().out


def test_every_tool_sees_the_chosen_gpus(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stand_in(
        tmp_path,
        "nvbandwidth",
        "import os, sys\nsys.exit(' '.join(os.environ[n] for n in "
        "('CUDA_DEVICE_ORDER', 'CUDA_VISIBLE_DEVICES')))",
    )
    compare.main(prepared(monkeypatch, tmp_path, "--repeats", "1", "--devices", "0,1"))
    uuids = ",".join(sample_results.gpu(index).uuid for index in range(2))
    assert f"PCI_BUS_ID {uuids}" in capsys.readouterr().out


def test_a_tool_can_be_named_or_left_out(tmp_path: Path) -> None:
    there, absent = other_tools(2, {"nvbandwidth": "/opt/nvbandwidth"})
    assert ("/opt/nvbandwidth", "-j") in [tool.argv[:2] for tool in there]
    assert "nvbandwidth" not in absent
    nccl = other_tools(4, {"all_reduce_perf": "/opt/all_reduce_perf"})[0][-1]
    assert nccl.argv[-2:] == ("-g", "4")


def test_an_empty_comparison_is_a_table_too() -> None:
    data = summary([Run(OURS, 1.0, {}, "gpus_busy", "raw text")], ["nvbandwidth"], MACHINE)
    assert table_lines(data) == []
    assert trouble_lines(data) == [
        "not found: nvbandwidth",
        f"{OURS} (run 1): gpus_busy",
        "    | raw text",
    ]
