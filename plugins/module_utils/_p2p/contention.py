# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a set of GPUs can move when each writes to every other at the same time.

Every ordered pair moves the same amount, so a link that k pairs cross in one direction needs
k / capacity of the time that one pair's amount would take at 1 GB/s. The link that needs the
longest sets the pace:

    total = pairs / max over links and directions (k / capacity)
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from .ceiling import ASSUMED_PAYLOAD_BYTES, pcie_ceiling
from .result import Hop


@dataclass(frozen=True)
class Contention:
    """The most that all pairs together can move, and the link that sets it.

    Attributes:
        gigabytes_per_second: of all pairs together.
        link: its name; with its direction, as Crossings name it.
        pairs: how many ordered pairs cross it in that direction.
    """

    gigabytes_per_second: float
    link: str
    pairs: int


# For one ordered pair: the links it crosses, each direction a name of its own, and what the
# link can carry that way in GB/s.
Crossings = Mapping[str, float]


def contention_of(pairs: Iterable[Crossings]) -> Contention | None:
    """Return what ordered pairs can move at once; None where one crosses no known link.

    A link that pairs know with different capacities (their payload sizes differ) has the least.
    """
    crossings = list(pairs)
    if not crossings or not all(crossings):
        return None
    crossed = Counter(link for links in crossings for link in links)
    capacity: dict[str, float] = {}
    for links in crossings:
        for link, most in links.items():
            capacity[link] = min(most, capacity.get(link, most))
    if min(capacity.values()) <= 0:
        return None
    slowest = max(sorted(crossed), key=lambda link: crossed[link] / capacity[link])
    pace = capacity[slowest] / crossed[slowest]
    return Contention(len(crossings) * pace, slowest, crossed[slowest])


def pcie_crossings(
    hops: Iterable[Hop],
    payload_bytes: int | None,
    above_source: Iterable[str],
    above_target: Iterable[str],
) -> dict[str, float]:
    """Return what an ordered pair crosses on PCIe.

    Args:
        hops: the links of its path.
        payload_bytes: the least maximum payload on it; None to assume 256.
        above_source, above_target: the PCI addresses of each GPU and of the bridges above it.
            A link above both is crossed up and down: a switch sends the data to the host first.
    """
    up, down = set(above_source), set(above_target)
    found: dict[str, float] = {}
    for hop in hops:
        ceiling = pcie_ceiling([hop], payload_bytes or ASSUMED_PAYLOAD_BYTES, True)
        if ceiling is None:
            continue
        if hop.bdf in up:
            found[f"{hop.bdf} up"] = ceiling.gigabytes_per_second
        if hop.bdf in down:
            found[f"{hop.bdf} down"] = ceiling.gigabytes_per_second
    return found


def nvlink_crossings(
    source: str, target: str, bytes_per_second: int | None, *, switched: bool
) -> dict[str, float]:
    """Return what an ordered pair crosses on NVLink; empty where the speed is not told.

    Args:
        source, target: the GPUs' PCI addresses.
        bytes_per_second: of the links between the two, one way.
        switched: whether they end at switches: then a GPU's links serve all its peers.
    """
    if not bytes_per_second:
        return {}
    most = bytes_per_second / 1e9
    if switched:
        return {f"nvlink from {source}": most, f"nvlink to {target}": most}
    return {f"nvlink {source} to {target}": most}
