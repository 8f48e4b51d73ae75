# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the slowest link of a path can carry at most, in GB/s (1e9 bytes per second).

raw = GT/s x lanes x encoding / 8; a packet of MPS payload bytes costs 24 more on the wire
(framing 4, header 16, LCRC 4), so the ceiling is raw x MPS / (MPS + 24).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from .result import Hop

ASSUMED_PAYLOAD_BYTES = 256
_PACKET_OVERHEAD_BYTES = 24
# Generation: transfer rate in GT/s per lane, and the share of bits that are data (8b/10b,
# 128b/130b, and 236 of 256 bytes of a flit). PCI Express Base Specification, physical layer.
_LANES = {
    1: (2.5, 0.8),
    2: (5.0, 0.8),
    3: (8.0, 128 / 130),
    4: (16.0, 128 / 130),
    5: (32.0, 128 / 130),
    6: (64.0, 236 / 256),
}


@dataclass(frozen=True)
class Ceiling:
    """The most one direction can carry, and the payload size it was computed with.

    ``payload_bytes`` is None over NVLink.
    """

    gigabytes_per_second: float
    payload_bytes: int | None
    payload_assumed: bool


def raw_rate(gen: int, width: int) -> float:
    """Return a link's data rate in one direction in GB/s, before packet overhead.

    Raises:
        KeyError: a generation that is not known.
    """
    transfers, encoding = _LANES[gen]
    return transfers * width * encoding / 8


def pcie_ceiling(
    hops: Iterable[Hop], payload_bytes: int | None, payload_known: bool
) -> Ceiling | None:
    """Return the ceiling of a path; None where no link of it could be read.

    Args:
        payload_bytes: the least maximum payload on the path; None to assume 256.
        payload_known: whether every device of the path told its own.
    """
    rates = [
        raw_rate(hop.gen, hop.width)
        for hop in hops
        if hop.gen in _LANES and hop.gen is not None and hop.width is not None
    ]
    if not rates:
        return None
    payload = payload_bytes or ASSUMED_PAYLOAD_BYTES
    ceiling = min(rates) * payload / (payload + _PACKET_OVERHEAD_BYTES)
    return Ceiling(ceiling, payload, payload_assumed=not payload_known)


def nvlink_ceiling(bytes_per_second: int) -> Ceiling:
    """Return the ceiling of active NVLinks with this summed speed."""
    return Ceiling(bytes_per_second / 1e9, None, payload_assumed=False)
