# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What groups move at once, in words: beside the pairs' own rates, and held by which link."""

from __future__ import annotations

import itertools
import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.gpufleet.p2p.plugins.plugin_utils.report_together import (
    Together,
    largest_total,
    notes_of,
    together_of,
)
from ansible_collections.gpufleet.p2p.plugins.plugin_utils.report_values import MISSING
from hypothesis import given
from hypothesis import strategies as st

MEASURED = Path(__file__).parents[3] / "fixtures/measured/two_h200.json"
UPLINK = "0000:40:01.0"


def address(gpu: int) -> str:
    return f"0000:{gpu + 1:02x}:00.0"


def group(count: int, **changes: object) -> dict[str, Any]:
    made = {
        "gpus": list(range(count)),
        "unit": "GB/s",
        "total": 42.0,
        "spread": 0.002,
        "per_gpu": {str(gpu): 42.0 / count for gpu in range(count)},
        "ceiling": 49.0,
        "fraction": 0.857,
        "bottleneck": f"{UPLINK} up",
        "sharing": 4,
        "data": "passed",
        "detail": "",
    }
    return {**made, **changes}


def host(
    count: int,
    behind: Collection[int] = (),
    *,
    redirected: bool = False,
    alone: float = 14.0,
    **changes: object,
) -> dict[str, Any]:
    """Return ``count`` GPUs, some behind one uplink that pairs from inside to outside cross."""
    pairs = []
    for source, target in itertools.permutations(range(count), 2):
        inside = (source in behind) + (target in behind)
        hops = [{"bdf": address(source)}, {"bdf": address(target)}]
        if inside == 1 or (inside == 2 and redirected):
            hops.insert(1, {"bdf": UPLINK})
        rates = {"on": {"uni": alone, "bidi": 2 * alone}}
        pairs.append({"from": source, "to": target, "hops": hops, "bandwidth": rates})
    gpus = [{"index": gpu, "bdf": address(gpu)} for gpu in range(count)]
    return {"gpus": gpus, "pairs": pairs, "all_to_all": [group(count)], **changes}


def only(verify: dict[str, Any]) -> Together:
    (found,) = together_of(verify)
    return found


def test_measured_on_two_gpus_joined_by_nvlink() -> None:
    found = only(json.loads(MEASURED.read_text(encoding="utf-8")))
    assert (found.devices, found.total, found.spread) == ("0,1", "783", "±0.0 %")
    assert (found.per_pair, found.alone, found.kept) == ("391", "396", "99\N{NO-BREAK SPACE}%")
    assert (found.ceiling, found.fraction) == ("956", "82\N{NO-BREAK SPACE}%")
    assert found.narrowest == "NVLinks of GPU 0, sending: 1 of 2 pairs"
    assert (found.data, found.tone) == ("checked as a pair", "idle")


def test_what_a_pair_keeps_of_its_rate_alone_shows_the_contention() -> None:
    found = only(host(4, behind=(0, 1)))
    # 12 pairs share 42 GB/s; each reached 14 alone.
    assert (found.per_pair, found.alone, found.kept) == ("3.50", "14.0", "25\N{NO-BREAK SPACE}%")
    assert found.per_gpu == "10.5"
    assert (found.data, found.tone) == ("right", "good")


@pytest.mark.parametrize(
    ("verify", "bottleneck", "sharing", "words"),
    [
        (
            host(4, behind=(0, 1)),
            f"{UPLINK} up",
            4,
            f"uplink {UPLINK}, towards the processor: 4 of 12 pairs, between GPUs 0,1 and 2,3",
        ),
        (
            host(4, behind=(1, 2, 3)),
            f"{UPLINK} down",
            3,
            f"uplink {UPLINK}, away from the processor: 3 of 12 pairs, between GPUs 0 and 1,2,3",
        ),
        (
            host(5, behind=(0, 1, 2), redirected=True),
            f"{UPLINK} up",
            12,
            f"uplink {UPLINK}, towards the processor: 12 of 20 pairs, "
            "all that GPUs 0,1,2 send or receive",
        ),
        (host(4), f"{UPLINK} up", 4, f"uplink {UPLINK}, towards the processor: 4 of 12 pairs"),
        (host(3), f"{address(2)} down", 2, "link of GPU 2, receiving: 2 of 6 pairs"),
        (host(3), f"nvlink to {address(1)}", 2, "NVLinks of GPU 1, receiving: 2 of 6 pairs"),
        (
            host(3),
            f"nvlink {address(1)} to {address(2)}",
            1,
            "NVLinks from GPU 1 to GPU 2: 1 of 6 pairs",
        ),
        (host(3), "nvlink", 1, "NVLinks: 1 of 6 pairs"),
        (host(3), None, None, MISSING),
    ],
)
def test_the_narrowest_link_is_named_as_an_operator_knows_it(
    verify: dict[str, Any], bottleneck: str | None, sharing: int | None, words: str
) -> None:
    verify["all_to_all"][0].update(bottleneck=bottleneck, sharing=sharing)
    assert only(verify).narrowest == words


def test_wrong_data_is_told_and_what_was_not_measured_says_why() -> None:
    wrong = only(host(3, all_to_all=[group(3, data="failed")]))
    assert (wrong.data, wrong.tone) == ("wrong", "bad")
    died = only(
        host(3, all_to_all=[group(3, total=None, spread=None, per_gpu={}, detail="killed")])
    )
    assert {died.total, died.per_pair, died.kept, died.per_gpu} == {MISSING}
    assert died.spread == ""
    assert died.detail == "killed"
    assert died.alone == "14.0"


def test_a_record_from_before_has_none_and_one_with_figures_missing_has_dashes() -> None:
    assert together_of({"pairs": []}) == ()
    assert largest_total({}) is None
    found = only({"all_to_all": [{"gpus": [0, 1, 2]}]})
    assert {found.total, found.alone, found.kept, found.narrowest} == {MISSING}
    assert found.data == "not checked"


def test_the_largest_group_counts_for_the_host() -> None:
    groups = [group(2, total=50.0), group(4, total=42.0), group(5, total=None)]
    assert largest_total({"all_to_all": groups}) == 42.0


def test_notes_keep_their_words() -> None:
    (note,) = notes_of({"notes": [{"code": "nccl_gate", "evidence": "PHB is beyond PXB"}, 3]})
    assert (note.code, note.evidence, note.remedy) == ("nccl_gate", "PHB is beyond PXB", MISSING)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(0, 4) | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(("gpus", "bdf", "hops", "from", "0")), inner, max_size=3)
    ),
    max_leaves=6,
)


@given(data=st.data())
def test_whatever_stands_in_a_record_something_is_told(data: st.DataObject) -> None:
    verify = host(3, behind=(0,))
    place: Any = data.draw(
        st.sampled_from([verify, verify["all_to_all"][0], verify["pairs"][0], verify["gpus"][0]])
    )
    place[data.draw(st.sampled_from(sorted(place)))] = data.draw(JSON)
    for found in together_of(verify):
        assert found.devices
        assert found.total
    largest_total(verify)
    notes_of(verify)
