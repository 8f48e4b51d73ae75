# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is worth knowing and explains no failure: what could not be read, and what to set."""

from __future__ import annotations

from .gpu_causes import nvlink_notes
from .host_evidence import Evidence
from .link_causes import ports_below_shared, redirect_causes
from .nccl import nccl_notes
from .result import FAIL, PASS, WARN, Cause


def notes_of(evidence: Evidence) -> tuple[Cause, ...]:
    """Return the notes on a run, in the form of causes; each is said once."""
    return (
        *nccl_notes(evidence),
        *nvlink_notes(evidence),
        *_redirects(evidence),
        *_acs_unread(evidence),
        *_kernel_log(evidence),
    )


def _redirects(evidence: Evidence) -> list[Cause]:
    """Return that data of pairs that passed takes the way through the host, too."""
    lacking = [pair for pair in evidence.pairs if pair.verdict in (FAIL, WARN)]
    if redirect_causes(evidence, lacking):
        return []  # told as a cause
    return redirect_causes(evidence, [pair for pair in evidence.pairs if pair.verdict == PASS])


def _acs_unread(evidence: Evidence) -> list[Cause]:
    ports = {port for pair in evidence.pairs for port in ports_below_shared(evidence, pair)}
    unread = sorted(
        port for port in ports if port in evidence.acs and not evidence.acs[port].readable
    )
    if not unread:
        return []
    return [
        Cause(
            "acs_unread",
            f"the extended configuration space of {', '.join(unread)} could not be read, so "
            "whether they redirect peer traffic is unknown",
            "run as root, on the host itself",
        )
    ]


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
