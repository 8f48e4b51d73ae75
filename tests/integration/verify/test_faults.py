# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What p2p_verify makes of faults beyond their code; test_other_tools.py has every fault's."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from ansible_collections.gpufleet.p2p.plugins.module_utils._p2p.result import (
    CHECKS,
    DIRECT_WAYS,
    Rates,
    Result,
)
from support.simulated_gpus import processes_with

Verify = Callable[..., Result]


def reasons_of(result: Result) -> dict[tuple[int, int], tuple[str, ...]]:
    return {(pair.source, pair.target): pair.reasons for pair in result.pairs}


def test_without_a_fault_everything_passes(verify: Verify) -> None:
    result = verify()
    assert (result.verdict, result.groups, result.causes) == ("pass", ((0, 1),), ())
    assert result.driver.patched is True
    for pair in result.pairs:
        assert (pair.verdict, pair.reasons) == ("pass", ())
        assert set(pair.correctness.states().values()) == {"passed"}
        assert pair.bandwidth.on.uni is not None and pair.bandwidth.off.uni is not None
        assert pair.bandwidth.on.uni > pair.bandwidth.off.uni
        assert pair.bandwidth.fraction == pytest.approx(0.97, abs=0.02)
        assert pair.bandwidth.on.bidi == pytest.approx(2 * pair.bandwidth.on.uni, rel=0.05)
        # Other ways are not measured where it has to be quick, as here.
        ways = (pair.bandwidth.copy_read, pair.bandwidth.sm_write, pair.bandwidth.sm_read)
        assert set(ways) == {Rates()}
        assert pair.latency.on == pytest.approx(0.48, rel=0.1)
        assert pair.latency.off == pytest.approx(14.0, rel=0.1)
        assert pair.latency.pointer_chase and pair.latency.ping_pong
    assert all(gpu.link.under_load for gpu in result.gpus)


# What the simulated links reach of the ceiling by each way; a fault multiplies all of them.
REACHED = {"on": 0.97, "copy_read": 0.97, "sm_write": 0.97 * 0.95, "sm_read": 0.97 * 0.95}


@pytest.mark.parametrize(
    ("fault", "factor", "reasons"),
    [
        ("none", 1.0, ()),
        ("slow", 0.2, ("slow", "slower_than_off")),
        ("too_fast", 4.5, ("too_fast",)),
    ],
)
def test_every_way_is_measured_and_as_fast_as_the_link(
    verify: Verify, fault: str, factor: float, reasons: tuple[str, ...]
) -> None:
    for pair in verify(fault=fault, quick=False, child_timeout=120).pairs:
        assert pair.reasons == reasons
        assert pair.bandwidth.ceiling is not None
        for way in DIRECT_WAYS:
            rates = getattr(pair.bandwidth, way)
            wanted = factor * REACHED[way] * pair.bandwidth.ceiling
            # Below by the latency of each copy, which counts more the faster they are.
            assert rates.uni == pytest.approx(wanted, rel=0.08)
            assert rates.bidi == pytest.approx(2 * wanted, rel=0.08)
            # The virtual clock has no noise.
            assert max(rates.uni_spread, rates.bidi_spread) < 0.01
        assert pair.bandwidth.off.uni and pair.bandwidth.off.bidi


def test_without_a_compiler_reads_by_copy_engines_are_still_measured(verify: Verify) -> None:
    for pair in verify(fault="no_jit", quick=False, child_timeout=120).pairs:
        assert pair.bandwidth.copy_read.uni and pair.bandwidth.copy_read.bidi
        assert pair.bandwidth.sm_write == pair.bandwidth.sm_read == Rates()


def test_an_alias_is_told_with_its_stride(verify: Verify) -> None:
    for pair in verify(fault="alias_2mib").pairs:
        assert pair.detail.endswith("addresses repeat every 2097152 bytes")


def test_a_mirror_passes_the_writers_own_round_trip_and_fails_here(verify: Verify) -> None:
    pair = verify(fault="mirror").pairs[0]
    assert pair.correctness.copy_write == "failed"
    assert pair.correctness.first_bad_offset == 0
    assert "reads its own data back right" in pair.detail


def test_one_pair_of_a_directed_fault_fails_alone(verify: Verify) -> None:
    result = verify("alpha", "bit_flip:1>0")
    reasons = reasons_of(result)
    assert reasons[(1, 0)] == ("one_way", "data_bit_flip")
    assert result.groups == ()


def test_one_way_is_named_for_both_directions(verify: Verify) -> None:
    reasons = reasons_of(verify(fault="one_way"))
    assert reasons[(1, 0)] == ("one_way", "data_dropped")
    assert reasons[(0, 1)][0] == "one_way"


@pytest.mark.parametrize("fault", ["no_jit", "ptx_too_new"])
def test_without_a_compiler_copy_engines_are_judged_alone(verify: Verify, fault: str) -> None:
    result = verify(fault=fault)
    assert result.verdict == "warn"
    assert result.groups == ((0, 1),)
    for pair in result.pairs:
        assert (pair.verdict, pair.reasons) == ("warn", (fault,))
        states = pair.correctness.states()
        assert {name for name in CHECKS if states[name] == "passed"} == {
            "copy_write",
            "copy_read",
            "ipc",
        }
        assert {states[name] for name in ("sm_write", "sm_read", "ping_pong")} == {"not_run"}


def test_a_hang_costs_its_limit_and_leaves_no_process(verify: Verify, tmp_path: Path) -> None:
    begin = time.monotonic()
    result = verify(fault="hang", child_timeout=4)
    assert time.monotonic() - begin < 15
    assert result.verdict == "fail"
    assert all(pair.reasons == ("measurement_hung",) for pair in result.pairs)
    assert "copy_write" in result.pairs[0].detail
    assert processes_with(str(tmp_path)) == {}


def test_a_hang_takes_nothing_away_that_was_measured(verify: Verify) -> None:
    # What GPU 0 writes to GPU 1 hangs: the way back is right until the ping-pong needs both.
    first, second = verify(fault="hang:0>1", child_timeout=10).pairs
    assert first.detail.startswith("copy_write on 0000:01:00.0 not finished")
    # On a busy machine the kernel that gives up may be found waiting first.
    assert second.detail.startswith("ping_pong on 0000:0")
    states = second.correctness.states()
    assert {name for name in CHECKS if states[name] == "passed"} == set(CHECKS) - {
        "ping_pong",
        "ipc",
    }
