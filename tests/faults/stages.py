# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The disk before each step of a subject, so that a fault strikes one step without the others."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible_collections.gpufleet.p2p.plugins.module_utils._host.files import atomic_write

from .guest_disk import entered
from .scratch import Scratch
from .subjects import Step
from .tracing import Known, next_boot


@dataclass(frozen=True)
class Stage:
    """A step, the disk before it, the command line that the host runs with, and what steps left."""

    step: Step
    disk: Path
    cmdline: str
    notes: dict[str, Any]


def stages(
    base: Path, steps: Sequence[Step], directory: Path, scratch: Scratch, known: Known
) -> list[Stage]:
    """Return the stages of a subject, made once and kept.

    Args:
        base: the disk that the subject begins with.
        steps: the subject's.
        directory: keeps what is no disk.
        scratch: keeps the disks.
        known: takes in what whole states look like, so that a trace is not needed for it.
    """
    directory.mkdir(parents=True, exist_ok=True)
    kept = directory / f"stages-{base.stem}.json"
    names = [f"{base.stem}-{directory.name}-{number}.raw" for number in range(len(steps))]
    disks = [scratch.directory / name for name in names]
    if not (kept.exists() and all(disk.exists() for disk in disks)):
        _make(base, dict(zip(disks, steps, strict=True)), scratch, kept, known)
    document = json.loads(kept.read_text())
    known.boot, known.drivers = document["known"]["boot"], document["known"]["drivers"]
    known.root = document["known"]["root"]
    notes = document["notes"]
    return [
        Stage(step, disk, cmdline, notes)
        for step, disk, cmdline in zip(steps, disks, document["cmdlines"], strict=True)
    ]


def _make(
    base: Path, steps: Mapping[Path, Step], scratch: Scratch, kept: Path, known: Known
) -> None:
    notes: dict[str, Any] = {"seconds": {}}
    cmdlines, cmdline = [], ""
    with scratch.borrowed(base) as disk:
        point = kept.with_name("root")
        for number, (stage, step) in enumerate(steps.items()):
            with entered(disk, point, cmdline) as host:
                if number == 0:
                    known.take_in(host)
                if step.restart or number == 0:
                    cmdline = next_boot(host)
                if number == 0:
                    known.root = next(w for w in cmdline.split() if w.startswith("root="))[5:]
            cmdlines.append(cmdline)
            scratch.copy(disk, f"{stage.name}.partial").replace(stage)
            with entered(disk, point, cmdline) as host:
                began = time.monotonic()
                step.act(host, notes)
                notes["seconds"][step.name] = time.monotonic() - began
                known.take_in(host)
    document = {
        "cmdlines": cmdlines,
        "notes": notes,
        "known": {"root": known.root, "boot": known.boot, "drivers": known.drivers},
    }
    atomic_write(kept, json.dumps(document, indent=1).encode())
