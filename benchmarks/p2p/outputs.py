# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading the figures out of what other tools print, as pure functions on text.

Every function takes the tool's whole output, and ``gpus``: the number that p2p_verify knows each of
the tool's GPUs by, in the tool's order. It raises ValueError, with a sentence, where the text does
not have the expected shape: half of a table is no measurement.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from .figures import ALL, Figures

# Testcase of nvbandwidth -> figure, and whether the row is the GPU that the data comes from.
# A read is made by the GPU of the row (testcases_ce.cpp: "use srcBuffers (the copy's destination)
# context"), so its data comes from the column, whatever the heading's arrow says.
NVBANDWIDTH_TESTCASES = {
    "device_to_device_memcpy_write_ce": ("copy write", True),
    "device_to_device_memcpy_read_ce": ("copy read", False),
    "device_to_device_bidirectional_memcpy_write_ce": ("copy write, both ways", True),
    "device_to_device_bidirectional_memcpy_read_ce": ("copy read, both ways", False),
    "device_to_device_memcpy_write_sm": ("kernel write", True),
    "device_to_device_memcpy_read_sm": ("kernel read", False),
    "device_to_device_bidirectional_memcpy_write_sm": ("kernel write, both ways", True),
    "device_to_device_bidirectional_memcpy_read_sm": ("kernel read, both ways", False),
    # Nanoseconds; the GPU of the row loads from the column, as p2p_verify's "from" does from "to".
    "device_to_device_latency_sm": ("pointer chase", True),
}
_NANOSECONDS_PER_MICROSECOND = 1000.0

# Heading of p2pBandwidthLatencyTest -> figure.
_CLASSIC_HEADINGS = {
    "Unidirectional P2P=Disabled Bandwidth Matrix (GB/s)": "staged copy",
    "Unidirectional P2P=Enabled Bandwidth (P2P Writes) Matrix (GB/s)": "copy write",
    "Bidirectional P2P=Disabled Bandwidth Matrix (GB/s)": "staged copy, both ways",
    "Bidirectional P2P=Enabled Bandwidth Matrix (GB/s)": "copy write, both ways",
    "P2P=Disabled Latency Matrix (us)": "queued copy, staged",
    "P2P=Enabled Latency (P2P Writes) Matrix (us)": "queued copy",
}

_NCCL_COLUMNS = 4  # time, algbw, busbw and #wrong, once out of place and once in place


def nvbandwidth(text: str, gpus: Sequence[int]) -> Figures:
    """Return the figures in the JSON of ``nvbandwidth -j``.

    A testcase that was waived or failed has none; see nvbandwidth_remarks.
    """
    found: Figures = {}
    for testcase in _testcases(text):
        name = str(testcase.get("name"))
        if name not in NVBANDWIDTH_TESTCASES or testcase.get("status") != "Passed":
            continue
        figure, row_is_source = NVBANDWIDTH_TESTCASES[name]
        scale = _NANOSECONDS_PER_MICROSECOND if figure == "pointer chase" else 1.0
        rows = testcase.get("bandwidth_matrix")
        if not isinstance(rows, list) or not all(isinstance(row, list) for row in rows):
            raise ValueError(f"{name}: no bandwidth_matrix")
        # Both ways has three matrices under each other: first, second, total.
        if len(rows) not in (len(gpus), 3 * len(gpus)):
            raise ValueError(f"{name}: {len(rows)} rows for {len(gpus)} GPUs")
        for row, cells in zip(gpus, rows[-len(gpus) :], strict=True):
            if len(cells) != len(gpus):
                raise ValueError(f"{name}: {len(cells)} columns for {len(gpus)} GPUs")
            for column, cell in zip(gpus, cells, strict=True):
                if row == column or cell == "N/A":
                    continue
                ends = (row, column) if row_is_source else (column, row)
                found[(figure, ends)] = float(cell) / scale
    return found


def nvbandwidth_remarks(text: str) -> list[str]:
    """Return a line for the tool's own error and for each testcase that did not pass."""
    root = _nvbandwidth_root(text)
    remarks = [str(root[key]) for key in ("error", "warning") if root.get(key)]
    for testcase in _testcases(text):
        if testcase.get("status") != "Passed":
            remarks.append(f"{testcase.get('name')}: {testcase.get('status')}")
    return remarks


def nvbandwidth_version(text: str) -> str:
    """Return the version that the output names; empty where it names none."""
    return str(_nvbandwidth_root(text).get("version", ""))


def _testcases(text: str) -> Iterator[Mapping[str, Any]]:
    testcases = _nvbandwidth_root(text).get("testcases", [])
    return (item for item in testcases if isinstance(item, dict))


def _nvbandwidth_root(text: str) -> Mapping[str, Any]:
    begin = text.find("{")
    if begin < 0:
        raise ValueError("no JSON in the output")
    # Something may follow: errors of the libraries go to the same place.
    loaded, _end = json.JSONDecoder().raw_decode(text, begin)
    root = loaded.get("nvbandwidth") if isinstance(loaded, dict) else None
    if not isinstance(root, dict):
        raise ValueError("no object nvbandwidth in the JSON")
    return root


def classic(text: str, gpus: Sequence[int]) -> Figures:
    """Return the figures in the text of p2pBandwidthLatencyTest; ``nan`` counts as not measured."""
    found: Figures = {}
    lines = text.splitlines()
    for heading, figure in _CLASSIC_HEADINGS.items():
        if heading not in lines:
            raise ValueError(f"no heading {heading}")
        at = lines.index(heading) + 1
        columns = lines[at].split()[1:] if at < len(lines) else []
        if len(columns) != len(gpus):
            raise ValueError(f"{heading}: {len(columns)} columns for {len(gpus)} GPUs")
        for number, source in enumerate(gpus):
            words = lines[at + 1 + number].split() if at + 1 + number < len(lines) else []
            if len(words) != len(gpus) + 1:
                raise ValueError(f"{heading}: row {number} has {len(words)} words")
            for target, word in zip(gpus, words[1:], strict=True):
                value = float(word)
                if source != target and not math.isnan(value):
                    found[(figure, (source, target))] = value
    return found


def nccl(text: str, figure: str) -> Figures:
    """Return the bus bandwidth of the largest size in the text of one of the nccl-tests.

    The better of out of place and in place. Data that arrived wrong is no measurement.

    Raises:
        ValueError: also where the test found wrong data.
    """
    best: tuple[int, float] | None = None
    for line in text.splitlines():
        words = line.split()
        if len(words) < 3 + 2 * _NCCL_COLUMNS or not words[0].isdigit() or not words[1].isdigit():
            continue
        halves = (words[-2 * _NCCL_COLUMNS : -_NCCL_COLUMNS], words[-_NCCL_COLUMNS:])
        for _time, _algorithm, _bus, wrong in halves:
            if wrong not in ("N/A",) and float(wrong) > 0:
                raise ValueError(f"{wrong} wrong elements at {words[0]} bytes")
        rate = max(float(half[2]) for half in halves)
        if best is None or int(words[0]) >= best[0]:
            best = (int(words[0]), rate)
    if best is None:
        raise ValueError("no line with a size and its bandwidths")
    return {(figure, ALL): best[1]}
