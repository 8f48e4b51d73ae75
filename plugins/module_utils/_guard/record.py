# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The record of the last good verification, which the guard compares the host with."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from .._host.errors import GpufleetError
from .._host.files import read_text
from .._host.foreign_text import parse_json
from .places import RECORD, below

_SCHEMA = 1
_GOOD = ("pass", "warn")


class RecordUnusable(GpufleetError):
    """What should be recorded is not a verification that passed."""


@dataclass(frozen=True)
class GpuState:
    """One GPU: address, IOMMU group type ("none" without one), largest memory BAR in bytes."""

    bdf: str
    iommu: str
    bar_bytes: int


@dataclass(frozen=True)
class HostState:
    """What decides whether peer-to-peer works, as read from the running host.

    Attributes:
        kernel: release of the running kernel.
        parameters: the command line's parameters that concern IOMMU and PCI, in order.
        driver_version, build_id: of the loaded nvidia module; None where it is not loaded.
        userspace_version: of libcuda or libnvidia-ml; None where neither is.
        gpus: by address.
        registry: keys that the loaded module has, as NAME=VALUE; None in a record of a release
            that did not note them.
    """

    kernel: str
    parameters: tuple[str, ...]
    driver_version: str | None
    build_id: str | None
    userspace_version: str | None
    gpus: tuple[GpuState, ...]
    registry: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Record:
    """A host's state when its verification passed.

    ``groups`` are the sets of GPUs (addresses) that all reached each other; ``verified_at`` is
    when this state was first verified, in seconds since 1970.
    """

    state: HostState
    groups: tuple[tuple[str, ...], ...]
    verdict: str
    verified_at: float

    def as_json(self) -> bytes:
        """Return the record as it stands in its file."""
        when = datetime.fromtimestamp(self.verified_at, timezone.utc)
        fields = {
            "schema": _SCHEMA,
            "verified_at": when.isoformat(timespec="seconds"),
            "verdict": self.verdict,
            "groups": [list(group) for group in self.groups],
            "state": asdict(self.state),
        }
        return (json.dumps(fields, indent=2) + "\n").encode()

    def same_as(self, other: Record | None) -> bool:
        """Whether the host is in the same state: time and verdict (pass or warn) do not count."""
        return other is not None and (self.state, self.groups) == (other.state, other.groups)


def parse(text: str) -> Record | None:
    """Return the record in a file's text, None where it is not one."""
    try:
        fields = parse_json(text)
        if fields["schema"] != _SCHEMA:
            return None
        state = fields["state"]
        gpus = tuple(GpuState(**gpu) for gpu in state.pop("gpus"))
        parameters = tuple(map(str, state.pop("parameters")))
        keys = state.pop("registry", None)
        registry = None if keys is None else tuple(map(str, keys))
        return Record(
            state=HostState(gpus=gpus, parameters=parameters, registry=registry, **state),
            groups=tuple(tuple(map(str, group)) for group in fields["groups"]),
            verdict=str(fields["verdict"]),
            verified_at=datetime.fromisoformat(fields["verified_at"]).timestamp(),
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def read_record(root: Path = Path("/")) -> Record | None:
    """Return the record, None where there is none or it cannot be understood."""
    text = read_text(below(root, RECORD))
    return None if text is None else parse(text)


def record_of(result: Mapping[str, Any], state: HostState, now: float) -> Record:
    """Return the record of a verification.

    Args:
        result: what p2p_verify returned as ``p2p`` (schema 1).
        state: the host as it is, read after it.
        now: seconds since 1970.

    Raises:
        RecordUnusable: its verdict is not one to be kept to.
    """
    verdict = str(result.get("verdict"))
    if verdict not in _GOOD:
        raise RecordUnusable(
            "verification_not_passed",
            read=f"verdict {verdict}",
            want=f"one of {', '.join(_GOOD)}",
            remedy="mend what the verification names, then record it",
        )
    bdf = {int(gpu["index"]): str(gpu["bdf"]) for gpu in result["gpus"]}
    return Record(state, _groups(result["groups"], bdf), verdict, float(int(now)))


def _groups(groups: Sequence[Sequence[int]], bdf: Mapping[int, str]) -> tuple[tuple[str, ...], ...]:
    named = (tuple(bdf[int(index)] for index in group) for group in groups)
    return tuple(group for group in named if len(group) > 1)
