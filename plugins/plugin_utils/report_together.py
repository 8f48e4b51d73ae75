# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What groups move with all their GPUs at once, and the notes, in words.

A group's figure is read beside what its pairs reach alone: the difference is what they take from
each other on the links they share.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from statistics import median
from typing import Any

from .report_values import MISSING, branch, figure, items, number, percent, span, text, whole

_DATA = {"passed": ("right", "good"), "failed": ("wrong", "bad")}
_DIRECTIONS = {"up": "towards the processor", "down": "away from the processor"}
_OWN_DIRECTIONS = {"up": "sending", "down": "receiving"}
_NVLINK_DIRECTIONS = {"from": "sending", "to": "receiving"}


@dataclass(frozen=True)
class Together:
    """One group with all of it writing at once; rates are GB/s as text, a dash if not measured.

    Attributes:
        devices: ready for CUDA_VISIBLE_DEVICES.
        total: of all ordered pairs together, spread: of that, empty where not known.
        per_pair: total over the number of ordered pairs.
        alone: the median of what these pairs reach one at a time, one direction.
        kept: per_pair as a share of alone.
        per_gpu: the least and the most that one GPU wrote.
        ceiling, fraction: what the links would carry of this traffic, and total's share of it.
        narrowest: the link that sets the ceiling, and which pairs share it.
        data, tone: whether what was written at once was right, for people.
        detail: why there are no figures.
    """

    devices: str
    total: str
    spread: str
    per_pair: str
    alone: str
    kept: str
    per_gpu: str
    ceiling: str
    fraction: str
    narrowest: str
    data: str
    tone: str
    detail: str


@dataclass(frozen=True)
class Note:
    """What is worth knowing and explains no failure."""

    code: str
    evidence: str
    remedy: str


def together_of(verify: dict[str, Any]) -> tuple[Together, ...]:
    """Return the groups of a p2p_verify result that were measured at once, the largest first."""
    found = []
    for record in items(verify, "all_to_all"):
        gpus = _indices(record.get("gpus"))
        if len(gpus) > 1:
            found.append(_together(verify, record, gpus))
    return tuple(found)


def notes_of(verify: dict[str, Any]) -> tuple[Note, ...]:
    """Return the notes of a p2p_verify result."""
    return tuple(
        Note(text(note.get("code")), text(note.get("evidence")), text(note.get("remedy")))
        for note in items(verify, "notes")
    )


def largest_total(verify: dict[str, Any]) -> float | None:
    """Return in GB/s what the largest group that was measured moves at once; None without one."""
    totals = [
        (len(_indices(record.get("gpus"))), total)
        for record in items(verify, "all_to_all")
        if (total := number(record.get("total"))) is not None
    ]
    return max(totals)[1] if totals else None


def _together(verify: dict[str, Any], record: dict[str, Any], gpus: tuple[int, ...]) -> Together:
    total, spread = number(record.get("total")), number(record.get("spread"))
    pairs = len(gpus) * (len(gpus) - 1)
    per_pair = None if total is None else total / pairs
    rates = _rates_alone(verify, gpus)
    alone = median(rates) if rates else None
    each = [number(rate) for rate in branch(record, "per_gpu").values()]
    # What two GPUs move both ways was checked with their pair.
    unchecked = "checked as a pair" if len(gpus) == 2 else "not checked"
    words, tone = _DATA.get(str(record.get("data")), (unchecked, "idle"))
    return Together(
        devices=",".join(str(gpu) for gpu in gpus),
        total=figure(total),
        spread="" if spread is None else f"\N{PLUS-MINUS SIGN}{spread * 100:.1f} %",
        per_pair=figure(per_pair),
        alone=figure(alone),
        kept=percent(per_pair / alone) if per_pair is not None and alone else MISSING,
        per_gpu=span([rate for rate in each if rate is not None]),
        ceiling=figure(number(record.get("ceiling"))),
        fraction=percent(number(record.get("fraction"))),
        narrowest=_narrowest(verify, record, gpus),
        data=words,
        tone=tone,
        detail=text(record.get("detail")) if record.get("detail") else "",
    )


def _indices(value: Any) -> tuple[int, ...]:
    listed = value if isinstance(value, list) else []
    found = (whole(index) for index in listed)
    return tuple(dict.fromkeys(index for index in found if index is not None))


def _rates_alone(verify: dict[str, Any], gpus: tuple[int, ...]) -> list[float]:
    rates = [number(branch(pair, "bandwidth", "on").get("uni")) for pair in _pairs_of(verify, gpus)]
    return [rate for rate in rates if rate is not None]


def _pairs_of(verify: dict[str, Any], gpus: tuple[int, ...]) -> list[dict[str, Any]]:
    return [
        pair
        for pair in items(verify, "pairs")
        if whole(pair.get("from")) in gpus and whole(pair.get("to")) in gpus
    ]


def _narrowest(verify: dict[str, Any], record: dict[str, Any], gpus: tuple[int, ...]) -> str:
    """Return the link that sets the pace, by what an operator calls it."""
    named = str(record.get("bottleneck") or "")
    if not named:
        return MISSING
    by_address = {
        str(gpu.get("bdf")): index
        for gpu in items(verify, "gpus")
        if (index := whole(gpu.get("index"))) is not None
    }
    sharing = whole(record.get("sharing"))
    total = len(gpus) * (len(gpus) - 1)
    shared = "" if sharing is None else f": {sharing} of {total} pairs"
    place, _space, direction = named.partition(" ")
    if place == "nvlink":
        return f"{_nvlink(direction.split(), by_address)}{shared}"
    if place in by_address:
        way = _OWN_DIRECTIONS.get(direction, direction)
        return f"link of GPU {by_address[place]}, {way}{shared}"
    way = _DIRECTIONS.get(direction, direction)
    return f"uplink {place}, {way}{shared}{_behind(verify, place, gpus)}"


def _nvlink(words: list[str], by_address: dict[str, int]) -> str:
    """Return ``from A``, ``to A`` or ``A to B`` by the GPUs' indices."""
    names = [f"GPU {by_address[word]}" if word in by_address else word for word in words]
    if len(words) == 2 and words[0] in _NVLINK_DIRECTIONS:
        return f"NVLinks of {names[1]}, {_NVLINK_DIRECTIONS[words[0]]}"
    return f"NVLinks from {' '.join(names)}" if names else "NVLinks"


def _behind(verify: dict[str, Any], place: str, gpus: tuple[int, ...]) -> str:
    """Return which GPUs an uplink parts, where the pairs' paths tell it."""
    crossing = {
        frozenset((whole(pair.get("from")), whole(pair.get("to"))))
        for pair in _pairs_of(verify, gpus)
        if any(hop.get("bdf") == place for hop in items(pair, "hops"))
    }
    far = [gpu for gpu in gpus if frozenset((gpus[0], gpu)) in crossing]
    near = [gpu for gpu in gpus if gpu not in far]
    if far and crossing == {frozenset((one, other)) for one in near for other in far}:
        return f", between GPUs {_listed(near)} and {_listed(far)}"
    # Where ACS redirects, the GPUs behind the uplink cross it among themselves, too.
    pairs = {frozenset(ends) for ends in combinations(gpus, 2)}
    behind = [gpu for gpu in gpus if {ends for ends in pairs if gpu in ends} <= crossing]
    if behind and len(behind) < len(gpus):
        return f", all that GPUs {_listed(behind)} send or receive"
    return ""


def _listed(gpus: list[int]) -> str:
    return ",".join(str(gpu) for gpu in gpus)
