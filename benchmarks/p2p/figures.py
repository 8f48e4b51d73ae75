# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is compared: the name of each figure, its unit, and where p2p_verify's result has it.

A figure is of one ordered pair of GPUs (data moves from the first to the second, numbered by PCI
address), or of all GPUs together, for which the pair is ``ALL``. Bandwidth is in GB/s (1e9 bytes
per second), latency in microseconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Pair = tuple[int, int]
Figures = dict[tuple[str, Pair], float]
"""(name of a figure, pair) -> value"""

ALL: Pair = (-1, -1)

GIGABYTES = "GB/s"
MICROSECONDS = "us"


@dataclass(frozen=True)
class Figure:
    """One figure.

    Attributes:
        name: as the table shows it.
        unit: GB/s or us.
        path: keys to it in a pair of p2p_verify's result; empty where p2p_verify has none.
        share: what that value is multiplied by.
    """

    name: str
    unit: str
    path: tuple[str, ...]
    share: float = 1.0


FIGURES = (
    Figure("copy write", GIGABYTES, ("bandwidth", "on", "uni")),
    Figure("copy read", GIGABYTES, ("bandwidth", "copy_read", "uni")),
    Figure("copy write, both ways", GIGABYTES, ("bandwidth", "on", "bidi")),
    Figure("copy read, both ways", GIGABYTES, ("bandwidth", "copy_read", "bidi")),
    Figure("kernel write", GIGABYTES, ("bandwidth", "sm_write", "uni")),
    Figure("kernel read", GIGABYTES, ("bandwidth", "sm_read", "uni")),
    Figure("kernel write, both ways", GIGABYTES, ("bandwidth", "sm_write", "bidi")),
    Figure("kernel read, both ways", GIGABYTES, ("bandwidth", "sm_read", "bidi")),
    Figure("staged copy", GIGABYTES, ("bandwidth", "off", "uni")),
    Figure("staged copy, both ways", GIGABYTES, ("bandwidth", "off", "bidi")),
    Figure("queued copy", MICROSECONDS, ("latency", "on")),
    Figure("queued copy, staged", MICROSECONDS, ("latency", "off")),
    Figure("pointer chase", MICROSECONDS, ("latency", "pointer_chase")),
    # Both GPUs send and receive at once by kernels, and NCCL counts one direction: half of a sum.
    Figure("NCCL send and receive", GIGABYTES, ("bandwidth", "sm_write", "bidi"), 0.5),
    Figure("NCCL all-reduce", GIGABYTES, ("bandwidth", "sm_write", "bidi"), 0.5),
)

NCCL_FIGURES = ("NCCL send and receive", "NCCL all-reduce")


def figures_of_result(result: Mapping[str, Any]) -> Figures:
    """Return the figures in a p2p_verify result (plain data, schema 1).

    What was not measured is left out. NCCL's figures are of all GPUs together; p2p_verify has
    something to put beside them only for two.
    """
    found: Figures = {}
    pairs = result["pairs"]
    for pair in pairs:
        ends = (int(pair["from"]), int(pair["to"]))
        for figure in FIGURES:
            value = _at(pair, figure.path)
            if value is None:
                continue
            if figure.name not in NCCL_FIGURES:
                found[(figure.name, ends)] = value * figure.share
            elif len(pairs) == 2:
                shared = found.get((figure.name, ALL), value * figure.share)
                found[(figure.name, ALL)] = min(shared, value * figure.share)
    return found


def _at(data: Any, path: tuple[str, ...]) -> float | None:
    for key in path:
        data = data.get(key) if isinstance(data, Mapping) else None
    return float(data) if isinstance(data, (int, float)) and not isinstance(data, bool) else None
