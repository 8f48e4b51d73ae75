# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Causes on the way between two GPUs: what its PCIe links and the ports above them are set to."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from .._host.acs import AcsState
from .ceiling import raw_rate
from .host_evidence import Evidence, gpus_of
from .path import SYS, is_downtrained, is_nvlink
from .result import Cause, Gpu, Hop, Pair
from .verdict import ASYMMETRIC, LINK_DOWNTRAINED, SLOW

_RATES = (SLOW, ASYMMETRIC)
_TRAINED_LOW_REMEDY = (
    "reseat the card, change the riser, or set the slot's generation in the firmware; where the "
    "board shares the lanes of one slot between two, this is what the card has"
)


def link_causes(evidence: Evidence, lacking: Sequence[Pair]) -> list[Cause]:
    """Return the causes that lie on the way of pairs that did not pass.

    They are links that trained low, uplinks narrower than the cards, ports that redirect, and,
    where none of these explains a rate, the way between two sockets.
    """
    slow = [pair for pair in lacking if _is_slow(pair)]
    trained_low = [pair for pair in lacking if _is_slow(pair) or LINK_DOWNTRAINED in pair.reasons]
    lowered = {_words(hop) for pair in trained_low for hop in _lowered(pair)}
    uplinks = {hop.bdf: hop for pair in slow for hop in _narrow_uplinks(evidence, pair)}
    crossing = [pair for pair in slow if _crosses_sockets(evidence, pair)]
    causes = []
    if lowered:
        causes.append(Cause("link_downtrained", "; ".join(sorted(lowered)), _TRAINED_LOW_REMEDY))
    if uplinks:
        causes.append(
            Cause(
                "chipset_slot",
                "the slowest hop is an uplink: "
                + "; ".join(_uplink_words(evidence, uplinks[bdf]) for bdf in sorted(uplinks)),
                "move the cards to slots on CPU lanes",
            )
        )
    causes += redirect_causes(evidence, lacking)
    if crossing:
        causes.append(_socket_crossing(evidence, crossing))
    return causes


def is_explained(evidence: Evidence, pair: Pair, code: str) -> bool:
    """Return whether a cause on the pair's way stands for this code of it."""
    if code == LINK_DOWNTRAINED:
        return True
    return code in _RATES and bool(_on_the_way(evidence, pair) or _crosses_sockets(evidence, pair))


def redirect_causes(evidence: Evidence, pairs: Iterable[Pair]) -> list[Cause]:
    """Return the cause of ports below a shared switch that send the pairs' requests to the host.

    Between root ports everything goes through the host anyway, and their bits cost nothing.
    """
    redirecting = {
        port: _redirect_words(evidence.acs[port], pair)
        for pair in pairs
        for port in _redirecting(evidence, pair)
    }
    if not redirecting:
        return []
    ports = sorted(redirecting)
    return [
        Cause(
            "acs_redirect",
            "; ".join(redirecting[port] for port in ports),
            f"boot with pci=disable_acs_redir={';'.join(ports)}, or until the next boot: "
            + "; ".join(f"setpci -s {port} ECAP_ACS+6.w=0:2c" for port in ports)
            + " (clears RR, CR, EC), if no virtual machine needs these ports apart",
        )
    ]


def ports_below_shared(evidence: Evidence, pair: Pair) -> tuple[str, ...]:
    """Return the bridges between either GPU and the switch port both are behind, if there is one.

    These decide whether data turns around in the switch. None for a pair that NVLink joins.
    """
    shared = evidence.shared_bridges.get((pair.source, pair.target))
    if shared is None or is_nvlink(pair.path):
        return ()
    found: list[str] = []
    for gpu in gpus_of(evidence.gpus, [pair]):
        above = evidence.upstream.get(gpu.bdf, ())
        found += above[: above.index(shared)] if shared in above else ()
    return tuple(found)


def _redirect_words(state: AcsState, pair: Pair) -> str:
    return (
        f"port {state.bdf} on the path {pair.source}>{pair.target} sets {' '.join(state.bits)} in "
        f"its ACS control: {', '.join(state.redirect)} send peer traffic up to the host"
    )


