# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is worth knowing and explains no failure: what could not be read, and what to set."""

from __future__ import annotations

from .host_evidence import Evidence
from .result import Cause


def notes_of(evidence: Evidence) -> tuple[Cause, ...]:
    """Return the notes on a run, in the form of causes; each is said once."""
    return tuple(_kernel_log(evidence))


def _kernel_log(evidence: Evidence) -> list[Cause]:
    words = evidence.kernel
    if not words.remark:
        return []
    if words.read:
        return [Cause("kernel_log_incomplete", words.remark, "look at dmesg for what is missing")]
    return [
        Cause(
            "kernel_log_unread",
            words.remark,
            "run as root, so that faults the kernel logs during the run are seen",
        )
    ]
