# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host with two good GPUs as causes see it; tests change what they are about."""

from __future__ import annotations

from dataclasses import replace

from ansible_collections.gpufleet.p2p.plugins.module_utils._p2p.host_evidence import Evidence
from ansible_collections.gpufleet.p2p.plugins.module_utils._p2p.result import (
    FAILED,
    Bandwidth,
    Capability,
    Correctness,
    Driver,
    Gpu,
    Latency,
    Pair,
    Rates,
)

from . import sample_results

EXPECTED = "8f3d" * 10
WRONG = Correctness.of({"copy_write": FAILED}, 0)


def gpu(index: int, **changes: object) -> Gpu:
    """Return a 5090 at 0000:0(index + 1):00.0, with changes by field name."""
    named = {"uuid": f"GPU-{index}", "bdf": f"0000:0{index + 1}:00.0"}
    return sample_results.gpu(index, **{**named, **changes})


def pair(source: int, target: int, verdict: str, *reasons: str, **changes: object) -> Pair:
    """Return a pair that was measured, with changes by field name."""
    made = Pair(
        source=source,
        target=target,
        path="PHB",
        hops=(),
        capability=Capability(True, "OK", "OK"),
        correctness=WRONG if any(code.startswith("data_") for code in reasons) else Correctness(),
        bandwidth=Bandwidth(on=Rates(10.0, 20.0), off=Rates(12.0, 18.0), ceiling=28.8),
        latency=Latency(14.0, 0.5),
        verdict=verdict,
        reasons=reasons,
    )
    return replace(made, **changes)  # type: ignore[arg-type]  # keyword names are the fields'


def evidence(*pairs: Pair, **changes: object) -> Evidence:
    """Return the evidence of two GPUs under the expected driver, with changes by field name."""
    made = Evidence(
        driver=Driver("595.58.03", EXPECTED, True),
        expected_build_id=EXPECTED,
        gpus=(gpu(0), gpu(1)),
        groups={},
        pairs=pairs,
        shared_bridges={},
    )
    return replace(made, **changes)  # type: ignore[arg-type]  # keyword names are the fields'
