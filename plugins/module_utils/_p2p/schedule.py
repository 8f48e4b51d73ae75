# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which pairs can be checked at the same time: those that share no GPU and no link."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Set
from typing import TypeVar

Key = TypeVar("Key")


def rounds_of(uses: Mapping[Key, Set[str]], at_once: int) -> tuple[tuple[Key, ...], ...]:
    """Return the pairs in rounds, no two of one round using the same thing.

    Each round takes first the pairs whose parts are wanted by most of those left, which keeps
    rounds full to the end: 28 pairs of eight GPUs take seven rounds of four.

    Args:
        uses: what each pair uses: names of its GPUs, of the links between them.
        at_once: the most pairs in a round.

    Returns:
        Every key once; keys of one round in the order of ``uses``.
    """
    left = dict(uses)
    rounds: list[tuple[Key, ...]] = []
    while left:
        wanted = Counter(thing for things in left.values() for thing in things)
        demand = {key: sum(wanted[thing] for thing in things) for key, things in left.items()}
        taken: set[str] = set()
        chosen: set[Key] = set()
        for key in sorted(left, key=lambda key: -demand[key]):
            if len(chosen) < max(1, at_once) and taken.isdisjoint(left[key]):
                chosen.add(key)
                taken.update(left[key])
        rounds.append(tuple(key for key in left if key in chosen))
        left = {key: things for key, things in left.items() if key not in chosen}
    return tuple(rounds)
