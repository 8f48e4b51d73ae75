# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host showed of itself in one run: all that causes and notes are derived from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from .._host.acs import AcsState
from .._host.kernel_faults import Fault
from .result import Driver, Gpu, Pair


@dataclass(frozen=True)
class KernelWords:
    """The faults that the kernel logged during the run.

    ``read`` is False where the log was closed to us; ``remark`` says why, or what is missing.
    """

    faults: tuple[Fault, ...] = ()
    read: bool = True
    remark: str = ""


@dataclass(frozen=True)
class Evidence:
    """The host as it was during the run, and the pairs as they were judged.

    ``groups`` maps a GPU's bdf to its IOMMU group's number and type; ``shared_bridges`` maps
    ordered pairs to the switch port both GPUs are behind; ``upstream`` maps a GPU's bdf to the
    bridges above it, the nearest first; ``acs`` maps a bridge's bdf to its Access Control Services.
    ``loaded_release`` is the module's release and the file that tells it, ``libraries`` those of
    the libraries by name.
    """

    driver: Driver
    expected_build_id: str | None
    gpus: Sequence[Gpu]
    groups: Mapping[str, tuple[int, str]]
    pairs: Sequence[Pair]
    shared_bridges: Mapping[tuple[int, int], str]
    upstream: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    acs: Mapping[str, AcsState] = field(default_factory=dict)
    kernel: KernelWords = KernelWords()
    loaded_release: tuple[str | None, str] = (None, "")
    libraries: Mapping[str, str] = field(default_factory=dict)


def gpus_of(gpus: Sequence[Gpu], pairs: Iterable[Pair]) -> list[Gpu]:
    """Return the GPUs that are an end of any of the pairs, in the order given."""
    ends = {end for pair in pairs for end in (pair.source, pair.target)}
    return [gpu for gpu in gpus if gpu.index in ends]


def named(gpu: Gpu) -> str:
    """Return a GPU's number and address, as evidence names it."""
    return f"GPU {gpu.index} {gpu.bdf}"
