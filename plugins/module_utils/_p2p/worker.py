# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The measuring child: one pair of GPUs, a job on standard input, events on standard output.

A process of its own because a peer transfer can hang for good, a failed one leaves the CUDA
context unusable, and CUDA must not be used across a fork.
"""

from __future__ import annotations

from typing import Any

from .._gpu.cuda import Cuda, CudaError
from .._gpu.device import MeasurementHung
from .._host.errors import GpufleetError
from . import latency, protocol
from .bandwidth import KERNEL_WAYS, gigabytes_per_second, mover_of, warm_up
from .bench import Bench, Side
from .conversation import die_with_parent, leave, read_line, tell
from .correctness import Checker, Extent
from .pair_record import DIRECT_WAYS
from .protocol import Job
from .sampling import QUICK, THOROUGH, Estimate

_MICRO = 1e6
_BOTH = 2


class _Child:
    def __init__(self, job: Job) -> None:
        self._job = job
        self._direction = job.directions[0]
        self._effort = (QUICK if job.quick else THOROUGH).shared_by(job.pairs)

    def run(self) -> None:
        """Measure every direction of the job, telling all that goes wrong."""
        try:
            self._measure()
        except (CudaError, MeasurementHung) as error:
            self._trouble(error.code, error.read)
        except GpufleetError as error:
            self._trouble(error.code, f"{error.read}; want {error.want}")

    def _measure(self) -> None:
        self._announce("opening the GPUs")
        cuda = Cuda()
        cuda.check("init", 0)
        bench = Bench(
            cuda,
            self._job.addresses,
            self._job.payload_bytes,
            self._job.limit_seconds,
            copy_bytes=self._job.copy_bytes,
        )
        extent = Extent(self._job.extent_bytes, self._job.extent_seconds)
        checker = Checker(bench, self._job.seed, self._announce, self._checked, extent)
        right: dict[tuple[int, int], tuple[Side, Side]] = {}
        enabled = False
        for direction in self._job.directions:
            self._direction = direction
            source, target = (bench.sides[self._job.addresses[side]] for side in direction)
            if bench.no_kernels:
                self._tell(protocol.NO_KERNELS, code=bench.no_kernels)
            capable = bench.can_access(source, target)
            self._tell(protocol.CAPABILITY, cuda=capable)
            if not capable:
                continue
            if not enabled:
                self._announce("enabling peer access")
                bench.enable_peer_access()
                enabled = True
            if self._judge(bench, checker, source, target):
                right[direction] = (source, target)
        wanted = self._wait() if right else ()
        for direction in wanted:
            self._direction = direction
            self._one_way(bench, *right[direction])
        if len(wanted) == _BOTH:
            self._both_ways(bench, [right[direction] for direction in wanted])
        self._tell(protocol.FINISHED)

    def _wait(self) -> tuple[tuple[int, int], ...]:
        """Return the directions to measure, once nothing else is measured beside them."""
        self._tell(protocol.WAITING)
        return protocol.directions_from_json(read_line())

    def _judge(self, bench: Bench, checker: Checker, source: Side, target: Side) -> bool:
        judgement = checker.judge(source, target)
        self._tell(
            protocol.JUDGEMENT,
            **judgement.correctness.to_dict(),
            code=judgement.code,
            detail=judgement.detail,
            payload_bytes=bench.payload_bytes,
        )
        if judgement.ping_pong_seconds is not None:
            self._time("ping_pong", judgement.ping_pong_seconds)
        return judgement.code is None

    def _one_way(self, bench: Bench, source: Side, target: Side) -> None:
        for way in self._direct_ways(bench):
            mover = mover_of(way, source, target, bench.host[0])
            if way == "on":
                self._announce("warming up")
                warm_up(bench, [mover], self._effort)
                # Now, while the link is as fast as it gets, the parent reads what it is.
                self._tell(protocol.UNDER_LOAD)
            self._announce(f"bandwidth {way}")
            self._rate(f"{way}_uni", gigabytes_per_second(bench, [mover], self._effort))
            mover.close()
        self._announce("latency on")
        self._time("on", latency.queued_copy_on(bench, source, target))
        if bench.kernels:
            self._announce("pointer_chase")
            seconds = latency.pointer_chase(bench, source, target, self._effort.loads)
            self._time("pointer_chase", seconds)
        self._announce("bandwidth off")
        staged = mover_of("off", source, target, bench.host[0])
        self._rate("off_uni", gigabytes_per_second(bench, [staged], self._effort))
        staged.close()
        self._announce("latency off")
        self._time("off", latency.queued_copy_off(bench, source, target))

    def _both_ways(self, bench: Bench, directions: list[tuple[Side, Side]]) -> None:
        for way in (*self._direct_ways(bench), "off"):
            self._announce(f"bandwidth {way}, both ways")
            movers = [
                mover_of(way, source, target, pinned)
                for (source, target), pinned in zip(directions, bench.host)
            ]
            rate = gigabytes_per_second(bench, movers, self._effort)
            for mover in movers:
                mover.close()
            # Both directions at once is one figure, which belongs to both ordered pairs.
            for direction in self._job.directions:
                self._direction = direction
                self._rate(f"{way}_bidi", rate)

    def _direct_ways(self, bench: Bench) -> tuple[str, ...]:
        if not self._effort.every_way:
            return ("on",)
        return tuple(way for way in DIRECT_WAYS if bench.kernels or way not in KERNEL_WAYS)

    def _announce(self, name: str) -> None:
        self._tell(protocol.STEP, name=name)

    def _checked(self, name: str, state: str) -> None:
        self._tell(protocol.CHECK, name=name, state=state)

    def _rate(self, name: str, rate: Estimate) -> None:
        self._tell(protocol.RATE, name=name, value=rate.median, spread=rate.spread)

    def _time(self, name: str, seconds: float) -> None:
        self._tell(protocol.TIME, name=name, value=seconds * _MICRO)

    def _trouble(self, code: str, detail: str) -> None:
        self._tell(protocol.TROUBLE, code=code, detail=detail)

    def _tell(self, event: str, **content: Any) -> None:
        tell(event, self._direction, **content)


def main(parent: int) -> None:
    """Run the job on standard input; the exit status says nothing, the events all."""
    die_with_parent(parent)
    _Child(Job.from_json(read_line())).run()
    leave()
