# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The ceiling formula against the table in the facts, and its general properties."""

from __future__ import annotations

import pytest
from ansible_collections.gpufleet.p2p.plugins.module_utils._p2p.ceiling import (
    nvlink_ceiling,
    pcie_ceiling,
    raw_rate,
)
from ansible_collections.gpufleet.p2p.plugins.module_utils._p2p.result import Hop
from hypothesis import given
from hypothesis import strategies as st

GEN = st.integers(1, 6)
WIDTH = st.sampled_from([1, 2, 4, 8, 16])
PAYLOAD = st.sampled_from([128, 256, 512, 1024, 2048, 4096])

# GB/s in one direction: raw, then the ceiling at a payload of 128, 256 and 512 bytes.
TABLE = {
    (3, 4): (3.9, 3.3, 3.6, 3.8),
    (3, 8): (7.9, 6.6, 7.2, 7.5),
    (3, 16): (15.8, 13.3, 14.4, 15.0),
    (4, 4): (7.9, 6.6, 7.2, 7.5),
    (4, 8): (15.8, 13.3, 14.4, 15.0),
    (4, 16): (31.5, 26.5, 28.8, 30.1),
    (5, 4): (15.8, 13.3, 14.4, 15.0),
    (5, 8): (31.5, 26.5, 28.8, 30.1),
    (5, 16): (63.0, 53.1, 57.6, 60.2),
    (6, 4): (29.5, 24.8, 27.0, 28.2),
    (6, 8): (59.0, 49.7, 53.9, 56.4),
    (6, 16): (118, 99, 108, 113),
}


def hop(gen: int | None, width: int | None) -> Hop:
    return Hop("0000:01:00.0", gen, width, gen, width)


@pytest.mark.parametrize(("link", "figures"), TABLE.items())
def test_the_table_of_the_facts(link: tuple[int, int], figures: tuple[float, ...]) -> None:
    raw, *ceilings = figures
    tolerance = 0.5 if raw > 100 else 0.0501
    assert raw_rate(*link) == pytest.approx(raw, abs=tolerance)
    for payload, expected in zip((128, 256, 512), ceilings, strict=True):
        ceiling = pcie_ceiling([hop(*link)], payload, True)
        assert ceiling is not None
        assert ceiling.gigabytes_per_second == pytest.approx(expected, abs=tolerance)


def test_the_slowest_hop_counts() -> None:
    path = [hop(5, 16), hop(4, 4), hop(5, 16)]
    ceiling = pcie_ceiling(path, 256, True)
    alone = pcie_ceiling([hop(4, 4)], 256, True)
    assert ceiling == alone


def test_an_unreadable_payload_is_assumed_and_said_so() -> None:
    ceiling = pcie_ceiling([hop(4, 16)], None, False)
    assert ceiling is not None
    assert (ceiling.payload_bytes, ceiling.payload_assumed) == (256, True)


def test_without_a_readable_link_there_is_no_yardstick() -> None:
    assert pcie_ceiling([hop(None, None), hop(7, 16)], 256, True) is None


def test_nvlink_is_the_sum_of_its_links() -> None:
    assert nvlink_ceiling(4 * 14_062_500_000).gigabytes_per_second == pytest.approx(56.25)


@given(st.lists(st.tuples(GEN, WIDTH), min_size=1, max_size=6), PAYLOAD)
def test_a_ceiling_is_below_every_hops_raw_rate(links: list[tuple[int, int]], payload: int) -> None:
    ceiling = pcie_ceiling([hop(*link) for link in links], payload, True)
    assert ceiling is not None
    assert 0 < ceiling.gigabytes_per_second < min(raw_rate(*link) for link in links)


@given(st.integers(1, 5), WIDTH, PAYLOAD)
def test_a_newer_generation_always_raises_it(gen: int, width: int, payload: int) -> None:
    older, newer = (pcie_ceiling([hop(g, width)], payload, True) for g in (gen, gen + 1))
    assert older is not None and newer is not None
    assert newer.gigabytes_per_second > 1.8 * older.gigabytes_per_second


@given(st.lists(st.tuples(GEN, WIDTH), min_size=1, max_size=6), st.tuples(GEN, WIDTH), PAYLOAD)
def test_another_hop_never_raises_it_and_order_does_not_matter(
    links: list[tuple[int, int]], further: tuple[int, int], payload: int
) -> None:
    path = [hop(*link) for link in links]
    ceiling = pcie_ceiling(path, payload, True)
    longer = pcie_ceiling([hop(*further), *reversed(path)], payload, True)
    assert ceiling is not None and longer is not None
    assert longer.gigabytes_per_second <= ceiling.gigabytes_per_second
    assert pcie_ceiling(path[::-1], payload, True) == ceiling


@given(GEN, WIDTH, PAYLOAD)
def test_what_packets_cost_is_what_separates_it_from_the_raw_rate(
    gen: int, width: int, payload: int
) -> None:
    ceiling = pcie_ceiling([hop(gen, width)], payload, True)
    assert ceiling is not None
    lost = 1 - ceiling.gigabytes_per_second / raw_rate(gen, width)
    assert lost == pytest.approx(24 / (payload + 24))


@given(GEN, WIDTH, PAYLOAD)
def test_more_lanes_and_larger_payloads_never_lower_it(gen: int, width: int, payload: int) -> None:
    base = pcie_ceiling([hop(gen, width)], payload, True)
    wider = pcie_ceiling([hop(gen, 2 * width)], payload, True)
    larger = pcie_ceiling([hop(gen, width)], 2 * payload, True)
    assert base is not None and wider is not None and larger is not None
    assert wider.gigabytes_per_second == pytest.approx(2 * base.gigabytes_per_second)
    assert larger.gigabytes_per_second > base.gigabytes_per_second
