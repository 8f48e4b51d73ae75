# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Verdicts of single pairs, of pairs beside their opposites, and of hosts."""

from __future__ import annotations

from dataclasses import replace

import pytest
from ansible_collections.gpufleet.p2p.plugins.module_utils._p2p.ceiling import Ceiling
from ansible_collections.gpufleet.p2p.plugins.module_utils._p2p.protocol import Measurement
from ansible_collections.gpufleet.p2p.plugins.module_utils._p2p.result import (
    CHECKS,
    FAILED,
    PASSED,
    Capability,
    Correctness,
    Hop,
    Pair,
)
from ansible_collections.gpufleet.p2p.plugins.module_utils._p2p.verdict import (
    Judged,
    Thresholds,
    bandwidth_of,
    fastest,
    host_verdict,
    judge,
    latency_of,
    sm_slow_ways,
    with_opposites,
)
from hypothesis import given
from hypothesis import strategies as st

CEILING = Ceiling(28.8, 256, payload_assumed=False)
RIGHT = Correctness.of(dict.fromkeys(CHECKS, PASSED))
WRONG = Correctness.of({"copy_write": FAILED}, 0)


def measured(rate: float = 27.4, **changes: object) -> Measurement:
    measurement = Measurement(
        cuda_capability=True,
        correctness=RIGHT,
        rates={"on_uni": rate, "on_bidi": 2 * rate, "off_uni": 11.0, "off_bidi": 17.0},
        times={"on": 0.5, "off": 14.0, "pointer_chase": 1.0, "ping_pong": 3.0},
    )
    for name, value in changes.items():
        setattr(measurement, name, value)
    return measurement


def judged(
    measurement: Measurement,
    *,
    level: str = "PHB",
    obstacles: tuple[str, ...] = (),
    ceiling: Ceiling | None = CEILING,
    hops: tuple[Hop, ...] = (),
) -> Judged:
    return judge(
        measurement,
        obstacles=obstacles,
        bandwidth=bandwidth_of(measurement, ceiling),
        latency=latency_of(measurement),
        level=level,
        hops=hops,
        thresholds=Thresholds(),
    )


@pytest.mark.parametrize(
    ("fraction", "verdict", "reasons"),
    [
        (0.97, "pass", ()),
        (0.851, "pass", ()),
        (0.84, "warn", ("slow",)),
        (0.61, "warn", ("slow",)),
        (0.59, "fail", ("slow",)),
        (1.02, "pass", ()),
        (1.04, "fail", ("too_fast",)),
    ],
)
def test_thresholds(fraction: float, verdict: str, reasons: tuple[str, ...]) -> None:
    result = judged(measured(28.8 * fraction))
    assert (result.verdict, result.reasons) == (verdict, reasons)


@pytest.mark.parametrize(
    "lowered", [Hop("0000:01:00.0", 4, 4, 4, 16), Hop("0000:01:00.0", 1, 16, 4, 16)]
)
def test_a_link_that_trained_low_is_told_though_it_carries_what_it_can(lowered: Hop) -> None:
    full = Hop("0000:02:00.0", 4, 16, 4, 16)
    result = judged(measured(), hops=(lowered, full))
    assert (result.verdict, result.reasons) == ("warn", ("link_downtrained",))
    assert judged(measured(), hops=(full, full)).verdict == "pass"
    assert judged(measured(), hops=(lowered, full), level="NV4").verdict == "pass"


def test_a_link_that_was_not_read_under_load_is_not_judged() -> None:
    idle = Hop("0000:01:00.0", 1, 16, 4, 16)
    result = judged(measured(rates={}), ceiling=None, hops=(idle,))
    assert "link_downtrained" not in result.reasons


def test_far_paths_are_judged_by_less() -> None:
    measurement = measured(28.8 * 0.68)
    assert judged(measurement, level="SYS").verdict == "pass"
    assert judged(measurement, level="NODE").verdict == "pass"
    assert judged(measurement, level="PHB").verdict == "warn"


def test_nvlink_is_judged_by_what_its_packets_leave() -> None:
    two_h200 = Ceiling(18 * 26.562, None, payload_assumed=False)
    assert judged(measured(396.5), level="NV18", ceiling=two_h200).verdict == "pass"


def test_wrong_data_fails_whatever_its_speed() -> None:
    result = judged(measured(correctness=WRONG, data_code="data_mirrored"))
    assert (result.verdict, result.reasons) == ("fail", ("data_mirrored",))


def test_no_capability_fails() -> None:
    result = judged(Measurement(cuda_capability=False))
    assert (result.verdict, result.reasons) == ("fail", ("p2p_unsupported",))


def test_mixed_generations_that_lose_data_do_not_apply() -> None:
    measurement = measured(correctness=WRONG, data_code="data_dropped")
    result = judged(measurement, obstacles=("mixed_generations",))
    assert result.verdict == "not_applicable"
    assert result.reasons == ("mixed_generations", "data_dropped")


def test_data_decides_where_mixed_generations_work() -> None:
    assert judged(measured(), obstacles=("mixed_generations",)).verdict == "pass"


@pytest.mark.parametrize("code", ["no_jit", "ptx_too_new"])
def test_copy_engines_alone_are_a_warning(code: str) -> None:
    correctness = Correctness.of({"copy_write": PASSED, "copy_read": PASSED})
    result = judged(measured(correctness=correctness, no_kernels=code))
    assert (result.verdict, result.reasons) == ("warn", (code,))


def test_processes_that_may_not_share_memory_are_a_warning() -> None:
    result = judged(measured(ipc_code="ipc_unsupported"))
    assert (result.verdict, result.reasons) == ("warn", ("ipc_unsupported",))


