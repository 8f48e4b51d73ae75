# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The groups of a host, each measured with all its GPUs at once and held against its links."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from . import all_to_all, protocol
from .all_to_all import COPY_BYTES, AllToAllJob
from .all_to_all_record import AllToAll
from .child import Child, child_command, listen
from .contention import Contention, Crossings, contention_of
from .decode import Reader
from .pattern import seed_of
from .result import CHECK_STATES, FAIL, FAILED, NOT_RUN, Cause, Pair

# Maximal sets may overlap and be many; the largest come first.
_GROUPS_AT_MOST = 4
_SLOW_BELOW = 0.6


class GroupRun:
    """One group of at least three GPUs on its way through a child."""

    def __init__(self, group: Sequence[int], job: AllToAllJob) -> None:
        self._group = tuple(group)
        self._job = job
        self._told: AllToAll | None = None
        self._trouble = ""

    def run(
        self, child_timeout: float, environment: Mapping[str, str], stuck: dict[int, int]
    ) -> AllToAll:
        """Measure and return the record, which says why where there are no figures.

        Args:
            stuck: see measure_groups.
        """
        with Child(
            child_command(all_to_all.main),
            self._job.to_json(),
            on_event=self._on_event,
            environment=environment,
        ) as child:
            listen([child], child_timeout)
            end = child.end()
        if end.unkillable:
            stuck.update(dict.fromkeys(self._group, end.pid))
        if self._told is not None:
            return self._told
        words = self._trouble
        if not words:
            last = end.said.splitlines()[-1] if end.said else "no message"
            words = (
                f"killed after {child_timeout:g} s"
                if end.timed_out
                else f"the process ended with status {end.status}: {last}"
            )
        if end.unkillable:
            words += f"; process {end.pid} is uninterruptible (state D) and was left"
        return AllToAll(self._group, detail=words)

    def _on_event(self, event: Mapping[str, Any]) -> None:
        reader = Reader(event, "event")
        if event["event"] == protocol.TROUBLE:
            self._trouble = reader.text("detail")
        elif event["event"] == protocol.ALL_TO_ALL:
            each = (float(rate) for rate in reader.array("per_gpu"))
            self._told = AllToAll(
                self._group,
                total=reader.amount("total"),
                spread=reader.optional("spread", reader.amount),
                per_gpu=dict(zip(self._group, each)),
                data=reader.choice("data", CHECK_STATES),
            )


def measure_groups(
    groups: Sequence[Sequence[int]],
    pairs: Mapping[tuple[int, int], Pair],
    crossings: Mapping[tuple[int, int], Crossings],
    addresses: Mapping[int, str],
    *,
    quick: bool,
    copy_bytes: int | None,
    child_timeout: float,
    limit_seconds: float,
    seed: int,
    environment: Mapping[str, str],
    stuck: dict[int, int],
) -> tuple[AllToAll, ...]:
    """Return what the largest groups move with all their GPUs at once.

    Two GPUs have been measured so already: that is their pair's rate in both directions. More
    are by a child of their own, but not where the run is to be quick, or a process hangs.

    Args:
        groups: as groups_of returns them.
        pairs, crossings: by ordered pair.
        addresses: PCI address by index.
        copy_bytes: of each buffer; COPY_BYTES by default.
        child_timeout, limit_seconds, environment: see pair_run and protocol.Job.
        stuck: by GPU index the process that hangs in the kernel there; those to come are added.
    """
    found = []
    for number, group in enumerate(groups[:_GROUPS_AT_MOST]):
        if len(group) == 2:
            record = _of_pair(group, pairs)
        elif quick or any(gpu in stuck for gpu in group):
            continue
        else:
            job = AllToAllJob(
                tuple(addresses[gpu] for gpu in group),
                copy_bytes or COPY_BYTES,
                limit_seconds,
                quick,
                seed_of(seed, number),
            )
            record = GroupRun(group, job).run(child_timeout, environment, stuck)
        limit = contention_of(crossings[pair] for pair in itertools.permutations(group, 2))
        found.append(_beside(record, limit))
    return tuple(found)


def notes_on(records: Sequence[AllToAll]) -> tuple[Cause, ...]:
    """Return what is to be said of groups, in the form of causes."""
    notes = []
    for record in records:
        gpus = ", ".join(str(gpu) for gpu in record.gpus)
        if record.data == FAILED:
            notes.append(
                Cause(
                    "all_to_all_wrong",
                    f"GPUs {gpus}: words are wrong where all write to all others at once",
                    "use fewer of these GPUs together, or set NCCL_P2P_DISABLE=1",
                )
            )
        elif record.detail:
            notes.append(
                Cause(
                    "all_to_all_unmeasured",
                    f"GPUs {gpus}: {record.detail}",
                    "look at dmesg; the pairs are judged without this",
                )
            )
        elif record.fraction is not None and record.fraction < _SLOW_BELOW:
            notes.append(
                Cause(
                    "all_to_all_slow",
                    f"GPUs {gpus}: {record.total:.1f} GB/s together, {record.ceiling:.1f} GB/s "
                    f"would fit the links ({record.bottleneck} is the narrowest)",
                    "programs that use all of them at once are held up by more than their links: "
                    "check NUMA nodes, ACS and the host bridge",
                )
            )
    return tuple(notes)


def verdict_with_groups(verdict: str, records: Sequence[AllToAll]) -> str:
    """Return the host's verdict: wrong data fails it; how fast a group is changes nothing."""
    return FAIL if any(record.data == FAILED for record in records) else verdict


def _of_pair(group: Sequence[int], pairs: Mapping[tuple[int, int], Pair]) -> AllToAll:
    first, second = group
    rates = pairs[(first, second)].bandwidth.on
    if rates.bidi is None:
        return AllToAll(tuple(group), detail="not measured in both directions")
    # By the longer time of the two, so each has half of it.
    half = rates.bidi / 2
    each = {first: half, second: half}
    return AllToAll(
        tuple(group), total=rates.bidi, spread=rates.bidi_spread, per_gpu=each, data=NOT_RUN
    )


def _beside(record: AllToAll, limit: Contention | None) -> AllToAll:
    if limit is None:
        return record
    fraction = None if record.total is None else record.total / limit.gigabytes_per_second
    return AllToAll(
        record.gpus,
        total=record.total,
        spread=record.spread,
        per_gpu=record.per_gpu,
        ceiling=limit.gigabytes_per_second,
        fraction=fraction,
        bottleneck=limit.link,
        sharing=limit.pairs,
        data=record.data,
        detail=record.detail,
    )
