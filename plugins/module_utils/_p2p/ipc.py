# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether data arrives between two processes, each with a GPU of its own, by CUDA IPC.

This is how NCCL and vLLM move data. One process exports memory of its GPU, the other opens it
and writes to it by copy engine and by kernel; the owner compares what arrived, the initiator
what it reads back. The memory is that of cuMemAlloc: pools and virtual memory need other handles.
This process owns the first GPU of the job and starts the one that owns the second.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

from .._gpu.cuda import MAP_FAILED, PEER_ACCESS_UNSUPPORTED, TOO_MANY_PEERS
from .._host.errors import GpufleetError
from . import ipc_rank, protocol
from .child import child_command
from .conversation import die_with_parent, leave, read_line, tell
from .evidence import Finding, classify
from .ipc_codes import IPC_FAILED, IPC_UNSUPPORTED
from .ipc_rank import KERNEL, Rank, RankJob, failure_of, sample_in
from .pair_record import FAILED, NOT_RUN, PASSED
from .pattern import DevicePattern, HostPattern, Pattern, seed_of

# Enough for an alias at 2 MiB to show; the pair has moved more within one process already.
PAYLOAD_BYTES = 8 << 20
_ROUNDS = 2
# Of these the GPUs' link is the reason, not whether processes may share: NCCL fails on them.
_LINK_ERRORS = (MAP_FAILED, PEER_ACCESS_UNSUPPORTED, TOO_MANY_PEERS)
# Beyond the limit of the wait on the GPU that the other process is in.
_ANSWER_SLACK_SECONDS = 5.0
_READ_BYTES = 65536


@dataclass(frozen=True)
class IpcJob:
    """The two GPUs by PCI address, the limit of any wait on one, and the seed of the patterns."""

    addresses: tuple[str, str]
    payload_bytes: int
    limit_seconds: float
    seed: int

    def to_json(self) -> str:
        """Return the job as one line of JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> IpcJob:
        """Return the job in ``text``, which ``to_json`` made."""
        data = json.loads(text)
        first, second = data["addresses"]
        return cls(**{**data, "addresses": (first, second)})

    def rank(self, position: int) -> RankJob:
        """Return the job of the process that owns the GPU at this position."""
        return RankJob(self.addresses[position], self.payload_bytes, self.limit_seconds)


class _Refused(Exception):
    """A process could not do what it was asked; ``answer`` is failure_of what stopped it."""

    def __init__(self, answer: Mapping[str, Any]) -> None:
        super().__init__(answer["failure"])
        self.number: int | None = answer["number"]
        self.hung: bool = answer["hung"]


class _Process(Protocol):
    def ready(self) -> Mapping[str, Any]:
        """Return what Rank.ready does, once the GPU is open; raises _Refused."""

    def ask(self, do: str, **arguments: Any) -> Mapping[str, Any]:
        """Return the answer to a request; raises _Refused."""


class _Near:
    """This process."""

    def __init__(self, job: RankJob) -> None:
        self._job = job
        self._rank: Rank | None = None

    def ready(self) -> Mapping[str, Any]:
        try:
            self._rank = Rank(self._job)
        except GpufleetError as error:
            raise _Refused(failure_of(error)) from error
        return self._rank.ready()

    def ask(self, do: str, **arguments: Any) -> Mapping[str, Any]:
        if self._rank is None:
            raise AssertionError("a process is asked once it is ready")
        try:
            return self._rank.perform({"do": do, **arguments})
        except GpufleetError as error:
            raise _Refused(failure_of(error)) from error


class _Far:
    """The other process, in this one's group so that both are killed together."""

    def __init__(self, job: RankJob) -> None:
        self._limit = 2 * job.limit_seconds + _ANSWER_SLACK_SECONDS
        self._process = subprocess.Popen(
            child_command(ipc_rank.main), stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        self._pending = b""
        self._send(job.to_json())

    def ready(self) -> Mapping[str, Any]:
        return self._answer("opening its GPU")

    def ask(self, do: str, **arguments: Any) -> Mapping[str, Any]:
        self._send(json.dumps({"do": do, **arguments}))
        return self._answer(do)

    def _send(self, line: str) -> None:
        pipe = self._process.stdin
        if pipe is None:
            raise AssertionError("the other process is started with its input piped")
        try:
            pipe.write(line.encode("ascii") + b"\n")
            pipe.flush()
        except BrokenPipeError:
            raise _Refused(self._lost()) from None

    def _answer(self, what: str) -> Mapping[str, Any]:
        pipe = self._process.stdout
        if pipe is None:
            raise AssertionError("the other process is started with its output piped")
        deadline = time.monotonic() + self._limit
        with selectors.DefaultSelector() as selector:
            selector.register(pipe, selectors.EVENT_READ)
            while True:
                *lines, self._pending = self._pending.split(b"\n")
                for position, line in enumerate(lines):
                    answer = _answer_in(line)
                    if answer is not None:
                        self._pending = b"\n".join([*lines[position + 1 :], self._pending])
                        if "failure" in answer:
                            raise _Refused(answer)
                        return answer
                left = deadline - time.monotonic()
                if left <= 0:
                    words = f"the other process did not answer to {what} in {self._limit:g} s"
                    raise _Refused({"failure": words, "number": None, "hung": True})
                if selector.select(left):
                    piece = os.read(pipe.fileno(), _READ_BYTES)
                    if not piece:
                        raise _Refused(self._lost())
                    self._pending += piece

    def _lost(self) -> dict[str, Any]:
        # It has closed its output, so it is about to end.
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_ANSWER_SLACK_SECONDS)
        words = f"the other process ended with status {self._process.returncode}"
        return {"failure": words, "number": None, "hung": False}


