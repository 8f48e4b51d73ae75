# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The figures in what other tools print; the samples have the shape of the tools' sources."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import sample_results

from benchmarks.p2p import outputs
from benchmarks.p2p.figures import ALL, figures_of_result
from gpufleet.classic import classic_text

SAMPLES = Path(__file__).parent / "samples"


def sample(name: str) -> str:
    return (SAMPLES / name).read_text(encoding="utf-8")


def test_nvbandwidth() -> None:
    figures = outputs.nvbandwidth(sample("nvbandwidth.json"), [0, 1])
    assert figures[("copy write", (0, 1))] == 396.512
    assert figures[("copy write", (1, 0))] == 396.431
    # The row reads: what stands in row 0, column 1 moved from 1 to 0.
    assert figures[("copy read", (1, 0))] == 394.021
    assert figures[("kernel read", (0, 1))] == 375.9
    # Of three matrices under each other the last is the total.
    assert figures[("copy write, both ways", (0, 1))] == 783.6
    assert figures[("copy read, both ways", (1, 0))] == 780.4
    # Nanoseconds become microseconds.
    assert figures[("pointer chase", (0, 1))] == pytest.approx(0.829314)
    assert figures[("pointer chase", (1, 0))] == pytest.approx(1.82904)
    assert not [name for name, _pair in figures if name == "kernel write, both ways"]
    assert len(figures) == 2 * 7


def test_nvbandwidth_says_what_it_left_out_and_which_it_is() -> None:
    text = sample("nvbandwidth.json")
    assert outputs.nvbandwidth_remarks(text) == [
        "device_to_device_bidirectional_memcpy_write_sm: Waived"
    ]
    assert outputs.nvbandwidth_version(text) == "v0.8"
    failed = json.dumps({"nvbandwidth": {"error": "CUDA_ERROR 46: in expression", "testcases": []}})
    assert outputs.nvbandwidth_remarks(failed) == ["CUDA_ERROR 46: in expression"]
    assert outputs.nvbandwidth(failed, [0, 1]) == {}


def test_nvbandwidth_with_words_around_its_json() -> None:
    text = f"warning of a library\n{sample('nvbandwidth.json')}another {{ one"
    assert outputs.nvbandwidth(text, [0, 1]) == outputs.nvbandwidth(
        sample("nvbandwidth.json"), [0, 1]
    )


def test_p2p_bandwidth_latency_test() -> None:
    figures = outputs.classic(sample("p2pBandwidthLatencyTest.txt"), [0, 1])
    assert figures == {
        ("staged copy", (0, 1)): 37.93,
        ("staged copy", (1, 0)): 37.88,
        ("copy write", (0, 1)): 391.62,
        ("copy write", (1, 0)): 360.44,
        ("staged copy, both ways", (0, 1)): 52.17,
        ("staged copy, both ways", (1, 0)): 52.94,
        ("copy write, both ways", (0, 1)): 769.5,
        ("copy write, both ways", (1, 0)): 735.18,
        ("queued copy, staged", (0, 1)): 16.84,
        ("queued copy, staged", (1, 0)): 16.71,
        ("queued copy", (0, 1)): 2.27,
        ("queued copy", (1, 0)): 2.33,
    }


def test_our_classic_text_reads_as_theirs() -> None:
    """One parser for both: what a script finds in the one it finds in the other."""
    result = sample_results.result(4)
    found = outputs.classic(classic_text(result), [0, 1, 2, 3])
    ours = figures_of_result(result.to_dict())
    assert len(found) == 6 * 12
    for key, value in found.items():
        assert value == pytest.approx(ours[key], abs=0.0051)


def test_chosen_gpus_have_p2p_verifys_numbers() -> None:
    text = sample("p2pBandwidthLatencyTest.txt")
    assert outputs.classic(text, [2, 5])[("queued copy", (5, 2))] == 2.33
    text = sample("nvbandwidth.json")
    assert outputs.nvbandwidth(text, [2, 5])[("copy read", (5, 2))] == 394.021


def test_nccl_tests_give_the_largest_sizes_better_bandwidth() -> None:
    sendrecv = outputs.nccl(sample("sendrecv_perf.txt"), "NCCL send and receive")
    assert sendrecv == {("NCCL send and receive", ALL): 365.14}
    reduced = outputs.nccl(sample("all_reduce_perf.txt"), "NCCL all-reduce")
    assert reduced == {("NCCL all-reduce", ALL): 332.7}


def test_wrong_data_is_no_measurement() -> None:
    text = sample("all_reduce_perf.txt").replace("332.70      0", "332.70     17")
    with pytest.raises(ValueError, match="17 wrong elements at 536870912 bytes"):
        outputs.nccl(text, "NCCL all-reduce")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no JSON"),
        ("{}", "no object nvbandwidth"),
        (
            sample("nvbandwidth.json").replace('"N/A",', '"N/A","N/A",'),
            "3 columns for 2 GPUs",
        ),
        (sample("nvbandwidth.json").replace('"396.512"', '"fast"'), "fast"),
    ],
)
def test_another_shape_of_nvbandwidth_is_refused(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        outputs.nvbandwidth(text, [0, 1])


@pytest.mark.parametrize("kept", range(1, 40, 3))
def test_a_cut_classic_text_is_refused(kept: int) -> None:
    lines = sample("p2pBandwidthLatencyTest.txt").splitlines()
    before_last_matrix = lines.index("P2P=Enabled Latency (P2P Writes) Matrix (us)") + 4
    text = "\n".join(lines[: min(kept, before_last_matrix - 1)])
    with pytest.raises(ValueError, match=r"no heading|columns|row"):
        outputs.classic(text, [0, 1])


@given(st.text(max_size=200), st.integers(1, 3))
def test_any_text_is_read_or_refused(text: str, count: int) -> None:
    gpus = list(range(count))
    for read in (
        outputs.nvbandwidth,
        outputs.classic,
        lambda given, _gpus: outputs.nccl(given, "NCCL all-reduce"),
    ):
        with pytest.raises(ValueError):
            read(text, gpus)
