# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Causes on the way between two GPUs name the link or port and what it is set to."""

from __future__ import annotations

from ansible_collections.gpufleet.p2p.plugins.module_utils._host.acs import AcsState
from ansible_collections.gpufleet.p2p.plugins.module_utils._p2p.causes import causes_of
from ansible_collections.gpufleet.p2p.plugins.module_utils._p2p.host_evidence import Evidence
from ansible_collections.gpufleet.p2p.plugins.module_utils._p2p.notes import notes_of
from ansible_collections.gpufleet.p2p.plugins.module_utils._p2p.result import Cause, Hop, Pair
from support.evidence import evidence, pair

SWITCH, ROOT = "0000:05:00.0", "0000:00:01.0"
PORTS = ("0000:06:00.0", "0000:06:01.0")
UPSTREAM = {
    "0000:01:00.0": (PORTS[0], SWITCH, ROOT),
    "0000:02:00.0": (PORTS[1], SWITCH, ROOT),
}
USUAL = 0x1D  # SV, RR, CR, UF: what the kernel sets where an IOMMU is on


def codes(causes: tuple[Cause, ...]) -> list[str]:
    return [cause.code for cause in causes]


def state(bdf: str, control: int | None, readable: bool = True) -> AcsState:
    names = [n for n, bit in (("RR", 4), ("CR", 8), ("EC", 32)) if control and control & bit]
    return AcsState(bdf, readable, control is not None, control, tuple(names))


def behind_switch(*pairs: Pair, control: int | None, readable: bool = True) -> Evidence:
    acs = {bdf: state(bdf, control, readable) for bdf in PORTS}
    acs[ROOT] = state(ROOT, USUAL)
    shared = {(0, 1): SWITCH, (1, 0): SWITCH}
    return evidence(*pairs, shared_bridges=shared, upstream=UPSTREAM, acs=acs)


SLOW = pair(0, 1, "warn", "slow")
RIGHT = (pair(0, 1, "pass"), pair(1, 0, "pass"))


def test_slow_links_are_told_apart() -> None:
    lowered = Hop("0000:01:00.0", 1, 16, 5, 16)
    uplink = Hop("0000:05:00.0", 4, 4, 4, 4)
    full = Hop("0000:02:00.0", 5, 16, 5, 16)
    down = causes_of(evidence(pair(0, 1, "warn", "slow", hops=(lowered, full))))
    assert codes(down) == ["link_downtrained", "slow"]
    assert "gen 1 x16 of gen 5 x16" in down[0].evidence
    chipset = causes_of(evidence(pair(0, 1, "fail", "slow", hops=(full, uplink))))
    assert codes(chipset) == ["chipset_slot", "slow"]


def test_ports_that_redirect_are_named_with_their_bits_and_the_way_to_clear_them() -> None:
    causes = causes_of(behind_switch(SLOW, control=USUAL))
    (cause,) = (cause for cause in causes if cause.code == "acs_redirect")
    for port in PORTS:
        assert f"port {port} on the path 0>1 sets SV RR CR UF in its ACS control" in cause.evidence
        assert f"setpci -s {port} ECAP_ACS+6.w=0:2c" in cause.remedy
    assert f"pci=disable_acs_redir={';'.join(PORTS)}" in cause.remedy
    assert ROOT not in cause.evidence, "it is above the switch in which data should turn around"


def test_bits_that_do_not_redirect_are_not_blamed() -> None:
    assert "acs_redirect" not in codes(causes_of(behind_switch(SLOW, control=0x53)))


def test_redirection_is_blamed_only_behind_a_shared_switch() -> None:
    acs = {ROOT: state(ROOT, USUAL)}
    upstream = dict.fromkeys(UPSTREAM, (ROOT,))
    apart = evidence(SLOW, upstream=upstream, acs=acs)
    assert "acs_redirect" not in codes(causes_of(apart))


def test_redirection_is_not_blamed_for_what_goes_over_nvlink() -> None:
    joined = pair(0, 1, "warn", "slow", path="NV4")
    host = behind_switch(joined, control=USUAL)
    assert "acs_redirect" not in codes(causes_of(host))
    assert notes_of(host) == ()


def test_redirection_of_pairs_that_pass_all_the_same_is_a_note() -> None:
    host = behind_switch(*RIGHT, control=USUAL)
    assert causes_of(host) == ()
    assert codes(notes_of(host)) == ["acs_redirect"]


def test_ports_whose_bits_cannot_be_read_are_noted_once_and_blamed_for_nothing() -> None:
    host = behind_switch(SLOW, *RIGHT, control=None, readable=False)
    assert "acs_redirect" not in codes(causes_of(host))
    (note,) = notes_of(host)
    assert note.code == "acs_unread"
    assert all(port in note.evidence for port in PORTS)
