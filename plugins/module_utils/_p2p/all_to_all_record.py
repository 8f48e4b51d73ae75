# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a group of GPUs moves when each writes to every other at the same time, as recorded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .decode import Reader, malformed

_DATA_STATES = ("passed", "failed", "not_run")


@dataclass(frozen=True)
class AllToAll:
    """One group, all of it writing at once, by copy engines. Bandwidth is in GB/s.

    Attributes:
        gpus: indices, as in a group.
        total: of all together, by the longest time of any; None where it was not measured.
        spread: of total, see Rates.
        per_gpu: what each GPU wrote, by index, by its own time.
        ceiling: what the links carry at most with this traffic, see contention.py.
        fraction: total / ceiling.
        bottleneck: the link that sets the ceiling: PCI address of its lower end and ``up`` or
            ``down``, or ``nvlink`` and whose.
        sharing: how many ordered pairs cross it.
        data: whether the owners found right what all had written at once; not_run for two GPUs,
            whose pair was checked, and where kernels cannot run.
        detail: why there are no figures.
    """

    gpus: tuple[int, ...]
    total: float | None = None
    spread: float | None = None
    per_gpu: Mapping[int, float] = field(default_factory=dict)
    ceiling: float | None = None
    fraction: float | None = None
    bottleneck: str | None = None
    sharing: int | None = None
    data: str = "not_run"
    detail: str = ""

    @property
    def per_pair(self) -> float | None:
        """What each ordered pair moves while all do: total over their number."""
        pairs = len(self.gpus) * (len(self.gpus) - 1)
        return self.total / pairs if self.total is not None and pairs else None

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return {
            "gpus": list(self.gpus),
            "unit": "GB/s",
            "total": self.total,
            "spread": self.spread,
            "per_gpu": {str(gpu): rate for gpu, rate in self.per_gpu.items()},
            "ceiling": self.ceiling,
            "fraction": self.fraction,
            "bottleneck": self.bottleneck,
            "sharing": self.sharing,
            "data": self.data,
            "detail": self.detail,
        }

    @classmethod
    def read(cls, reader: Reader) -> AllToAll:
        """Return the record; raises MalformedResult, also where rates are of other GPUs."""
        reader.choice("unit", ("GB/s",))
        gpus = reader.integers("gpus")
        rates = reader.child("per_gpu")
        names = {str(gpu): gpu for gpu in gpus}
        unknown = [name for name in reader.value("per_gpu") if name not in names]
        if unknown:
            raise malformed(reader.at("per_gpu"), unknown, f"indices of {list(gpus)}")
        return cls(
            gpus,
            total=reader.optional("total", reader.amount),
            spread=reader.optional("spread", reader.amount),
            per_gpu={gpu: rates.amount(name) for name, gpu in names.items() if rates.has(name)},
            ceiling=reader.optional("ceiling", reader.amount),
            fraction=reader.optional("fraction", reader.amount),
            bottleneck=reader.optional("bottleneck", reader.text),
            sharing=reader.optional("sharing", reader.integer),
            data=reader.choice("data", _DATA_STATES),
            detail=reader.text("detail"),
        )
