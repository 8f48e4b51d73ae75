# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an operator reads when a host is refused or fails."""

from __future__ import annotations

from ansible_collections.gpufleet.p2p.plugins.filter.p2p_text import (
    failure,
    refusals,
    verdict_text,
)


def gate(name: str, passed: bool) -> dict[str, object]:
    return {
        "name": name,
        "passed": passed,
        "read": "256 MiB",
        "want": "33280 MiB",
        "remedy": "enable it",
    }


def test_only_gates_that_did_not_pass_are_named() -> None:
    text = refusals([gate("gpu_count", True), gate("rebar_too_small", False)])
    assert text == ("gate: rebar_too_small, read: 256 MiB, want: 33280 MiB, remedy: enable it")


def test_nothing_is_said_when_all_passed() -> None:
    assert refusals([gate("gpu_count", True)]) == ""


def test_a_verdict_names_failed_pairs_and_causes() -> None:
    text = verdict_text(
        {
            "verdict": "fail",
            "pairs": [
                {"from": 0, "to": 1, "verdict": "fail", "reasons": ["data_dropped"]},
                {"from": 1, "to": 0, "verdict": "pass", "reasons": []},
            ],
            "causes": [
                {"code": "iommu_translating", "evidence": "0000:01:00.0: DMA-FQ", "remedy": "pt"}
            ],
        }
    )
    assert text.splitlines() == [
        "verdict: fail",
        "GPU 0 to GPU 1: data_dropped",
        "cause: iommu_translating, evidence: 0000:01:00.0: DMA-FQ, remedy: pt",
    ]


def test_a_refusal_keeps_its_parts() -> None:
    error = {"code": "host_locked", "read": "a", "want": "b", "remedy": "c"}
    assert failure({"msg": "text", "error": error}) == {"message": "text", **error}


def test_another_failure_is_told_by_its_message() -> None:
    told = failure({"msg": "No space left"})
    assert told["code"] == "task_failed"
    assert told["read"] == told["message"] == "No space left"


def test_of_a_loop_the_item_that_failed_is_told() -> None:
    error = {"code": "package_missing", "read": "a", "want": "b", "remedy": "c"}
    items = [{"msg": "fine"}, {"failed": True, "msg": "text", "error": error}]
    told = failure({"msg": "One or more items failed", "results": items})
    assert told == {"message": "text", **error}
