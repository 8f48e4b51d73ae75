# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Causes on the way between two GPUs: what its PCIe links and the ports above them are set to."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from .._host.acs import AcsState
from .ceiling import raw_rate
from .host_evidence import Evidence, gpus_of
from .path import is_nvlink
from .result import Cause, Hop, Pair
from .verdict import ASYMMETRIC, SLOW


def link_causes(evidence: Evidence, lacking: Sequence[Pair]) -> list[Cause]:
    """Return the causes that lie in the links of pairs that did not pass.

    They are links that trained low, uplinks slower than the cards' own, ports that redirect.
    """
    slow = [pair for pair in lacking if SLOW in pair.reasons or ASYMMETRIC in pair.reasons]
    own = {gpu.bdf for gpu in evidence.gpus}
    lowered = {_words(hop) for pair in slow for hop in pair.hops if _is_lowered(hop)}
    uplinks = {
        _words(slowest)
        for pair in slow
        for slowest in [_slowest(pair.hops)]
        if slowest is not None and slowest.bdf not in own
    }
    causes = []
    if lowered:
        causes.append(
            Cause(
                "link_downtrained",
                "; ".join(sorted(lowered)),
                "reseat the card, change the riser, or set the slot's generation in the firmware",
            )
        )
    if uplinks:
        causes.append(
            Cause(
                "chipset_slot",
                "the slowest hop is an uplink: " + "; ".join(sorted(uplinks)),
                "move the cards to slots on CPU lanes",
            )
        )
    return causes + redirect_causes(evidence, lacking)


def redirect_causes(evidence: Evidence, pairs: Iterable[Pair]) -> list[Cause]:
    """Return the cause of ports below a shared switch that send the pairs' requests to the host.

    Between root ports everything goes through the host anyway, and their bits cost nothing.
    """
    redirecting = {
        port: _redirect_words(evidence.acs[port], pair)
        for pair in pairs
        for port in ports_below_shared(evidence, pair)
        if port in evidence.acs and evidence.acs[port].redirect
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


def _is_lowered(hop: Hop) -> bool:
    return bool(
        (hop.gen and hop.max_gen and hop.gen < hop.max_gen)
        or (hop.width and hop.max_width and hop.width < hop.max_width)
    )


def _slowest(hops: Sequence[Hop]) -> Hop | None:
    known = [(raw_rate(hop.gen, hop.width), hop) for hop in hops if hop.gen and hop.width]
    return min(known, key=lambda item: item[0])[1] if known else None


def _words(hop: Hop) -> str:
    return f"{hop.bdf} runs at gen {hop.gen} x{hop.width} of gen {hop.max_gen} x{hop.max_width}"
