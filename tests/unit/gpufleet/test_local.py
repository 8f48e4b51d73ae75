# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Verifying this machine: how the module is called, and what becomes of what it says."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from pathlib import Path

import pytest
from support import sample_results

from gpufleet import local
from gpufleet.errors import GpufleetError, Interrupted
from gpufleet.local import unread_parts, verify_here
from gpufleet.results import Result

# Answers with the result in a file beside it and notes what it was asked.
STAND_IN = """
import json, sys
from pathlib import Path
here = Path(__file__).parent
asked = sys.stdin.read()
(here / "asked.json").write_text(asked)
path = json.loads(asked)["ANSIBLE_MODULE_ARGS"].get("progress_path")
if path:
    with open(path, "a") as pipe:
        pipe.write((here / "progress").read_text())
(here / "path.json").write_text(json.dumps(sys.path))
sys.stdout.write((here / "answer").read_text())
sys.stderr.write("last words\\n")
sys.exit(int((here / "status").read_text()))
"""


@pytest.fixture(name="stand_in")
def _stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A module in the place of p2p_verify, in a folder of its own."""
    (tmp_path / "stand_in_module.py").write_text(STAND_IN, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(local, "_MODULE", "stand_in_module")
    return tmp_path


def answer(folder: Path, said: object, status: int = 0, before: str = "\n") -> None:
    text = said if isinstance(said, str) else json.dumps(said)
    (folder / "answer").write_text(f"{before}{text}\n", encoding="utf-8")
    (folder / "status").write_text(str(status), encoding="utf-8")


def test_options_reach_the_module_and_its_result_comes_back(stand_in: Path) -> None:
    result = sample_results.result()
    answer(stand_in, {"p2p": result.to_dict(), "verdict": "pass", "changed": False})
    assert verify_here(devices=["0", "1"], quick=True, gpu_match=["1b36:*:*"]) == result
    asked = json.loads((stand_in / "asked.json").read_text(encoding="utf-8"))
    assert asked == {
        "ANSIBLE_MODULE_ARGS": {
            "devices": ["0", "1"],
            "quick": True,
            "allow_busy": False,
            "gpu_match": ["1b36:*:*"],
        }
    }


def open_files() -> set[str]:
    return {path.name for path in Path("/proc/self/fd").iterdir()}


def test_an_observer_is_told_how_far_it_is(stand_in: Path) -> None:
    answer(stand_in, {"p2p": sample_results.result().to_dict()})
    (stand_in / "progress").write_text(
        '{"done": 0, "total": 2}\nnoise\n{"done": 3}\n{"done": 2, "total": 2}\n', encoding="utf-8"
    )
    told: list[tuple[int, int]] = []
    before = open_files()
    verify_here(observer=lambda done, total: told.append((done, total)))
    assert told == [(0, 2), (2, 2)]
    assert open_files() == before


def test_what_a_library_prints_before_is_passed_over(stand_in: Path) -> None:
    result = sample_results.result()
    answer(stand_in, {"p2p": result.to_dict()}, before='noise\n{"half": \n3\n')
    assert verify_here() == result


def test_the_current_folder_cannot_stand_in_for_a_module(
    stand_in: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "json.py").write_text("raise SystemExit('taken over')", encoding="utf-8")
    monkeypatch.chdir(elsewhere)
    answer(stand_in, {"p2p": sample_results.result().to_dict()})
    verify_here()
    searched = json.loads((stand_in / "path.json").read_text(encoding="utf-8"))
    assert str(elsewhere) not in searched
    assert "" not in searched


def test_a_refusal_keeps_its_name_and_remedy(stand_in: Path) -> None:
    error = {"code": "gpus_busy", "read": "GPU 0: python", "want": "none", "remedy": "stop it"}
    answer(stand_in, {"failed": True, "msg": "gpus_busy", "error": error}, status=1)
    with pytest.raises(GpufleetError) as refusal:
        verify_here()
    assert refusal.value.as_dict() == error


@pytest.mark.parametrize(
    ("said", "code", "words"),
    [
        ("", "verification_died", "last words"),
        ("[]", "verification_died", "ended with 1"),
        ('{"failed": true, "msg": "no such option"}', "verification_failed", "no such option"),
        ("{}", "result_malformed", "the record"),
    ],
)
def test_no_result_is_an_error_by_name(stand_in: Path, said: str, code: str, words: str) -> None:
    answer(stand_in, said, status=1)
    with pytest.raises(GpufleetError, match=words) as refusal:
        verify_here()
    assert refusal.value.code == code


def test_an_interrupt_ends_the_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pid_file = tmp_path / "pid"
    (tmp_path / "sleeping_module.py").write_text(
        "import os, time\nfrom pathlib import Path\n"
        f"Path({str(pid_file)!r}).write_text(str(os.getpid()))\ntime.sleep(60)\n",
        encoding="utf-8",
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(local, "_MODULE", "sleeping_module")

    def interrupt() -> None:
        while not (pid_file.exists() and pid_file.read_text(encoding="utf-8")):
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGINT)

    previous = signal.signal(signal.SIGINT, signal.default_int_handler)
    waker = threading.Thread(target=interrupt)
    waker.start()
    try:
        with pytest.raises(Interrupted):
            verify_here()
    finally:
        waker.join()
        signal.signal(signal.SIGINT, previous)
    assert not Path(f"/proc/{pid_file.read_text(encoding='utf-8')}").exists()


def test_the_real_module_is_found_by_this_interpreter() -> None:
    """A pattern that is none is refused by the module itself, whatever GPUs this machine has."""
    with pytest.raises(GpufleetError) as refusal:
        verify_here(gpu_match=["not a pattern"])
    assert refusal.value.code in ("pci_pattern_invalid", "nvml_unavailable")


def test_what_could_not_be_read_is_told() -> None:
    assert unread_parts(sample_results.result()) == ()
    hop = {"bdf": "0000:00:01.0", "gen": None, "width": 16, "max_gen": 5, "max_width": 16}
    data = sample_results.result().to_dict()
    data["pairs"][0]["hops"] = [{**hop, "redirect": []}]
    data["iommu"]["gpu_groups"] = {"0000:0e:00.0": "unknown"}
    data["driver"]["build_id"] = None
    data["gpus"][1]["bar1_bytes"] = None
    told = unread_parts(Result.from_dict(data))
    for words in ("0000:00:01.0", "0000:0e:00.0", "build-id", "BAR1 of GPU 1"):
        assert sum(words in part for part in told) == 1
