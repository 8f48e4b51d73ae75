# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The result of p2p_verify, schema version 1: the one contract of module, report and Python face.

Every class has ``to_dict()`` (plain JSON data) and ``from_dict()`` (validated; raises
MalformedResult, a GpufleetError that names the place). Units: bandwidth in GB/s with GB = 1e9
bytes, latency in microseconds, sizes and offsets in bytes, wall time in seconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .all_to_all_record import AllToAll
from .decode import Reader, malformed
from .gpu_record import Driver, Gpu, GpuCounters, GpuLink, GpuProcess, GpuState
from .pair_record import (
    CHECK_STATES,
    CHECKS,
    COPIES,
    DIRECT_WAYS,
    FAIL,
    FAILED,
    NOT_APPLICABLE,
    NOT_RUN,
    PAIR_VERDICTS,
    PASS,
    PASSED,
    WARN,
    WAYS,
    Bandwidth,
    Capability,
    Correctness,
    Hop,
    Latency,
    NcclUse,
    Pair,
    Rates,
)

# One import for all users of the result, wherever its parts are kept.
__all__ = [
    "CHECKS",
    "CHECK_STATES",
    "COPIES",
    "DIRECT_WAYS",
    "FAIL",
    "FAILED",
    "HOST_VERDICTS",
    "NOT_APPLICABLE",
    "NOT_RUN",
    "NO_IOMMU",
    "PAIR_VERDICTS",
    "PASS",
    "PASSED",
    "SCHEMA_VERSION",
    "WARN",
    "WAYS",
    "AllToAll",
    "Bandwidth",
    "Capability",
    "Cause",
    "Correctness",
    "Driver",
    "Gpu",
    "GpuCounters",
    "GpuLink",
    "GpuProcess",
    "GpuState",
    "Hop",
    "Latency",
    "NcclUse",
    "Pair",
    "Rates",
    "Result",
]

SCHEMA_VERSION = 1
HOST_VERDICTS = (PASS, WARN, FAIL)
NO_IOMMU = "none"


@dataclass(frozen=True)
class Cause:
    """Why pairs failed or are slow: a stable code, what was read, and what to do."""

    code: str
    evidence: str
    remedy: str

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return {"code": self.code, "evidence": self.evidence, "remedy": self.remedy}

    @classmethod
    def read(cls, reader: Reader) -> Cause:
        return cls(reader.text("code"), reader.text("evidence"), reader.text("remedy"))


@dataclass(frozen=True)
class Result:
    """Everything p2p_verify found on one host.

    Attributes:
        host: the host's own name (uname nodename).
        kernel: running release; cmdline: /proc/cmdline.
        iommu_groups: GPU's bdf to the type of its IOMMU group as the kernel words it
            (``identity``, ``DMA``, ``DMA-FQ``, ``unknown``) or ``none`` where there is no IOMMU.
            In JSON: ``iommu.gpu_groups``.
        gpus: ordered by index; pairs: every ordered pair that was looked at.
        groups: largest sets of GPU indices in which every ordered pair passed or warned, each of
            at least two, for CUDA_VISIBLE_DEVICES.
        all_to_all: what groups move with all their GPUs at once, the largest group first.
        notes: what is worth knowing and explains no failure, in the form of causes.
        buffer_bytes: bytes each check moved.
        wall_seconds: duration of the whole run.
    """

    host: str
    driver: Driver
    kernel: str
    cmdline: str
    iommu_groups: Mapping[str, str]
    gpus: tuple[Gpu, ...]
    pairs: tuple[Pair, ...]
    groups: tuple[tuple[int, ...], ...]
    causes: tuple[Cause, ...]
    verdict: str
    buffer_bytes: int
    wall_seconds: float
    notes: tuple[Cause, ...] = ()
    all_to_all: tuple[AllToAll, ...] = ()

    def pair(self, source: int, target: int) -> Pair | None:
        """Return the ordered pair, or None where it was not looked at."""
        for pair in self.pairs:
            if (pair.source, pair.target) == (source, target):
                return pair
        return None

    def to_dict(self) -> dict[str, Any]:
        """Return the record as plain JSON data, with ``schema``: 1."""
        return {
            "schema": SCHEMA_VERSION,
            "host": self.host,
            "driver": self.driver.to_dict(),
            "kernel": self.kernel,
            "cmdline": self.cmdline,
            "iommu": {"gpu_groups": dict(self.iommu_groups)},
            "gpus": [gpu.to_dict() for gpu in self.gpus],
            "pairs": [pair.to_dict() for pair in self.pairs],
            "groups": [list(group) for group in self.groups],
            "all_to_all": [group.to_dict() for group in self.all_to_all],
            "causes": [cause.to_dict() for cause in self.causes],
            "notes": [note.to_dict() for note in self.notes],
            "verdict": self.verdict,
            "buffer_bytes": self.buffer_bytes,
            "wall_seconds": self.wall_seconds,
        }

    @classmethod
    def from_dict(cls, data: object) -> Result:
        """Return the Result in ``data``.

        Raises:
            MalformedResult: another schema version, a missing key, a value of another type, or a
                pair or group that names a GPU which is not listed.
        """
        reader = Reader(data, "")
        if reader.integer("schema") != SCHEMA_VERSION:
            raise malformed("schema", reader.value("schema"), f"schema version {SCHEMA_VERSION}")
        result = cls(
            host=reader.text("host"),
            driver=Driver.read(reader.child("driver")),
            kernel=reader.text("kernel"),
            cmdline=reader.text("cmdline"),
            iommu_groups=reader.child("iommu").text_map("gpu_groups"),
            gpus=tuple(Gpu.read(item) for item in reader.children("gpus")),
            pairs=tuple(Pair.read(item) for item in reader.children("pairs")),
            groups=_groups(reader),
            causes=tuple(Cause.read(item) for item in reader.children("causes")),
            verdict=reader.choice("verdict", HOST_VERDICTS),
            buffer_bytes=reader.integer("buffer_bytes"),
            wall_seconds=reader.number("wall_seconds"),
            notes=tuple(Cause.read(item) for item in reader.children("notes"))
            if reader.has("notes")
            else (),
            all_to_all=tuple(AllToAll.read(item) for item in reader.children("all_to_all"))
            if reader.has("all_to_all")
            else (),
        )
        result._refuse_unknown_gpus()
        return result

    def _refuse_unknown_gpus(self) -> None:
        known = {gpu.index for gpu in self.gpus}
        named = [(f"pairs {p.source}>{p.target}", {p.source, p.target}) for p in self.pairs]
        named += [(f"group {list(group)}", set(group)) for group in self.groups]
        named += [(f"all_to_all {list(each.gpus)}", set(each.gpus)) for each in self.all_to_all]
        for place, indices in named:
            if not indices <= known:
                raise malformed(place, sorted(indices - known), f"GPU indices of {sorted(known)}")


def _groups(reader: Reader) -> tuple[tuple[int, ...], ...]:
    groups = []
    for position, item in enumerate(reader.array("groups")):
        inner = Reader({"group": item}, f"groups[{position}]")
        groups.append(inner.integers("group"))
    return tuple(groups)
