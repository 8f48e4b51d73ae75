# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rigs of seven and eight GPUs: groups, verdicts and causes are what someone who knows would say.

Each file of rigs/ names a description of lab/hosts, the state its machine is in, and, written by
hand, what is to be said: of every ordered pair by classes, of the causes by words that their
evidence and remedy must have and must not have.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import combinations, permutations, product
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.gpufleet.p2p.plugins.module_utils._p2p.result import Cause, Pair, Result
from support.host_tree import build_host_tree, load_description
from support.simulated_gpus import environment_for, verify_in

RIGS = sorted((Path(__file__).parent / "rigs").glob("*.yml"))
STATE_KEYS = {"state", "iommu", "links", "fault", "free_bytes"}
RIG_KEYS = {"rig", "host", "verdict", "groups", "pairs", "causes"} | STATE_KEYS
CLASS_KEYS = {"within", "between", "from", "to", "path", "verdict", "reasons", "rate"}
CAUSE_KEYS = {"code", "evidence", "evidence_not", "remedy", "remedy_not"}
# Of GPU memory: a run moves an eighth of it at a time, and has 56 ordered pairs to look at.
FREE_BYTES = 24 << 20

Ends = tuple[int, int]


def verified(rig: dict[str, Any], libraries: Path, root: Path) -> Result:
    """Verify the rig in its state."""
    description = load_description(rig["host"])
    description["simulated_free_bytes"] = rig.get("free_bytes", FREE_BYTES)
    tree = build_host_tree(root, description, **rig.get("state", {}))
    for kind, gpus in rig.get("iommu", {}).items():
        tree.set_iommu_type(kind, *gpus)
    for gpu, link in rig.get("links", {}).items():
        tree.train_link(gpu, link["gen"], link["width"])
    return verify_in(environment_for(libraries, tree, rig.get("fault", "none")), tree)


def ends_of(pair_class: dict[str, Any]) -> Iterator[Ends]:
    """Return the ordered pairs of a class: within each set, between any two, or one way."""
    for members in pair_class.get("within", ()):
        yield from permutations(members, 2)
    for one, other in combinations(pair_class.get("between", ()), 2):
        for first, second in product(one, other):
            yield from ((first, second), (second, first))
    yield from product(pair_class.get("from", ()), pair_class.get("to", ()))


def class_by_pair(classes: Iterable[dict[str, Any]]) -> dict[Ends, dict[str, Any]]:
    """Return each ordered pair's class; a pair in two is a mistake of the file."""
    found: dict[Ends, dict[str, Any]] = {}
    for pair_class in classes:
        assert pair_class.keys() <= CLASS_KEYS
        for ends in ends_of(pair_class):
            assert ends not in found, f"{ends} is described twice"
            found[ends] = pair_class
    return found


def said_of(pair: Pair, expected: dict[str, Any]) -> dict[str, Any]:
    """Return what was said of a pair, in the terms of its class."""
    said: dict[str, Any] = {
        "path": pair.path,
        "verdict": pair.verdict,
        "reasons": list(pair.reasons),
    }
    if "rate" in expected:
        least, most = expected["rate"]
        rate = pair.bandwidth.on.uni
        said["rate"] = [least, most] if rate is not None and least <= rate <= most else rate
    return said


def wanted_of(expected: dict[str, Any]) -> dict[str, Any]:
    return {
        "path": expected["path"],
        "verdict": expected["verdict"],
        "reasons": expected.get("reasons", []),
        **({"rate": expected["rate"]} if "rate" in expected else {}),
    }


def check_cause(cause: Cause, expected: dict[str, Any]) -> None:
    assert expected.keys() <= CAUSE_KEYS
    for part in ("evidence", "remedy"):
        text = getattr(cause, part)
        assert [word for word in expected.get(part, ()) if word not in text] == [], text
        assert [word for word in expected.get(f"{part}_not", ()) if word in text] == [], text


@pytest.mark.parametrize("path", RIGS, ids=lambda path: path.stem)
def test_a_rig_is_read_as_by_someone_who_knows(path: Path, libraries: Path, tmp_path: Path) -> None:
    rig = yaml.safe_load(path.read_text())
    assert rig.keys() <= RIG_KEYS
    result = verified(rig, libraries, tmp_path)
    classes = class_by_pair(rig["pairs"])
    assert {(pair.source, pair.target) for pair in result.pairs} == classes.keys()
    wrong = {
        (pair.source, pair.target): (said_of(pair, expected), pair.detail)
        for pair in result.pairs
        for expected in [classes[(pair.source, pair.target)]]
        if said_of(pair, expected) != wanted_of(expected)
    }
    assert wrong == {}
    assert [list(group) for group in result.groups] == rig["groups"]
    assert result.verdict == rig["verdict"]
    assert [cause.code for cause in result.causes] == [cause["code"] for cause in rig["causes"]]
    for cause, expected in zip(result.causes, rig["causes"], strict=True):
        check_cause(cause, expected)


def test_the_rigs_are_at_least_ten_of_seven_or_eight_gpus() -> None:
    hosts = {yaml.safe_load(path.read_text())["host"] for path in RIGS}
    assert len(hosts) >= 10
    assert {len(load_description(host)["gpus"]) for host in hosts} == {7, 8}
