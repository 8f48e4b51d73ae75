# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Causes on the way between two GPUs name the link or port and what it is set to."""

from __future__ import annotations

import pytest
from ansible_collections.gpufleet.p2p.plugins.module_utils._host.acs import AcsState
from ansible_collections.gpufleet.p2p.plugins.module_utils._p2p.causes import causes_of
from ansible_collections.gpufleet.p2p.plugins.module_utils._p2p.host_evidence import Evidence
from ansible_collections.gpufleet.p2p.plugins.module_utils._p2p.notes import notes_of
from ansible_collections.gpufleet.p2p.plugins.module_utils._p2p.result import (
    Bandwidth,
    Cause,
    Hop,
    Pair,
    Rates,
)
from support.evidence import evidence, gpu, pair

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


FULL = (Hop("0000:01:00.0", 5, 16, 5, 16), Hop("0000:02:00.0", 5, 16, 5, 16))


@pytest.mark.parametrize("reason", ["slow", "asymmetric", "link_downtrained"])
def test_a_link_that_trained_low_is_the_cause_of_its_pair(reason: str) -> None:
    lowered = Hop("0000:01:00.0", 1, 16, 5, 16)
    (cause,) = causes_of(evidence(pair(0, 1, "warn", reason, hops=(lowered, FULL[1]))))
    assert cause.code == "link_downtrained"
    assert "gen 1 x16 of gen 5 x16" in cause.evidence


def test_what_no_link_explains_stays_a_symptom() -> None:
    slow = pair(0, 1, "warn", "slow", hops=FULL)
    other = pair(1, 0, "warn", "slow", hops=(Hop("0000:01:00.0", 1, 16, 5, 16), FULL[1]))
    causes = causes_of(evidence(slow, other))
    assert codes(causes) == ["link_downtrained", "slow"]
    assert causes[1].evidence.startswith("0>1: ")


def test_an_uplink_slower_than_the_cards_is_named_with_those_behind_it() -> None:
    uplink = Hop("0000:05:00.0", 4, 4, 4, 4)
    upstream = {"0000:01:00.0": (PORTS[0], SWITCH, ROOT), "0000:02:00.0": (ROOT,)}
    slow = pair(0, 1, "fail", "slow", hops=(FULL[0], uplink, FULL[1]))
    (cause,) = causes_of(evidence(slow, upstream=upstream))
    assert cause.code == "chipset_slot"
    assert cause.evidence.endswith("gen 4 x4 of gen 4 x4, with GPUs 0 behind it")


def test_a_chipset_is_named_for_cards_that_talk_within_it() -> None:
    uplink, slots = Hop(SWITCH, 4, 4, 4, 4), [Hop(hop.bdf, 4, 4, 4, 4) for hop in FULL]
    inside = pair(0, 1, "warn", "slow", hops=tuple(slots), path="PIX")
    out = pair(0, 2, "pass", hops=(slots[0], uplink))
    gpus = tuple(gpu(index) for index in range(3))
    (cause,) = causes_of(evidence(inside, out, upstream=UPSTREAM, gpus=gpus))
    assert (cause.code, "GPUs 0, 1 behind" in cause.evidence) == ("chipset_slot", True)


def test_an_uplink_as_wide_as_the_cards_is_not_blamed() -> None:
    uplink = Hop(SWITCH, 5, 16, 5, 16)
    slow = pair(0, 1, "warn", "slow", hops=(FULL[0], uplink, FULL[1]))
    assert codes(causes_of(evidence(slow, upstream=UPSTREAM))) == ["slow"]


def test_slow_between_sockets_on_sound_links_is_the_sockets() -> None:
    gpus = (gpu(0, numa_node=0), gpu(1, numa_node=1))
    rates = Bandwidth(on=Rates(0.3), off=Rates(11.0), ceiling=14.4)
    slow = pair(0, 1, "fail", "slow", path="SYS", hops=FULL, bandwidth=rates)
    (cause,) = causes_of(evidence(slow, gpus=gpus))
    assert cause.code == "socket_crossing"
    assert cause.evidence.startswith("1 pairs between node 0 and node 1 reach 0.3 to 0.3 GB/s")
    lowered = pair(0, 1, "fail", "slow", path="SYS", hops=(Hop("0000:01:00.0", 1, 16, 5, 16),))
    assert codes(causes_of(evidence(lowered, gpus=gpus))) == ["link_downtrained"]


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