def test_wrong_data_between_processes_fails() -> None:
    correctness = Correctness.of({**dict.fromkeys(CHECKS, PASSED), "ipc": FAILED}, 0)
    result = judged(measured(correctness=correctness, ipc_code="ipc_failed"))
    assert (result.verdict, result.reasons) == ("fail", ("ipc_failed",))


def test_a_hang_after_right_data_fails() -> None:
    result = judged(measured(trouble="measurement_hung"))
    assert (result.verdict, result.reasons) == ("fail", ("measurement_hung",))


def test_slower_than_staged_is_reported() -> None:
    slower = measured()
    slower.rates["off_uni"] = 28.0
    assert judged(slower).reasons == ("slower_than_off",)
    assert judged(slower).verdict == "warn"
    late = measured()
    late.times["on"] = 15.0
    assert judged(late).verdict == "fail"


@pytest.mark.parametrize("name", ["copy_read_uni", "sm_write_uni", "sm_read_uni"])
def test_no_way_of_moving_data_may_be_faster_than_the_link(name: str) -> None:
    fast = measured()
    fast.rates[name] = 28.8 * 1.02
    assert judged(fast).verdict == "pass"
    fast.rates[name] = 28.8 * 1.04
    assert (judged(fast).verdict, judged(fast).reasons) == ("fail", ("too_fast",))
    assert fastest(bandwidth_of(fast, CEILING)) == (name.removesuffix("_uni"), 28.8 * 1.04)


@pytest.mark.parametrize("way", ["on", "copy_read", "sm_write", "sm_read"])
def test_both_directions_may_reach_twice_the_ceiling_and_no_more(way: str) -> None:
    fast = measured()
    fast.rates[f"{way}_bidi"] = 2 * 28.8 * 1.02
    assert judged(fast).verdict == "pass"
    fast.rates[f"{way}_bidi"] = 2 * 28.8 * 1.04
    assert judged(fast).reasons == ("too_fast",)


def test_what_is_staged_does_not_cross_the_pairs_link_alone() -> None:
    quick_host = measured()
    quick_host.rates["off_bidi"] = 3 * 28.8
    assert judged(quick_host).verdict == "pass"


@pytest.mark.parametrize(
    ("rates", "ways"),
    [
        ({"sm_write_uni": 25.0, "sm_read_uni": 17.0, "copy_read_uni": 26.0}, ()),
        ({"sm_write_uni": 13.6, "sm_read_uni": 25.0, "copy_read_uni": 26.0}, ("sm_write",)),
        ({"sm_write_uni": 25.0, "sm_read_uni": 12.9, "copy_read_uni": 26.0}, ("sm_read",)),
        # Reads that are slow by copy engine too are no matter of kernels.
        ({"sm_write_uni": 25.0, "sm_read_uni": 12.9, "copy_read_uni": 14.0}, ()),
        ({"sm_read_uni": 1.0}, ()),
    ],
)
def test_kernels_are_judged_beside_the_copy_engine(
    rates: dict[str, float], ways: tuple[str, ...]
) -> None:
    measurement = measured()
    measurement.rates.update(rates)
    assert sm_slow_ways(bandwidth_of(measurement, CEILING)) == ways
    expected = ("warn", ("sm_slow",)) if ways else ("pass", ())
    assert (judged(measurement).verdict, judged(measurement).reasons) == expected


def test_without_a_yardstick_there_is_a_warning() -> None:
    result = judged(measured(), ceiling=None)
    assert (result.verdict, result.reasons) == ("warn", ("ceiling_unknown",))


def pair(source: int, target: int, rate: float = 27.0, **changes: object) -> Pair:
    measurement = measured(rate)
    made = Pair(
        source=source,
        target=target,
        path="PHB",
        hops=(),
        capability=Capability(True, "OK", "OK"),
        correctness=RIGHT,
        bandwidth=bandwidth_of(measurement, CEILING),
        latency=latency_of(measurement),
        verdict="pass",
        reasons=(),
    )
    return replace(made, **changes)  # type: ignore[arg-type]  # keyword names are the fields'


def test_one_direction_wrong_is_one_way() -> None:
    bad = pair(1, 0, verdict="fail", correctness=WRONG, reasons=("data_dropped",))
    good, worse = with_opposites([pair(0, 1), bad])
    assert good.reasons == ()
    assert worse.reasons == ("one_way", "data_dropped")


def test_both_directions_wrong_is_not_one_way() -> None:
    bad = {"verdict": "fail", "correctness": WRONG, "reasons": ("data_dropped",)}
    assert all(
        "one_way" not in p.reasons for p in with_opposites([pair(0, 1, **bad), pair(1, 0, **bad)])
    )


def test_asymmetry_warns_on_both() -> None:
    pairs = with_opposites([pair(0, 1, 27.0), pair(1, 0, 22.0)])
    assert [(p.verdict, p.reasons) for p in pairs] == [("warn", ("asymmetric",))] * 2


def test_hosts() -> None:
    apart = pair(0, 2, verdict="not_applicable")
    assert host_verdict([pair(0, 1), apart]) == "pass"
    assert host_verdict([pair(0, 1, verdict="warn"), pair(1, 0)]) == "warn"
    assert host_verdict([pair(0, 1, verdict="fail"), pair(1, 0)]) == "fail"
    assert host_verdict([apart]) == "fail"
    assert host_verdict([]) == "fail"


@given(st.floats(0.01, 2.0), st.floats(0.01, 2.0))
def test_more_speed_is_never_judged_worse_up_to_the_ceiling(first: float, second: float) -> None:
    order = ["fail", "warn", "pass"]
    low, high = sorted((first, second))
    if high <= 1.0:
        verdicts = [judged(measured(28.8 * fraction)).verdict for fraction in (low, high)]
        assert order.index(verdicts[0]) <= order.index(verdicts[1])
