# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Groups are measured with all their GPUs at once, and held against the links they share."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from ansible_collections.gpufleet.p2p.plugins.module_utils._p2p.result import Result

Verify = Callable[..., Result]
# Behind one switch, each on four lanes of generation 4.
THREE = ["4", "5", "6"]
GEN4_X4 = 16e9 * 4 * 128 / 130 / 8 * 256 / 280 / 1e9


def codes(result: Result) -> list[str]:
    return [note.code for note in result.notes]


def test_a_group_is_measured_at_once(verify: Verify) -> None:
    result = verify("seven_gpu_rig", devices=THREE, quick=False)
    (together,) = result.all_to_all
    assert (together.gpus, together.data, together.detail) == ((4, 5, 6), "passed", "")
    assert together.ceiling == pytest.approx(3 * GEN4_X4, rel=1e-6)
    assert together.fraction == pytest.approx(0.97, abs=0.02)
    assert sum(together.per_gpu.values()) == pytest.approx(together.total, rel=0.02)
    assert (together.sharing, set(together.per_gpu)) == (2, {4, 5, 6})
    assert not [code for code in codes(result) if code.startswith("all_to_all")]


def test_two_gpus_are_told_from_their_pair(verify: Verify) -> None:
    result = verify()
    (together,) = result.all_to_all
    pair = result.pair(0, 1)
    assert pair is not None
    assert (together.gpus, together.total) == ((0, 1), pair.bandwidth.on.bidi)
    assert together.data == "not_run"
    assert together.fraction == pytest.approx(0.97, abs=0.02)


def test_a_quick_run_leaves_larger_groups_out(verify: Verify) -> None:
    assert verify("seven_gpu_rig", devices=THREE).all_to_all == ()


def test_without_a_group_there_is_nothing_to_tell(verify: Verify) -> None:
    assert verify(fault="drop", quick=False).all_to_all == ()


def test_without_kernels_the_data_is_not_judged(verify: Verify) -> None:
    result = verify("seven_gpu_rig", "no_jit", devices=THREE, quick=False)
    (together,) = result.all_to_all
    assert together.data == "not_run"
    assert together.total == pytest.approx(3 * GEN4_X4 * 0.97, rel=0.05)
