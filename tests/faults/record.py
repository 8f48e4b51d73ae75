# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What became of the injected faults: a JSON file that grows, and the table made of it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ansible_collections.gpufleet.p2p.plugins.module_utils._host.errors import GpufleetError
from ansible_collections.gpufleet.p2p.plugins.module_utils._host.files import (
    atomic_write,
    read_text,
)

SCHEMA = 1
PRODUCT = "product"
DISK = "disk"
BOOT = "boot"
#: Drivers that a host may be found with, and be called kept.
KEPT = ("old", "new")


class RecordInvalid(GpufleetError):
    """A file is no record of faults, or one of another kind of run."""


@dataclass(frozen=True)
class Outcome:
    """One fault and what became of its host.

    Attributes:
        id: kind, subject, release and place; two faults with one id are the same fault.
        kind: what was injected.
        subject: what was changing the host: the product, or a control.
        release: the guest's Debian release.
        where: the place: step, entry of the log, and what reproduces it.
        reached: whether a login worked after one power cycle, without the console.
        driver: old, new, mixed, or none loaded; empty for a host that was not reached.
        detail: what the console or the run showed, in a few words.
        seconds: what the fault took, judgement included.
        judged: how the host was judged: ``disk`` by what its disk holds, without a boot, or
            ``boot`` by booting it.
        healed: whether a run that came after the fault went through, all of its modules, and the
            host was kept; None where no run came after.
    """

    id: str
    kind: str
    subject: str
    release: str
    where: Mapping[str, Any]
    reached: bool
    driver: str
    detail: str
    seconds: float
    judged: str
    healed: bool | None = None

    @property
    def lost(self) -> bool:
        """Whether the host cannot be reached with the old or the new driver."""
        return not (self.reached and self.driver in KEPT)


@dataclass
class Record:
    """All outcomes of one or several runs, and the seeds that they were drawn by."""

    outcomes: list[Outcome] = field(default_factory=list)
    runs: list[dict[str, Any]] = field(default_factory=list)

    def add(self, outcome: Outcome) -> None:
        """Take in an outcome; one of the same fault is replaced."""
        self.outcomes = [old for old in self.outcomes if old.id != outcome.id] + [outcome]

    def ids(self) -> set[str]:
        """Return the ids of the faults that were injected."""
        return {outcome.id for outcome in self.outcomes}

    def summary(self) -> dict[str, Any]:
        """Return the figures that are claimed."""
        product = [one for one in self.outcomes if one.subject == PRODUCT]
        controls = [one for one in self.outcomes if one.subject != PRODUCT]
        return {
            "faults": len(product),
            "kinds": len({one.kind for one in product}),
            "releases": sorted({one.release for one in product}),
            "hosts_lost": sum(one.lost for one in product),
            "reruns": sum(one.healed is not None for one in product),
            "reruns_that_did_not_heal": sum(one.healed is False for one in product),
            "control_faults": len(controls),
            "controls_lost": sum(one.lost for one in controls),
            "booted": sum(one.judged == BOOT for one in self.outcomes),
        }

    def begin(self, release: str, product: str) -> None:
        """Note which product is run on a release; what is recorded of another one is forgotten."""
        run = {"release": release, "product": product}
        if run not in self.runs:
            self.runs = [old for old in self.runs if old["release"] != release] + [run]
            self.outcomes = [one for one in self.outcomes if one.release != release]

    def write(self, path: Path) -> None:
        """Write the record; a reader sees the former or this one, whole."""
        document = {
            "schema": SCHEMA,
            "summary": self.summary(),
            "runs": self.runs,
            "faults": [
                {**asdict(outcome), "lost": outcome.lost}
                for outcome in sorted(self.outcomes, key=lambda one: one.id)
            ],
        }
        atomic_write(path, (json.dumps(document, indent=1) + "\n").encode(), mode=0o644)


def read_record(path: Path) -> Record:
    """Return the record in a file; an empty one where there is no file.

    Raises:
        RecordInvalid: the file holds something else.
    """
    text = read_text(path)
    if text is None:
        return Record()
    try:
        document = json.loads(text)
        if document["schema"] != SCHEMA:
            raise ValueError(f"schema {document['schema']}")
        outcomes = [
            Outcome(**{name: value for name, value in fault.items() if name != "lost"})
            for fault in document["faults"]
        ]
        return Record(outcomes, list(document["runs"]))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise RecordInvalid(
            "fault_record_invalid",
            read=f"{path}: {error}",
            want=f"a record of schema {SCHEMA}",
            remedy="name another file with --resume",
        ) from error


def table(outcomes: Iterable[Outcome]) -> str:
    """Return a line per kind: faults and hosts lost, for the product and for each control."""
    outcomes = list(outcomes)
    subjects = _subjects(outcomes)
    faults = Counter((one.kind, one.subject) for one in outcomes)
    lost = Counter((one.kind, one.subject) for one in outcomes if one.lost)
    kinds = sorted({one.kind for one in outcomes})
    rows = [["kind", *subjects]]
    rows += [[kind, *(_cell(faults, lost, kind, name) for name in subjects)] for kind in kinds]
    rows.append(
        [
            "all",
            *(
                f"{sum(one.lost for one in outcomes if one.subject == name)} of "
                f"{sum(one.subject == name for one in outcomes)}"
                for name in subjects
            ),
        ]
    )
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["hosts lost of hosts faulted"]
    for row in rows:
        cells = [row[0].ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def _subjects(outcomes: Sequence[Outcome]) -> list[str]:
    controls = sorted({one.subject for one in outcomes} - {PRODUCT})
    return [PRODUCT, *controls]


def _cell(
    faults: Mapping[tuple[str, str], int],
    lost: Mapping[tuple[str, str], int],
    kind: str,
    subject: str,
) -> str:
    number = faults.get((kind, subject), 0)
    return f"{lost.get((kind, subject), 0)} of {number}" if number else "-"
