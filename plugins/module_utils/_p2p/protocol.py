# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What parent and measuring child say to each other: one job in, lines of events out.

The child tells each thing as soon as it knows it, so what it measured before it hung or died is
kept. A job and every event is one JSON object; the classes here are both ends' view of them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from .decode import Reader
from .ipc_codes import IPC_FAILED
from .pair_record import CHECK_STATES, CHECKS, FAILED, PASSED, Correctness

# Event names.
STEP = "step"
CAPABILITY = "capability"
CHECK = "check"
JUDGEMENT = "judgement"
NO_KERNELS = "no_kernels"
UNDER_LOAD = "under_load"
RATE = "rate"
TIME = "time"
IPC = "ipc"
ALL_TO_ALL = "all_to_all"
# The child has done what it may do beside others, and waits for a line of directions to go on.
WAITING = "waiting"
TROUBLE = "trouble"
FINISHED = "finished"


def directions_to_json(directions: Iterable[tuple[int, int]]) -> str:
    """Return the line that lets a waiting child go on with these directions."""
    return json.dumps([list(direction) for direction in directions])


def directions_from_json(text: str) -> tuple[tuple[int, int], ...]:
    """Return the directions in a line; none where the parent wrote none any more."""
    return tuple((source, target) for source, target in json.loads(text or "[]"))


@dataclass(frozen=True)
class Job:
    """What one child measures.

    Attributes:
        addresses: PCI addresses of the two GPUs.
        directions: ordered pairs of positions in ``addresses``.
        payload_bytes: what each check moves; less where free memory is short.
        copy_bytes: most that one copy of a bandwidth sample moves; likewise.
        limit_seconds: for any one wait on a GPU.
        quick: whether sampling.QUICK is the effort.
        seed: of this pair's patterns.
        extent_bytes, extent_seconds: see correctness.Extent.
        pairs: how many the run measures; see sampling.Effort.shared_by.
    """

    addresses: tuple[str, str]
    directions: tuple[tuple[int, int], ...]
    payload_bytes: int
    copy_bytes: int
    limit_seconds: float
    quick: bool
    seed: int
    extent_bytes: int = 0
    extent_seconds: float = 0.0
    pairs: int = 1

    def to_json(self) -> str:
        """Return the job as JSON text."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Job:
        """Return the job in ``text``, which ``to_json`` made."""
        data: dict[str, Any] = json.loads(text)
        first, second = data["addresses"]
        directions = tuple((source, target) for source, target in data["directions"])
        return cls(**{**data, "addresses": (first, second), "directions": directions})


@dataclass
class Measurement:
    """All that is known of one ordered pair; None where it was not measured.

    ``trouble`` is the reason code that ended it early, ``detail`` what was seen, ``step`` the
    last step that began, ``no_kernels`` the code of why only copy engines were judged,
    ``ipc_code`` the reason code of the check between two processes. Rates are GB/s, named as
    ``on_uni`` and ``sm_read_bidi``, with their spreads (see result.Rates) under the same names;
    times are microseconds.
    """

    cuda_capability: bool | None = None
    correctness: Correctness = field(default_factory=Correctness)
    data_code: str | None = None
    ipc_code: str | None = None
    trouble: str | None = None
    detail: str = ""
    step: str = ""
    no_kernels: str | None = None
    payload_bytes: int | None = None
    rates: dict[str, float] = field(default_factory=dict)
    spreads: dict[str, float | None] = field(default_factory=dict)
    times: dict[str, float] = field(default_factory=dict)

    @property
    def is_settled(self) -> bool:
        """Whether a child that ended early need not be followed by another for this pair."""
        return (
            self.cuda_capability is False
            or self.data_code is not None
            or self.ipc_code == IPC_FAILED
            or self.trouble is not None
            or bool(self.rates)
        )

    @property
    def is_right(self) -> bool:
        """Whether the checks ran, none found wrong data, and nothing ended them early."""
        states = self.correctness.states().values()
        return PASSED in states and FAILED not in states and self.trouble is None

    def take(self, event: Mapping[str, Any]) -> None:
        """Add what an event of this pair tells.

        Raises:
            MalformedResult: the event does not have its shape.
        """
        reader = Reader(event, "event")
        kind = reader.text("event")
        if kind == STEP:
            self.step = reader.text("name")
        elif kind == CAPABILITY:
            self.cuda_capability = reader.flag("cuda")
        elif kind == NO_KERNELS:
            self.no_kernels = reader.text("code")
        elif kind == CHECK:
            name, state = reader.choice("name", CHECKS), reader.choice("state", CHECK_STATES)
            self.correctness = Correctness.of({**self.correctness.states(), name: state})
        elif kind == JUDGEMENT:
            self.correctness = Correctness.of(
                {name: reader.choice(name, CHECK_STATES) for name in CHECKS},
                reader.optional("first_bad_offset", reader.integer),
                reader.optional("pattern_bytes", reader.integer),
            )
            self.data_code = reader.optional("code", reader.text)
            self.detail = reader.text("detail")
            self.payload_bytes = reader.integer("payload_bytes")
        elif kind == IPC:
            self._take_ipc(reader)
        elif kind == RATE:
            self.rates[reader.text("name")] = reader.number("value")
            self.spreads[reader.text("name")] = reader.optional("spread", reader.amount)
        elif kind == TIME:
            self.times[reader.text("name")] = reader.number("value")
        elif kind == TROUBLE:
            self.trouble = reader.text("code")
            self.detail = reader.text("detail")

    def _take_ipc(self, reader: Reader) -> None:
        self.correctness = replace(
            self.correctness,
            ipc=reader.choice("state", CHECK_STATES),
            first_bad_offset=reader.optional("first_bad_offset", reader.integer),
        )
        self.ipc_code = reader.optional("code", reader.text)
        self.detail = reader.text("detail") or self.detail