class _Check:
    """The whole of it, for every direction that the parent asks for."""

    def __init__(self, job: IpcJob) -> None:
        self._job = job
        self._direction = (0, 1)
        # Started first: both open their GPUs at the same time.
        self._far = _Far(job.rank(1))
        self._near = _Near(job.rank(0))
        self._processes: tuple[_Process, _Process] = (self._near, self._far)

    def run(self) -> None:
        """Check what the parent asks for; it starts another child for what is left."""
        try:
            able = [process.ready() for process in self._processes]
            refusal = None
        except _Refused as error:
            able, refusal = [], error
        for direction in protocol.directions_from_json(read_line()):
            self._direction = direction
            try:
                if refusal is not None:
                    raise refusal
                self._check(direction, able)
            except _Refused as error:
                self._refused(error)
                if error.hung:
                    # Nothing more can be asked of a process whose GPU hangs.
                    return
        tell(protocol.FINISHED, self._direction)

    def _check(self, direction: tuple[int, int], able: Sequence[Mapping[str, Any]]) -> None:
        initiator, owner = (self._processes[position] for position in direction)
        self._announce("opening the other process's memory")
        initiator.ask("open", handle=owner.ask("export")["handle"])
        try:
            ways = [way for way in able[0]["ways"] if way in able[1]["ways"]]
            found = self._transfers(initiator, owner, ways, min(a["bytes"] for a in able))
            initiator.ask("close")
        except _Refused as error:
            if error.hung:
                raise
            self._conclude(FAILED, IPC_FAILED, str(error))
            return
        if found is None:
            self._conclude(PASSED, None, "")
        else:
            self._conclude(FAILED, IPC_FAILED, found.detail, found.first_bad_offset)

    def _transfers(
        self, initiator: _Process, owner: _Process, ways: Sequence[str], count: int
    ) -> Finding | None:
        """Write with different words in every way, twice, and return the first wrong that shows."""
        earlier: list[Pattern] = []
        for _round in range(_ROUNDS):
            for way in ways:
                self._announce(f"ipc {way}")
                seed = seed_of(self._job.seed, *self._direction, len(earlier))
                pattern = DevicePattern(seed) if KERNEL in ways else HostPattern(seed)
                owner.ask("poison")
                written = initiator.ask("write", way=way, seed=seed, count=count)
                arrived = owner.ask("compare", seed=seed, count=count)
                found = _finding(written, arrived, pattern, earlier, count)
                if found is not None:
                    detail = f"ipc {way}: {found.detail}"
                    return Finding(found.code, found.first_bad_offset, detail)
                earlier.append(pattern)
        return None

    def _refused(self, error: _Refused) -> None:
        """Tell that the two processes could not share the memory, or that one hangs."""
        if error.hung or error.number in _LINK_ERRORS:
            self._conclude(FAILED, IPC_FAILED, str(error))
        else:
            self._conclude(NOT_RUN, IPC_UNSUPPORTED, str(error))

    def _announce(self, step: str) -> None:
        tell(protocol.STEP, self._direction, name=step)

    def _conclude(
        self, state: str, code: str | None, detail: str, first_bad_offset: int | None = None
    ) -> None:
        tell(
            protocol.IPC,
            self._direction,
            state=state,
            code=code,
            detail=detail,
            first_bad_offset=first_bad_offset,
        )


def _finding(
    written: Mapping[str, Any],
    arrived: Mapping[str, Any],
    pattern: Pattern,
    earlier: Sequence[Pattern],
    count: int,
) -> Finding | None:
    """Return what is wrong, from what the initiator read back and what the owner has."""
    read_back_right = not written["wrong"] and not written["sample"]
    sample = sample_in(arrived)
    if sample:
        return classify(
            sample,
            pattern=pattern,
            earlier=earlier,
            words=count // 8,
            initiator_sees_right=read_back_right,
        )
    if arrived["wrong"]:
        detail = f"the owner's kernel sees {arrived['wrong']} wrong words, its copy engine none"
        return Finding(IPC_FAILED, 0, detail)
    if arrived["guard"] is not None:
        return Finding(**arrived["guard"])
    if read_back_right:
        return None
    words = "the owner sees the right words, the process that wrote them reads others back"
    back = sample_in(written)
    if not back:
        return Finding(IPC_FAILED, 0, f"{words}, by kernel alone")
    found = classify(
        back, pattern=pattern, earlier=earlier, words=count // 8, initiator_sees_right=None
    )
    return Finding(found.code, found.first_bad_offset, f"{words}: {found.detail}")


def _answer_in(line: bytes) -> Mapping[str, Any] | None:
    """Return the answer in a line; None for what a library may have printed in between."""
    try:
        answer = json.loads(line)["answer"]
    except (ValueError, TypeError, KeyError):
        return None
    return answer if isinstance(answer, dict) else None


def main(parent: int) -> None:
    """Run the job on standard input; the exit status says nothing, the events all."""
    die_with_parent(parent)
    _Check(IpcJob.from_json(read_line())).run()
    # The other process ends with this one.
    leave()
