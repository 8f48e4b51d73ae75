# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Data between two processes: what only that check finds, and what it cannot judge."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from ansible_collections.gpufleet.p2p.plugins.module_utils._p2p.result import CHECKS, Result

Verify = Callable[..., Result]
ONE_PROCESS = set(CHECKS) - {"ipc"}


def passed(result: Result, pair: int) -> set[str]:
    states = result.pairs[pair].correctness.states()
    return {name for name in CHECKS if states[name] == "passed"}


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("ipc_mirror", "the writing GPU reads its own data back right"),
        ("ipc_drop", "the destination was not written"),
        ("ipc_stale", "ipc copy"),
        ("ipc_bit_flip", "want 0x"),
        ("ipc_alias_2mib", "bytes from their place"),
        ("ipc_error_205", "cuIpcOpenMemHandle_v2 returned 205 (CUDA_ERROR_MAP_FAILED)"),
        ("ipc_error_217", "cuIpcOpenMemHandle_v2 returned 217"),
    ],
)
def test_a_fault_between_processes_has_its_code(verify: Verify, fault: str, words: str) -> None:
    result = verify(fault=fault)
    assert (result.verdict, result.groups) == ("fail", ())
    assert [cause.code for cause in result.causes] == ["ipc_failed"]
    for number, pair in enumerate(result.pairs):
        assert (pair.verdict, pair.reasons) == ("fail", ("ipc_failed",))
        assert words in pair.detail
        assert (pair.correctness.ipc, passed(result, number)) == ("failed", ONE_PROCESS)
        # Only what passed every check is measured.
        assert pair.bandwidth.on.uni is None


def test_what_the_writer_reads_back_counts_too(verify: Verify) -> None:
    # Reads from GPU 1 lose their data: GPU 0 cannot see what it wrote there.
    pair = verify(fault="ipc_drop:1>0").pair(0, 1)
    assert pair is not None
    assert pair.reasons == ("ipc_failed",)
    assert "the owner sees the right words, the process that wrote them" in pair.detail


@pytest.mark.parametrize("fault", ["error_801", "ipc_error_801", "ipc_error_304", "ipc_error_800"])
def test_a_refusal_of_the_system_is_a_warning(verify: Verify, fault: str) -> None:
    result = verify(fault=fault)
    assert (result.verdict, result.groups) == ("warn", ((0, 1),))
    for number, pair in enumerate(result.pairs):
        assert (pair.verdict, pair.reasons) == ("warn", ("ipc_unsupported",))
        assert (pair.correctness.ipc, passed(result, number)) == ("not_run", ONE_PROCESS)
        assert pair.bandwidth.on.uni is not None
        assert fault.rsplit("_", 1)[1] in pair.detail


def test_a_hang_between_processes_costs_that_direction(verify: Verify) -> None:
    result = verify(fault="ipc_hang:0>1", child_timeout=60)
    first, second = result.pairs
    assert (first.verdict, first.reasons) == ("fail", ("ipc_failed",))
    assert "ipc copy on 0000:01:00.0 not finished after 10 s" in first.detail
    # What GPU 1 writes arrives, but it never comes to read it back.
    assert (second.verdict, second.reasons) == ("fail", ("ipc_failed",))
    assert "on 0000:02:00.0 not finished" in second.detail


def test_copy_engines_are_judged_where_kernels_cannot_run(verify: Verify) -> None:
    for pair in verify(fault="no_jit").pairs:
        assert (pair.reasons, pair.correctness.ipc) == (("no_jit",), "passed")


def test_gpus_for_one_process_at_a_time_are_tried_once_they_are_free(verify: Verify) -> None:
    def exclusive(description: dict[str, object]) -> None:
        for gpu in description["gpus"]:  # type: ignore[attr-defined]  # plain JSON
            gpu["compute_mode"] = "exclusive_process"

    result = verify(change=exclusive)
    assert (result.verdict, result.groups) == ("pass", ((0, 1),))
    for pair in result.pairs:
        assert set(pair.correctness.states().values()) == {"passed"}
        assert pair.bandwidth.on.bidi is not None
