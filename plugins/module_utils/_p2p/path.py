# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The way between two GPUs: its level in nvidia-smi's words, and every PCIe link on it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from .._gpu.nvml import NvmlDevice
from .._host.acs import AcsState
from .._host.pci import PciDevice, ancestors
from .result import Hop

PIX = "PIX"  # through one switch
PXB = "PXB"  # through several switches, not the host bridge
PHB = "PHB"  # through a host bridge (usually the CPU)
NODE = "NODE"  # between host bridges of one NUMA node
SYS = "SYS"  # between NUMA nodes
FAR = (NODE, SYS)
_NVLINK = "NV"  # and the number of links


@dataclass(frozen=True)
class Path:
    """A pair's PCIe path.

    Attributes:
        level: PIX, PXB, PHB, NODE or SYS.
        hops: every link walked, from the first GPU up and down to the second; each is named by
            the device at its lower end.
        shared_bridge: the switch port both are behind, None where they meet in the host.
        payload_bytes: the least maximum payload of the devices on the path that tell it.
        payload_known: whether all of them told.
    """

    level: str
    hops: tuple[Hop, ...]
    shared_bridge: str | None
    payload_bytes: int | None
    payload_known: bool


def nvlink_level(links: int) -> str:
    """Return the level of a pair joined by this number of NVLinks."""
    return f"{_NVLINK}{links}"


def is_nvlink(level: str) -> bool:
    """Return whether a level stands for NVLink."""
    return level.startswith(_NVLINK)


def is_downtrained(hop: Hop) -> bool:
    """Return whether a link runs below what both its ends can."""
    return bool(
        (hop.gen and hop.max_gen and hop.gen < hop.max_gen)
        or (hop.width and hop.max_width and hop.width < hop.max_width)
    )


def path_between(
    devices: Mapping[str, PciDevice], acs: Mapping[str, AcsState], source: str, target: str
) -> Path:
    """Return the path between two GPUs given by PCI address, as the tree in ``devices`` has it.

    A switch whose downstream ports redirect requests by ACS sends them up to the host and back:
    the way up counts then, too.
    """
    up, down = ancestors(devices, source), ancestors(devices, target)
    above_target = [bridge.bdf for bridge in down]
    shared = next((bridge.bdf for bridge in up if bridge.bdf in above_target), None)
    below_source = _until(up, shared)
    below_target = _until(down, shared)
    redirected = shared is not None and any(
        acs[bridge.bdf].redirect for bridge in (*below_source, *below_target) if bridge.bdf in acs
    )
    walked_up, walked_down = (up, down) if redirected else (below_source, below_target)
    hops = [
        *_links(devices, acs, source, walked_up),
        *reversed(_links(devices, acs, target, walked_down)),
    ]
    on_path = [devices[source], devices[target], *walked_up, *walked_down]
    payloads = [device.max_payload for device in on_path if device.max_payload is not None]
    return Path(
        level=_level(devices, up, down, shared, (source, target)),
        hops=tuple(dict.fromkeys(hops)),
        shared_bridge=shared,
        payload_bytes=min(payloads, default=None),
        payload_known=len(payloads) == len(on_path),
    )


def nvlinks_between(source: NvmlDevice, target: NvmlDevice) -> tuple[int, int | None]:
    """Return the number of active NVLinks joining two GPUs and their summed bytes per second.

    Links that end at each other count; where both end at switches, the fewer of the two do. The
    speed is None where one is not told.
    """
    direct = [
        link
        for link in source.nvlinks
        if link.active and not link.remote_is_switch and link.remote_bdf == target.bdf
    ]
    if not direct:
        switched = [
            [link for link in gpu.nvlinks if link.active and link.remote_is_switch]
            for gpu in (source, target)
        ]
        direct = min(switched, key=len)
    speeds = [link.bytes_per_second for link in direct if link.bytes_per_second is not None]
    return len(direct), sum(speeds) if direct and len(speeds) == len(direct) else None


def _until(bridges: Sequence[PciDevice], last: str | None) -> tuple[PciDevice, ...]:
    """Return the bridges below ``last``; all of them for None."""
    addresses = [bridge.bdf for bridge in bridges]
    return tuple(bridges[: addresses.index(last)] if last in addresses else bridges)


def _links(
    devices: Mapping[str, PciDevice],
    acs: Mapping[str, AcsState],
    gpu: str,
    bridges: Sequence[PciDevice],
) -> list[Hop]:
    """Return the links from a GPU up through ``bridges``, the lowest first.

    Ports alternate: above a function lies a downstream or root port, above that a switch's
    upstream port. Only the wire between a port and what hangs below it is a link; the way
    through a switch is not.
    """
    lower_ends = [devices[gpu], *bridges[1::2]]
    ports_above = bridges[0::2]
    hops = []
    for position, lower in enumerate(lower_ends):
        port = ports_above[position] if position < len(ports_above) else None
        state = acs.get(port.bdf) if port is not None else None
        hops.append(
            Hop(
                lower.bdf,
                lower.link.gen,
                lower.link.width,
                _least(lower.max_link.gen, port.max_link.gen if port else None),
                _least(lower.max_link.width, port.max_link.width if port else None),
                state.redirect if state is not None else (),
            )
        )
    return hops


def _least(first: int | None, second: int | None) -> int | None:
    """Return what both ends of a link can do: a fast card in a slow slot is not down-trained."""
    return min((value for value in (first, second) if value is not None), default=None)


def _level(
    devices: Mapping[str, PciDevice],
    up: Sequence[PciDevice],
    down: Sequence[PciDevice],
    shared: str | None,
    ends: tuple[str, str],
) -> str:
    if shared is not None:
        # One switch is a downstream port on either side and the upstream port they share.
        return PIX if max(len(_until(up, shared)), len(_until(down, shared))) <= 1 else PXB
    nodes = {devices[bdf].numa_node for bdf in ends}
    if len(nodes - {None}) > 1:
        return SYS
    roots = {_root_bus(chain[-1].bdf if chain else bdf) for chain, bdf in zip((up, down), ends)}
    return PHB if len(roots) == 1 else NODE


def _root_bus(bdf: str) -> str:
    return bdf.rsplit(":", 1)[0]
