# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One of the two processes of the IPC check: it owns one GPU and does what it is asked there.

As in NCCL and vLLM each process has a context on its own GPU alone. What it owns it exports;
what the other exported it opens and writes to. Requests and answers are plain data, because one
of the two is asked from the other process.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from .._gpu.cuda import Cuda, CudaError
from .._gpu.device import Buffer, MeasurementHung, OpenedBuffer
from .._gpu.kernels import VECTOR_BYTES
from .._host.errors import GpufleetError
from . import payload
from .bench import GUARD_BYTES, Bench
from .conversation import die_with_parent, leave, read_line
from .evidence import WrongWord
from .pattern import POISON_BYTE, Pattern

COPY = "copy"
KERNEL = "kernel"
# Two buffers per process are locked on the host.
_HOST_BYTES = 4 << 20
_KERNELS = ("fill_pattern", "verify_pattern", "bulk_copy")


@dataclass(frozen=True)
class RankJob:
    """Which GPU a process owns, how much it moves, and how long any wait there may take."""

    address: str
    payload_bytes: int
    limit_seconds: float

    def to_json(self) -> str:
        """Return the job as one line of JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> RankJob:
        """Return the job in ``text``, which ``to_json`` made."""
        return cls(**json.loads(text))


class Rank:
    """A GPU with a buffer to export, one to write from, and one to read back into."""

    def __init__(self, job: RankJob) -> None:
        """Open the GPU and allocate.

        Raises:
            CudaError: the driver refused.
            GpufleetError: the GPU is not listed or has too little memory left.
        """
        cuda = Cuda()
        cuda.check("init", 0)
        addresses = (job.address,)
        self._bench = Bench(
            cuda, addresses, job.payload_bytes, job.limit_seconds, _HOST_BYTES, kernels=_KERNELS
        )
        self._side = self._bench.sides[job.address]
        self._back = Buffer(self._side.gpu, self._bench.payload_bytes)
        self._opened: OpenedBuffer | None = None

    def perform(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Do what is asked by name and return the answer.

        Raises:
            CudaError, MeasurementHung.
        """
        action = getattr(self, f"_{request['do']}")
        arguments = {name: value for name, value in request.items() if name != "do"}
        answer: dict[str, Any] = action(**arguments)
        return answer

    def ready(self) -> dict[str, Any]:
        """Return what this process can do: the ways it can write, and how many bytes."""
        ways = [COPY, KERNEL] if self._bench.kernels else [COPY]
        return {"ready": True, "ways": ways, "bytes": self._bench.payload_bytes}

    def _export(self) -> dict[str, Any]:
        return {"handle": self._side.incoming.export().hex()}

    def _open(self, handle: str) -> dict[str, Any]:
        self._opened = OpenedBuffer(self._side.gpu, bytes.fromhex(handle))
        return {}

    def _close(self) -> dict[str, Any]:
        if self._opened is not None:
            self._opened.close()
        self._opened = None
        return {}

    def _poison(self) -> dict[str, Any]:
        incoming = self._side.incoming
        self._side.gpu.fill_bytes(incoming.address, POISON_BYTE, incoming.size)
        return {}

    def _write(self, way: str, seed: int, count: int) -> dict[str, Any]:
        """Write to the opened memory, read it back through the mapping, and compare that."""
        if self._opened is None:
            raise AssertionError("the other's memory is opened before it is written to")
        side, pattern = self._side, payload.pattern_of(self._bench, seed)
        outgoing = side.outgoing.address + GUARD_BYTES
        there = self._opened.address + GUARD_BYTES
        payload.fill(self._bench, side, outgoing, count, pattern)
        self._move(way, there, outgoing, count)
        side.gpu.fill_bytes(self._back.address, POISON_BYTE, count)
        self._move(way, self._back.address, there, count)
        return self._compared(self._back.address, count, pattern)

    def _compare(self, seed: int, count: int) -> dict[str, Any]:
        """Compare what has arrived in this GPU's own memory, and look at the guard bands."""
        side, pattern = self._side, payload.pattern_of(self._bench, seed)
        payload.fill(self._bench, side, side.outgoing.address + GUARD_BYTES, count, pattern)
        answer = self._compared(side.incoming.address + GUARD_BYTES, count, pattern)
        guard = payload.overwritten_guard(self._bench, side, side.incoming, count)
        return {**answer, "guard": None if guard is None else asdict(guard)}

    def _move(self, way: str, target: int, source: int, count: int) -> None:
        side = self._side
        if way == COPY:
            side.stream.copy(target, source, count)
        else:
            side.gpu.launch("bulk_copy", side.stream, target, source, count // VECTOR_BYTES, 1)
        side.stream.finish(f"ipc {way}")

    def _compared(self, address: int, count: int, pattern: Pattern) -> dict[str, Any]:
        """Return what a kernel and the host find wrong; ``outgoing`` holds what is right."""
        side = self._side
        right = (side, side.outgoing.address + GUARD_BYTES)
        wrong = payload.count_wrong_words(self._bench, side, address, count, pattern)
        pieces = payload.pieces_of(count, _HOST_BYTES, count)
        sample = payload.sample_wrong_words(self._bench, right, (side, address), pieces, pattern)
        return {"wrong": wrong, "sample": [asdict(word) for word in sample]}


def failure_of(error: GpufleetError) -> dict[str, Any]:
    """Return an error as an answer; ``number`` is the CUresult, None for another error."""
    number = error.number if isinstance(error, CudaError) else None
    return {"failure": error.read, "number": number, "hung": isinstance(error, MeasurementHung)}


def sample_in(answer: Mapping[str, Any]) -> list[WrongWord]:
    """Return the wrong words in an answer."""
    return [WrongWord(**word) for word in answer["sample"]]


def main(parent: int) -> None:
    """Do what is asked on standard input, one request a line, until it ends."""
    die_with_parent(parent)
    try:
        rank = Rank(RankJob.from_json(read_line()))
        _answer(rank.ready())
        while line := read_line():
            _answer(rank.perform(json.loads(line)))
    except GpufleetError as error:
        _answer(failure_of(error))
    leave()


def _answer(answer: Mapping[str, Any]) -> None:
    sys.stdout.write(json.dumps({"answer": answer}) + "\n")
    sys.stdout.flush()
