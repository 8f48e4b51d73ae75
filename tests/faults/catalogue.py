# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every fault that strikes a step, and the order in which steps are struck."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from .as_found import found_faults
from .controllers import controller_faults
from .fault import Fault
from .other_programs import program_faults
from .stages import Stage
from .strikes import host_faults


def catalogue() -> Iterator[Fault]:
    """Yield every fault that is injected into a step: one of each kind, then another of each."""
    kinds: dict[str, list[Fault]] = {}
    every = itertools.chain(host_faults(), program_faults(), found_faults(), controller_faults())
    for fault in every:
        kinds.setdefault(fault.kind, []).append(fault)
    for round_ in itertools.zip_longest(*kinds.values()):
        yield from (fault for fault in round_ if fault is not None)


def dealt_out(before: list[Stage]) -> Iterator[tuple[Fault, Stage]]:
    """Yield faults with the steps that they strike: in the first round each fault one step."""
    faults = [
        (fault, [stage for stage in before if fault.hits(stage.step)]) for fault in catalogue()
    ]
    for shift in range(len(before)):
        for number, (fault, struck) in enumerate(faults):
            if shift < len(struck):
                yield fault, struck[(number + shift) % len(struck)]
