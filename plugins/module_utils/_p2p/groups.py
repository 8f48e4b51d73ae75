# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The sets of GPUs a user may hand to one program: everyone in them reaches everyone."""

from __future__ import annotations

from collections.abc import Iterable


def groups_of(passed: Iterable[tuple[int, int]]) -> tuple[tuple[int, ...], ...]:
    """Return the maximal sets in which every ordered pair passed.

    Args:
        passed: ordered pairs of GPU indices that passed.

    Returns:
        Each set of at least two ascending, the largest set first, then by their members.
        A GPU may be in several; one that reaches nobody is in none.
    """
    arrows = {(source, target) for source, target in passed if source != target}
    neighbours: dict[int, set[int]] = {}
    for source, target in arrows:
        if (target, source) in arrows:
            neighbours.setdefault(source, set()).add(target)
    found: list[tuple[int, ...]] = []
    _expand(neighbours, frozenset(), set(neighbours), set(), found)
    return tuple(sorted(found, key=lambda group: (-len(group), group)))


def _expand(
    neighbours: dict[int, set[int]],
    group: frozenset[int],
    candidates: set[int],
    excluded: set[int],
    found: list[tuple[int, ...]],
) -> None:
    """Extend ``group`` in all ways (Bron and Kerbosch 1973, with Tomita's pivot)."""
    if not candidates and not excluded:
        if len(group) > 1:
            found.append(tuple(sorted(group)))
        return
    pivot = max(candidates | excluded, key=lambda gpu: len(candidates & neighbours[gpu]))
    for gpu in sorted(candidates - neighbours[pivot]):
        _expand(
            neighbours,
            group | {gpu},
            candidates & neighbours[gpu],
            excluded & neighbours[gpu],
            found,
        )
        candidates = candidates - {gpu}
        excluded = excluded | {gpu}
