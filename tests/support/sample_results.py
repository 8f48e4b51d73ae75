# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Results made of plain figures, for tests of what is written about them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from ansible_collections.gpufleet.p2p.plugins.module_utils._p2p.result import (
    PASSED,
    Bandwidth,
    Capability,
    Cause,
    Correctness,
    Driver,
    Gpu,
    GpuLink,
    Latency,
    Pair,
    Rates,
    Result,
)

Ends = tuple[int, int]


def gpu(index: int, **changes: object) -> Gpu:
    """Return an RTX 5090 at a PCI address that follows from its index."""
    made = Gpu(
        index=index,
        uuid=f"GPU-{index:08d}-0000-4000-8000-000000000000",
        bdf=f"0000:{0x10 * index + 0xE:02x}:00.0",
        name="NVIDIA GeForce RTX 5090",
        compute_capability="12.0",
        generation="blackwell",
        memory_bytes=32 << 30,
        bar1_bytes=32 << 30,
        link=GpuLink(5, 16, True, 5, 16),
        numa_node=0,
        display=False,
        processes=(),
    )
    return replace(made, **changes)  # type: ignore[arg-type]  # fields differ by test


def pair(source: int, target: int, **changes: object) -> Pair:
    """Return a pair that passed, with figures of its own."""
    step = source + target / 10
    made = Pair(
        source=source,
        target=target,
        path="PHB",
        hops=(),
        capability=Capability(True, "OK", "OK"),
        correctness=Correctness(PASSED, PASSED, PASSED, PASSED, PASSED),
        bandwidth=Bandwidth(
            off=Rates(24.5 + step, 30.25 + step),
            on=Rates(55.125 + step, 108.0 + step),
            copy_read=Rates(50.0, 98.0),
            sm_write=Rates(51.0, 99.0),
            sm_read=Rates(52.0, 100.0),
            ceiling=57.6,
            fraction=(55.125 + step) / 57.6,
            payload_bytes=256,
        ),
        latency=Latency(14.0 + step, 0.48 + step, 1.1 + step, 2.5 + step),
        verdict="pass",
        reasons=(),
    )
    return replace(made, **changes)  # type: ignore[arg-type]  # fields differ by test


def result(
    count: int = 2,
    pairs: Mapping[Ends, Pair] | None = None,
    make: Callable[[int, int], Pair] = pair,
    **changes: object,
) -> Result:
    """Return a result of ``count`` GPUs and all ordered pairs, some of them replaced by ``pairs``.

    Args:
        make: what a pair that is not in ``pairs`` is made by.
        changes: other fields of the Result.
    """
    every = {
        (source, target): make(source, target)
        for source in range(count)
        for target in range(count)
        if source != target
    }
    made = Result(
        host="gpu07",
        driver=Driver("595.58.03", "8f3d1c5a7b9e02468ace13579bdf02468ace1357", True),
        kernel="6.1.0-45-amd64",
        cmdline="ro iommu=pt",
        iommu_groups={},
        gpus=tuple(gpu(index) for index in range(count)),
        pairs=tuple({**every, **(pairs or {})}.values()),
        groups=(tuple(range(count)),),
        causes=(),
        verdict="pass",
        buffer_bytes=256 << 20,
        wall_seconds=3.5,
    )
    return replace(made, **changes)  # type: ignore[arg-type]  # fields differ by test


def one_way_failure() -> Result:
    """Return two GPUs of which one direction lost its data, so that it was not measured."""
    lost = pair(
        1,
        0,
        correctness=Correctness("failed", PASSED, "not_run", "not_run", "not_run", 4096),
        bandwidth=Bandwidth(off=Rates(24.0, 30.0)),
        latency=Latency(14.5),
        verdict="fail",
        reasons=("one_way", "data_dropped"),
        detail="the destination was not written",
    )
    cause = Cause("iommu_translating", "GPU 0 is in group 12 of type DMA-FQ", "boot with iommu=pt")
    return result(pairs={(1, 0): lost}, groups=(), causes=(cause,), verdict="fail")
