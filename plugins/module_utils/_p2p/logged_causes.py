# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Causes that the host itself recorded while the pairs were measured, with its own words.

They are told whatever the verdict: a transfer may be right after a link or a memory erred.
"""

from __future__ import annotations

from collections.abc import Sequence

from .._host.iommu import IDENTITY
from .._host.kernel_faults import DRIVER_MESSAGE, IOMMU_FAULT, PCIE_ERROR, XID, Fault
from .host_evidence import Evidence, gpus_of, named
from .result import FAIL, Cause, Gpu

_LINES_AT_MOST = 3
_CHARACTERS_AT_MOST = 200

_LOOK_UP = "look the number up in NVIDIA's catalogue of Xid errors"
_MEMORY = "the GPU's memory errs: look at nvidia-smi -q -d ECC,ROW_REMAPPER and replace the card"
_XID_REMEDIES = {
    31: "a kernel or copy used an address that is not mapped: use another driver build",
    32: "the GPU read a corrupted command from the bus: check the riser and the slot",
    38: "the driver's firmware refused: use another driver build",
    48: _MEMORY,
    63: _MEMORY,
    64: _MEMORY,
    74: "an NVLink erred: reseat the bridge",
    79: "the GPU fell off the bus: check its power cables, its riser and its temperature",
    92: _MEMORY,
    94: _MEMORY,
    95: _MEMORY,
    119: "the GPU's firmware stopped answering: reset the GPU or reboot",
    120: "the GPU's firmware erred: reset the GPU or reboot",
}


def iommu_faults(evidence: Evidence) -> list[Cause]:
    """Return the cause of accesses that the IOMMU refused to the GPUs."""
    kinds = {evidence.groups[gpu.bdf][1] for gpu in evidence.gpus if gpu.bdf in evidence.groups}
    remedy = (
        "the groups pass addresses through, so the IOMMU refuses these for another reason: turn "
        "off DMA protection in the firmware, and move the cards behind one root port or switch"
        if kinds == {IDENTITY}
        else "boot with iommu=pt (role iommu_passthrough): the GPUs reach for addresses that the "
        "IOMMU does not map"
    )
    return _cause("iommu_fault", _lines(evidence, IOMMU_FAULT, with_bridges=True), remedy)


def logged_causes(evidence: Evidence) -> list[Cause]:
    """Return the causes that the kernel's other messages give."""
    xids = [fault for fault in evidence.kernel.faults if fault.kind == XID]
    ours = [fault for fault in xids if fault.concerns(gpu.bdf for gpu in evidence.gpus)]
    numbers = list(dict.fromkeys(fault.number for fault in ours if fault.number is not None))
    remedies = dict.fromkeys(_XID_REMEDIES.get(number, _LOOK_UP) for number in numbers)
    causes = [
        *_cause(
            "pcie_error",
            _lines(evidence, PCIE_ERROR, with_bridges=True),
            "reseat the card, change the riser or cable, or set the slot to a lower generation",
        ),
        *_cause("xid", _lines(evidence, XID, with_bridges=False), "; ".join(remedies)),
    ]
    if any(pair.verdict == FAIL for pair in evidence.pairs):
        causes += _driver_messages(evidence)
    return causes


def _driver_messages(evidence: Evidence) -> list[Cause]:
    """Return what else the driver said, which means something only where a pair failed."""
    bdfs = [gpu.bdf for gpu in gpus_of(evidence.gpus, evidence.pairs)]
    said = [
        _cut(fault.text)
        for fault in evidence.kernel.faults
        if fault.kind == DRIVER_MESSAGE and (not fault.devices or fault.concerns(bdfs))
    ]
    return _cause(
        "driver_message",
        list(dict.fromkeys(said)),
        "search for the driver's words together with its version; use another driver build",
    )


def _lines(evidence: Evidence, kind: str, *, with_bridges: bool) -> list[str]:
    """Return the distinct messages of a kind that concern a GPU, each after the GPU's name."""
    found: dict[str, None] = {}
    for fault in evidence.kernel.faults:
        gpu = _concerned(evidence, fault, with_bridges) if fault.kind == kind else None
        if gpu is not None:
            found.setdefault(f"{named(gpu)}: {_cut(fault.text)}")
    return list(found)


def _concerned(evidence: Evidence, fault: Fault, with_bridges: bool) -> Gpu | None:
    for gpu in evidence.gpus:
        if fault.concerns([gpu.bdf]):
            return gpu
    if with_bridges:
        for gpu in evidence.gpus:
            if fault.concerns(evidence.upstream.get(gpu.bdf, ())):
                return gpu
    return None


def _cause(code: str, lines: Sequence[str], remedy: str) -> list[Cause]:
    if not lines:
        return []
    shown = "; ".join(lines[:_LINES_AT_MOST])
    more = len(lines) - _LINES_AT_MOST
    return [Cause(code, f"{shown}; and {more} more" if more > 0 else shown, remedy)]


def _cut(text: str) -> str:
    words = " ".join(text.split())
    return words if len(words) <= _CHARACTERS_AT_MOST else words[: _CHARACTERS_AT_MOST - 1] + "…"
