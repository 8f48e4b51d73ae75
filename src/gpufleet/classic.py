# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The text of NVIDIA's sample p2pBandwidthLatencyTest, with gpufleet's figures in it.

For scripts that parse it: headings, columns and number format are the sample's (cuda-samples,
``p2pBandwidthLatencyTest.cu``). What gpufleet does not measure is ``nan``, which is what C prints
for a figure that does not exist and what ``float()`` and ``strtod()`` read back: the diagonal
(copies inside one GPU), the time the CPU takes to enqueue a copy, and pairs that were not measured
because their data arrives wrong or the driver refuses access. The sample prints a staged figure in
the "Enabled" matrices there; a script then takes a fall-back for peer-to-peer.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence

from .results import Gpu, Pair, Result
from .view import one_line

_ADDRESS = re.compile(r"([0-9a-fA-F]+):([0-9a-fA-F]+):([0-9a-fA-F]+)\.[0-9a-fA-F]+")

_BANDWIDTHS: tuple[tuple[str, Callable[[Pair], float | None]], ...] = (
    ("Unidirectional P2P=Disabled Bandwidth Matrix (GB/s)", lambda pair: pair.bandwidth.off.uni),
    (
        "Unidirectional P2P=Enabled Bandwidth (P2P Writes) Matrix (GB/s)",
        lambda pair: pair.bandwidth.on.uni,
    ),
    ("Bidirectional P2P=Disabled Bandwidth Matrix (GB/s)", lambda pair: pair.bandwidth.off.bidi),
    ("Bidirectional P2P=Enabled Bandwidth Matrix (GB/s)", lambda pair: pair.bandwidth.on.bidi),
)
_LATENCIES: tuple[tuple[str, Callable[[Pair], float | None]], ...] = (
    ("P2P=Disabled Latency Matrix (us)", lambda pair: pair.latency.off),
    ("P2P=Enabled Latency (P2P Writes) Matrix (us)", lambda pair: pair.latency.on),
)


def classic_text(result: Result) -> str:
    """Return the result as p2pBandwidthLatencyTest would print it, ending in a line feed.

    Rows are the GPU that sends, columns the one that receives, both by index; bandwidth in GB/s
    (1e9 bytes per second), latency in microseconds, two decimals.
    """
    gpus = sorted(result.gpus, key=lambda gpu: gpu.index)
    indices = [gpu.index for gpu in gpus]
    lines = ["[P2P (Peer-to-Peer) GPU Bandwidth Latency Test]"]
    lines += [_device_line(gpu) for gpu in gpus]
    lines += _access_lines(result, indices)
    lines += ["", *_note(result), "", *_connectivity(result, indices)]
    for heading, figure in _BANDWIDTHS:
        lines += [heading, *_matrix("   D\\D", result, indices, figure)]
    for heading, figure in _LATENCIES:
        lines += [heading, *_matrix("   GPU", result, indices, figure), ""]
        lines += _matrix("   CPU", result, indices, lambda _pair: None)
    return "\n".join(lines) + "\n"


def _device_line(gpu: Gpu) -> str:
    address = _ADDRESS.fullmatch(gpu.bdf)
    domain, bus, device = (f"{int(part, 16):x}" for part in address.groups()) if address else "???"
    return (
        f"Device: {gpu.index}, {one_line(gpu.name)}, pciBusID: {bus}, pciDeviceID: {device}, "
        f"pciDomainID:{domain}"
    )


def _access_lines(result: Result, indices: Sequence[int]) -> list[str]:
    lines = []
    for source in indices:
        for target in indices:
            access = _access(result, source, target)
            if source != target and access is not None:
                word = "CAN" if access else "CANNOT"
                lines.append(f"Device={source} {word} Access Peer Device={target}")
    return lines


def _access(result: Result, source: int, target: int) -> bool | None:
    """Return what the driver claims; None where it was not asked."""
    pair = result.pair(source, target)
    return None if pair is None else pair.capability.cuda


def _note(result: Result) -> list[str]:
    judged = ", ".join(
        f"{pair.source}>{pair.target} {pair.verdict}"
        for pair in result.pairs
        if pair.verdict != "pass"
    )
    return [
        f"***NOTE: measured by gpufleet, verdict {result.verdict}; nan stands for what was not "
        "measured.",
        f"Pairs that did not pass: {judged or 'none'}.",
    ]


def _connectivity(result: Result, indices: Sequence[int]) -> list[str]:
    lines = ["P2P Connectivity Matrix", "     D\\D" + "".join(f"{index:6d}" for index in indices)]
    for source in indices:
        cells = []
        for target in indices:
            access = True if source == target else _access(result, source, target)
            cells.append(f"{'nan' if access is None else int(access):>6}")
        lines.append(f"{source:6d}\t" + "".join(cells))
    return lines


def _matrix(
    corner: str,
    result: Result,
    indices: Sequence[int],
    figure: Callable[[Pair], float | None],
) -> list[str]:
    lines = [corner + "".join(f"{index:6d} " for index in indices)]
    for source in indices:
        cells = []
        for target in indices:
            pair = None if source == target else result.pair(source, target)
            value = None if pair is None else figure(pair)
            cells.append(f"{math.nan if value is None else value:6.2f} ")
        lines.append(f"{source:6d} " + "".join(cells))
    return lines
