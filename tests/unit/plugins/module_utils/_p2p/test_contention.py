# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a group can move at once follows from the links its pairs share."""

from __future__ import annotations

import itertools

import pytest
from ansible_collections.gpufleet.p2p.plugins.module_utils._p2p.contention import (
    contention_of,
    nvlink_crossings,
    pcie_crossings,
)
from ansible_collections.gpufleet.p2p.plugins.module_utils._p2p.result import Hop
from hypothesis import given
from hypothesis import strategies as st

# Gen 4 x4 and x16 at a payload of 256, as facts of the PCI Express specification give them.
X4, X16 = 7.877 * 256 / 280, 31.508 * 256 / 280
CROSSINGS = st.lists(
    st.dictionaries(st.sampled_from("abcdef"), st.floats(0.5, 500), min_size=1, max_size=4),
    min_size=1,
    max_size=12,
)


def hop(bdf: str, width: int) -> Hop:
    return Hop(bdf, 4, width, 4, width)


def test_own_links_let_each_gpu_send_at_full_rate() -> None:
    gpus = {number: hop(f"gpu{number}", 16) for number in range(4)}
    pairs = [
        pcie_crossings([gpus[a], gpus[b]], 256, [gpus[a].bdf], [gpus[b].bdf])
        for a, b in itertools.permutations(gpus, 2)
    ]
    contention = contention_of(pairs)
    assert contention is not None
    assert contention.gigabytes_per_second == pytest.approx(4 * X16, rel=1e-3)
    assert contention.pairs == 3


def test_a_shared_uplink_sets_the_pace() -> None:
    # Two cards behind a switch on an x4 uplink, two on lanes of their own.
    above = {
        0: (hop("gpu0", 16), hop("uplink", 4)),
        1: (hop("gpu1", 16), hop("uplink", 4)),
        2: (hop("gpu2", 16),),
        3: (hop("gpu3", 16),),
    }
    pairs = []
    for a, b in itertools.permutations(above, 2):
        inside = {a, b} == {0, 1}
        hops = [link for gpu in (a, b) for link in above[gpu] if not inside or link.width == 16]
        chains = [[link.bdf for link in above[gpu]] for gpu in (a, b)]
        pairs.append(pcie_crossings(hops, None, *chains))
    contention = contention_of(pairs)
    assert contention is not None
    # Of 12 pairs four go up the uplink: 0 and 1, each to 2 and 3.
    assert (contention.link, contention.pairs) in {("uplink up", 4), ("uplink down", 4)}
    assert contention.gigabytes_per_second == pytest.approx(12 * X4 / 4, rel=1e-3)


def test_a_redirect_takes_the_uplink_both_ways() -> None:
    hops = [hop("gpu0", 16), hop("uplink", 4), hop("gpu1", 16)]
    links = pcie_crossings(hops, 256, ["gpu0", "uplink"], ["gpu1", "uplink"])
    assert set(links) == {"gpu0 up", "uplink up", "uplink down", "gpu1 down"}


@pytest.mark.parametrize(("switched", "total"), [(True, 4 * 450.0), (False, 12 * 450.0)])
def test_nvlink_through_switches_is_shared_by_all_peers(switched: bool, total: float) -> None:
    pairs = [
        nvlink_crossings(a, b, 450_000_000_000, switched=switched)
        for a, b in itertools.permutations("abcd", 2)
    ]
    contention = contention_of(pairs)
    assert contention is not None
    assert contention.gigabytes_per_second == pytest.approx(total)


def test_nothing_is_claimed_of_unknown_links() -> None:
    assert contention_of([]) is None
    assert contention_of([{"a": 10.0}, {}]) is None
    assert nvlink_crossings("a", "b", None, switched=True) == {}
    assert pcie_crossings([Hop("a", None, None, None, None)], 256, ["a"], ["b"]) == {}


@given(CROSSINGS)
def test_no_link_carries_more_than_it_can(pairs: list[dict[str, float]]) -> None:
    contention = contention_of(pairs)
    assert contention is not None
    each = contention.gigabytes_per_second / len(pairs)
    loads = {
        link: each * sum(link in links for links in pairs) for links in pairs for link in links
    }
    capacity = {link: min(c[link] for c in pairs if link in c) for link in loads}
    assert all(loads[link] <= capacity[link] * (1 + 1e-9) for link in loads)
    # And one is full: no more would fit.
    assert loads[contention.link] == pytest.approx(capacity[contention.link])


@given(CROSSINGS, st.floats(1.1, 10))
def test_faster_links_never_lower_it(pairs: list[dict[str, float]], factor: float) -> None:
    faster = [{link: most * factor for link, most in links.items()} for links in pairs]
    before, after = contention_of(pairs), contention_of(faster)
    assert before is not None and after is not None
    assert after.gigabytes_per_second == pytest.approx(before.gigabytes_per_second * factor)


@given(CROSSINGS)
def test_never_more_than_each_pair_alone(pairs: list[dict[str, float]]) -> None:
    contention = contention_of(pairs)
    assert contention is not None
    alone = sum(min(links.values()) for links in pairs)
    slowest = min(min(links.values()) for links in pairs)
    assert contention.gigabytes_per_second <= len(pairs) * slowest * (1 + 1e-9)
    assert contention.gigabytes_per_second <= alone * (1 + 1e-9)