def _is_slow(pair: Pair) -> bool:
    return any(code in pair.reasons for code in _RATES)


def _on_the_way(evidence: Evidence, pair: Pair) -> bool:
    """Return whether a link or a port on the pair's way explains a low rate."""
    return bool(_lowered(pair) or _narrow_uplinks(evidence, pair) or _redirecting(evidence, pair))


def _lowered(pair: Pair) -> list[Hop]:
    return [hop for hop in pair.hops if is_downtrained(hop)]


def _redirecting(evidence: Evidence, pair: Pair) -> list[str]:
    return [
        port
        for port in ports_below_shared(evidence, pair)
        if port in evidence.acs and evidence.acs[port].redirect
    ]


def _narrow_uplinks(evidence: Evidence, pair: Pair) -> list[Hop]:
    """Return the uplinks that hold a pair back: slower than its cards' own links, or narrower.

    A server's switch has an uplink as wide as the cards behind it, a chipset does not. Two cards
    behind one do not cross its uplink, but the chipset hands their data on just as slowly.
    """
    if is_nvlink(pair.path):
        return []
    own = {gpu.bdf for gpu in evidence.gpus}
    crossed = [hop for hop in pair.hops if hop.bdf not in own]
    slowest = min(map(_rate, pair.hops), default=0.0)
    found = {
        hop.bdf: hop
        for hop in crossed
        if _rate(hop) == slowest < min(_rate(link) for link in pair.hops if link.bdf in own)
    }
    for gpu in gpus_of(evidence.gpus, [pair]):
        for hop in _uplinks_above(evidence, gpu):
            if gpu.link.max_width and hop.width and hop.width < gpu.link.max_width:
                found[hop.bdf] = hop
    return list(found.values())


def _uplinks_above(evidence: Evidence, gpu: Gpu) -> list[Hop]:
    """Return the links above the switches that a GPU is behind, as any pair crossed them."""
    above = evidence.upstream.get(gpu.bdf, ())
    found = {hop.bdf: hop for pair in evidence.pairs for hop in pair.hops if hop.bdf in above}
    return list(found.values())


def _crosses_sockets(evidence: Evidence, pair: Pair) -> bool:
    return pair.path == SYS and _is_slow(pair) and not _on_the_way(evidence, pair)


def _socket_crossing(evidence: Evidence, pairs: Sequence[Pair]) -> Cause:
    nodes = {gpu.index: gpu.numa_node for gpu in evidence.gpus}
    between = sorted(
        {" and ".join(sorted(f"node {nodes[end]}" for end in (p.source, p.target))) for p in pairs}
    )
    rates = [pair.bandwidth.on.uni for pair in pairs if pair.bandwidth.on.uni is not None]
    reach = f" reach {min(rates):.1f} to {max(rates):.1f} GB/s" if rates else " are slow"
    return Cause(
        "socket_crossing",
        f"{len(pairs)} pairs between {', '.join(between)}{reach}, though every link on their way "
        "runs at what it can",
        "use the GPUs of one socket together (see groups); between sockets let NCCL do without "
        "(NCCL_P2P_LEVEL=NODE), or turn relaxed ordering of PCI Express on in the firmware",
    )


def _rate(hop: Hop) -> float:
    """Return a link's rate; an unknown one is no bottleneck."""
    return raw_rate(hop.gen, hop.width) if hop.gen and hop.width else math.inf


def _uplink_words(evidence: Evidence, hop: Hop) -> str:
    behind = [
        str(gpu.index) for gpu in evidence.gpus if hop.bdf in evidence.upstream.get(gpu.bdf, ())
    ]
    return _words(hop) + (f", with GPUs {', '.join(behind)} behind it" if behind else "")


def _words(hop: Hop) -> str:
    return f"{hop.bdf} runs at gen {hop.gen} x{hop.width} of gen {hop.max_gen} x{hop.max_width}"
