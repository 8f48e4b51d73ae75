# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The classic text: every figure in its cell, and nan where there is none."""

from __future__ import annotations

import math
import re
from dataclasses import replace

import pytest
from ansible_collections.gpufleet.p2p.plugins.module_utils._p2p.result import (
    Bandwidth,
    Capability,
    Latency,
    Pair,
    Rates,
    Result,
)
from hypothesis import given
from hypothesis import strategies as st
from support import sample_results
from support.sample_results import one_way_failure, pair

from gpufleet.classic import classic_text

HEADINGS = {
    "Unidirectional P2P=Disabled Bandwidth Matrix (GB/s)": lambda p: p.bandwidth.off.uni,
    "Unidirectional P2P=Enabled Bandwidth (P2P Writes) Matrix (GB/s)": lambda p: p.bandwidth.on.uni,
    "Bidirectional P2P=Disabled Bandwidth Matrix (GB/s)": lambda p: p.bandwidth.off.bidi,
    "Bidirectional P2P=Enabled Bandwidth Matrix (GB/s)": lambda p: p.bandwidth.on.bidi,
    "P2P=Disabled Latency Matrix (us)": lambda p: p.latency.off,
    "P2P=Enabled Latency (P2P Writes) Matrix (us)": lambda p: p.latency.on,
}

GOLDEN = """\
[P2P (Peer-to-Peer) GPU Bandwidth Latency Test]
Device: 0, NVIDIA GeForce RTX 5090, pciBusID: e, pciDeviceID: 0, pciDomainID:0
Device: 1, NVIDIA GeForce RTX 5090, pciBusID: 1e, pciDeviceID: 0, pciDomainID:0
Device=0 CAN Access Peer Device=1
Device=1 CAN Access Peer Device=0

***NOTE: measured by gpufleet, verdict fail; nan stands for what was not measured.
Pairs that did not pass: 1>0 fail.

P2P Connectivity Matrix
     D\\D     0     1
     0\t     1     1
     1\t     1     1
Unidirectional P2P=Disabled Bandwidth Matrix (GB/s)
   D\\D     0      1 
     0    nan  24.60 
     1  24.00    nan 
Unidirectional P2P=Enabled Bandwidth (P2P Writes) Matrix (GB/s)
   D\\D     0      1 
     0    nan  55.23 
     1    nan    nan 
Bidirectional P2P=Disabled Bandwidth Matrix (GB/s)
   D\\D     0      1 
     0    nan  30.35 
     1  30.00    nan 
Bidirectional P2P=Enabled Bandwidth Matrix (GB/s)
   D\\D     0      1 
     0    nan 108.10 
     1    nan    nan 
P2P=Disabled Latency Matrix (us)
   GPU     0      1 
     0    nan  14.10 
     1  14.50    nan 

   CPU     0      1 
     0    nan    nan 
     1    nan    nan 
P2P=Enabled Latency (P2P Writes) Matrix (us)
   GPU     0      1 
     0    nan   0.58 
     1    nan    nan 

   CPU     0      1 
     0    nan    nan 
     1    nan    nan 
"""  # noqa: W291  the sample ends each cell with a space


def test_golden() -> None:
    assert classic_text(one_way_failure()) == GOLDEN


def cells(text: str, heading: str) -> dict[tuple[int, int], str]:
    """Return the words of one matrix by row and column number, as a script would pick them."""
    lines = iter(text.splitlines())
    assert any(line == heading for line in lines), heading
    columns = [int(word) for word in next(lines).split()[1:]]
    found = {}
    for line in lines:
        words = line.split()
        if not words or not words[0].isdigit():
            break
        for column, word in zip(columns, words[1:], strict=True):
            found[(int(words[0]), column)] = word
    return found


FIGURE = st.none() | st.floats(0, 99999, allow_nan=False)
RATES = st.builds(Rates, FIGURE, FIGURE)


@st.composite
def results(draw: st.DrawFn) -> Result:
    count = draw(st.integers(2, 5))

    def make(source: int, target: int) -> Pair:
        return pair(
            source,
            target,
            capability=Capability(draw(st.none() | st.booleans()), None, None),
            bandwidth=Bandwidth(draw(RATES), draw(RATES)),
            latency=Latency(draw(FIGURE), draw(FIGURE)),
        )

    made = sample_results.result(count, make=make)
    kept = draw(st.lists(st.sampled_from(made.pairs), unique_by=lambda p: (p.source, p.target)))
    return replace(made, pairs=tuple(kept))


@given(results())
def test_every_figure_is_in_its_cell_and_nothing_else_is_a_figure(result: Result) -> None:
    text = classic_text(result)
    indices = [gpu.index for gpu in result.gpus]
    for heading, figure in HEADINGS.items():
        found = cells(text, heading)
        assert found.keys() == {(row, column) for row in indices for column in indices}
        for (source, target), word in found.items():
            measured = result.pair(source, target)
            value = None if measured is None else figure(measured)
            assert word == ("nan" if value is None else f"{value:.2f}")
            assert math.isnan(float(word)) == (value is None)


@given(results())
def test_claims_of_access_are_those_of_the_driver(result: Result) -> None:
    text = classic_text(result)
    claimed = {
        (int(source), int(target)): word == "CAN"
        for source, word, target in re.findall(
            r"^Device=(\d+) (CAN\w*) .*Device=(\d+)$", text, re.M
        )
    }
    told = {
        (pair.source, pair.target): pair.capability.cuda
        for pair in result.pairs
        if pair.capability.cuda is not None
    }
    assert claimed == told
    for (source, target), word in cells(text, "P2P Connectivity Matrix").items():
        known = 1 if source == target else told.get((source, target))
        assert word == ("nan" if known is None else str(int(known)))


def test_chosen_gpus_keep_their_numbers() -> None:
    full = sample_results.result(4)
    chosen = replace(
        full,
        gpus=(full.gpus[3], full.gpus[1]),
        pairs=tuple(p for p in full.pairs if {p.source, p.target} == {1, 3}),
    )
    found = cells(classic_text(chosen), "P2P=Enabled Latency (P2P Writes) Matrix (us)")
    assert list(found) == [(1, 1), (1, 3), (3, 1), (3, 3)]


@pytest.mark.parametrize("name", ["two\nlines", "escape \x1b[2J", "\u2028"])
def test_a_gpus_name_stays_on_its_line(name: str) -> None:
    result = sample_results.result(gpus=(sample_results.gpu(0, name=name), sample_results.gpu(1)))
    lines = classic_text(result).splitlines()
    assert lines[1].startswith("Device: 0, ")
    assert lines[2].startswith("Device: 1, ")
    assert "\x1b" not in lines[1]


def test_an_address_that_is_none_is_told_as_unknown() -> None:
    result = sample_results.result(gpus=(sample_results.gpu(0, bdf="?"), sample_results.gpu(1)))
    assert "pciBusID: ?, pciDeviceID: ?, pciDomainID:?" in classic_text(result)
