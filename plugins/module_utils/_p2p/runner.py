# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A whole run: every pair measured by a child of its own, judged, grouped and explained.

A pair that hangs or dies costs that pair; the result stays valid and says what it lacks.
"""

from __future__ import annotations

import contextlib
import itertools
import math
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Callable

from .._gpu.nvml import Nvml
from .._host.acs import read_acs
from .._host.files import read_text
from .._host.pci import Link, PciDevice, ancestors, read_devices
from .._host.userspace import library_releases, loaded_release
from .causes import causes_of
from .ceiling import Ceiling, nvlink_ceiling, pcie_ceiling
from .child import child_environment
from .contention import nvlink_crossings, pcie_crossings
from .group_run import measure_groups, notes_on, verdict_with_groups
from .groups import groups_of
from .host_evidence import Evidence
from .nccl import read_gates, with_nccl
from .notes import notes_of
from .options import Options
from .pair_run import PairRun, run_round
from .path import Path as PciePath
from .path import nvlink_level, nvlinks_between, path_between
from .pattern import seed_of
from .protocol import Job, Measurement
from .result import (
    NOT_APPLICABLE,
    PASS,
    WARN,
    AllToAll,
    Capability,
    Driver,
    Gpu,
    GpuCounters,
    Pair,
    Result,
)
from .sampling import QUICK, THOROUGH
from .schedule import rounds_of
from .subjects import Subject, exclusions_of, obstacles_of, refuse_busy, subjects_of
from .verdict import (
    Judged,
    bandwidth_of,
    host_verdict,
    judge,
    latency_of,
    with_opposites,
)
from .watch import Watch

# Enough to see whether data arrives where it is not expected to.
_PROBE_BYTES = 8 << 20
# The second round of checks moves as much of the most as its link moves in this time: 0.8 GB on
# eight lanes of generation 4, all of it over NVLink.
_EXTENT_BYTES = 4 << 30
_EXTENT_SECONDS = 0.06
_WAIT_SECONDS_AT_MOST = 10.0
# Each locks 48 MiB of host memory while it is checked.
_PAIRS_AT_ONCE = 4
# NVML's compute mode in which one process at a time may have a context.
_EXCLUSIVE = "exclusive_process"


def verify(
    nvml: Nvml,
    driver: Driver,
    options: Options,
    *,
    root: Path = Path("/"),
    environment: Mapping[str, str] | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> Result:
    """Measure and judge every ordered pair of the chosen GPUs.

    Args:
        nvml: an open management library.
        driver: the loaded module's identity.
        root: of the tree /sys and /proc are read from.
        environment: the children's, before what they need is added; this process's by default.
        on_progress: called with how many pairs are done and how many there are to measure (a pair
            has two directions), at first and whenever some are done.

    Raises:
        DeviceUnknown, GpusBusy: refused before anything was measured.
    """
    begin = time.monotonic()
    with contextlib.closing(Watch(root, nvml)) as watch:
        ours = os.environ if environment is None else environment
        run = _Run(nvml, options, root, child_environment(ours))
        watch.count(subject.index for subject in run.subjects)
        pairs = with_nccl(run.pairs(on_progress), read_gates(root, ours, len(run.subjects)))
        groups = groups_of((p.source, p.target) for p in pairs if p.verdict in (PASS, WARN))
        together = run.all_to_all(groups, pairs)
        kernel = watch.words()
        # Where a process hangs in the kernel, the driver may not answer either.
        gpus = run.gpus({} if run.is_stuck else watch.counters())
    subjects = run.subjects
    evidence = Evidence(
        driver=driver,
        expected_build_id=options.expected_build_id,
        gpus=gpus,
        groups={s.nvml.bdf: (s.group.number, s.group.type) for s in subjects if s.group},
        pairs=pairs,
        shared_bridges=run.shared_bridges,
        upstream=run.upstream,
        acs=run.acs,
        kernel=kernel,
        loaded_release=loaded_release(root),
        libraries=library_releases(root),
    )
    return Result(
        host=(read_text(root / "proc/sys/kernel/hostname") or os.uname().nodename).strip(),
        driver=driver,
        kernel=(read_text(root / "proc/sys/kernel/osrelease") or os.uname().release).strip(),
        cmdline=(read_text(root / "proc/cmdline") or "").strip(),
        iommu_groups={s.nvml.bdf: s.iommu_type for s in subjects},
        gpus=gpus,
        pairs=pairs,
        groups=groups,
        causes=causes_of(evidence),
        notes=(*notes_of(evidence), *notes_on(together)),
        all_to_all=together,
        verdict=verdict_with_groups(host_verdict(pairs), together),
        buffer_bytes=run.payload_bytes,
        wall_seconds=time.monotonic() - begin,
    )


class _Run:
    def __init__(
        self, nvml: Nvml, options: Options, root: Path, environment: Mapping[str, str]
    ) -> None:
        self._nvml = nvml
        self._options = options
        self._root = root
        self._environment = environment
        self._tree = read_devices(root)
        self.subjects = subjects_of(
            root, nvml.devices(), self._tree, options.gpu_match, options.devices
        )
        if not options.allow_busy:
            refuse_busy(self.subjects)
        # The bridges above each GPU, the nearest first.
        self.upstream = {
            subject.nvml.bdf: tuple(b.bdf for b in ancestors(self._tree, subject.nvml.bdf))
            for subject in self.subjects
        }
        bridges = {bdf for above in self.upstream.values() for bdf in above}
        self.acs = {bdf: read_acs(root, bdf) for bdf in sorted(bridges)}
        self._loaded_links: dict[int, Link] = {}
        # By the pair that was copying when it was read: other pairs' links were idle then.
        self._loaded_trees: dict[frozenset[int], dict[str, PciDevice]] = {}
        # GPUs on which a child is stuck in the kernel: another one would join it.
        self._stuck: dict[int, int] = {}
        # Asked before anything can hang.
        self._confidential = nvml.confidential_compute()
        self._claims = {
            (source.index, target.index): nvml.p2p_status(source.index, target.index)
            for source, target in itertools.permutations(self.subjects, 2)
        }
        self.shared_bridges: dict[tuple[int, int], str] = {}
        self.payload_bytes = 0

    @property
    def is_stuck(self) -> bool:
        """Whether a child could not be killed."""
        return bool(self._stuck)

    def gpus(self, counters: Mapping[int, GpuCounters]) -> tuple[Gpu, ...]:
        """Return the GPUs with their links as read under load where that happened."""
        return tuple(
            subject.to_gpu(
                self._loaded_links.get(subject.index, subject.nvml.link),
                under_load=subject.index in self._loaded_links,
                state=subject.state(self._confidential),
                counters=counters.get(subject.index, GpuCounters()),
            )
            for subject in self.subjects
        )

    def pairs(self, on_progress: Callable[[int, int], None] | None) -> tuple[Pair, ...]:
        """Measure every pair, both directions in one child, and return the judged ones."""
        runs = [
            self._pair_run(ends, number)
            for number, ends in enumerate(itertools.combinations(self.subjects, 2))
        ]
        uses = {
            number: self._uses(*run.ends)
            for number, run in enumerate(runs)
            if not exclusions_of(*run.ends)
        }
        done = 0
        tell = on_progress or (lambda _done, _total: None)
        tell(done, len(uses))
        for together in rounds_of(uses, min(_PAIRS_AT_ONCE, len(os.sched_getaffinity(0)))):
            run_round([runs[number] for number in together], self._options.child_timeout)
            done += len(together)
            tell(done, len(uses))
        judged: list[Pair] = []
        for run in runs:
            ends, excluded = run.ends, exclusions_of(*run.ends)
            for (source, target), measurement in run.measured.items():
                size = measurement.payload_bytes or 0
                self.payload_bytes = max(self.payload_bytes, size)
                judged.append(self._judge(ends[source], ends[target], measurement, excluded))
        return tuple(sorted(with_opposites(judged), key=lambda pair: (pair.source, pair.target)))

    def all_to_all(
        self, groups: Sequence[Sequence[int]], pairs: Sequence[Pair]
    ) -> tuple[AllToAll, ...]:
        """Measure the groups with all their GPUs at once."""
        members = {index for group in groups for index in group}
        by_index = {subject.index: subject for subject in self.subjects}
        ordered = {(pair.source, pair.target): pair for pair in pairs}
        return measure_groups(
            groups,
            ordered,
            {
                ends: self._crossings(by_index[ends[0]], by_index[ends[1]])
                for ends in itertools.permutations(sorted(members), 2)
            },
            {index: by_index[index].nvml.bdf for index in members},
            quick=self._options.quick,
            copy_bytes=self._options.buffer_bytes,
            child_timeout=self._options.child_timeout,
            limit_seconds=self._limit_seconds,
            seed=time.time_ns(),
            environment=self._environment,
            stuck=self._stuck,
        )

    def _crossings(self, source: Subject, target: Subject) -> dict[str, float]:
        links, speed = nvlinks_between(source.nvml, target.nvml)
        ends = (source.nvml.bdf, target.nvml.bdf)
        if links:
            switched = all(link.remote_is_switch for link in source.nvml.nvlinks if link.active)
            return nvlink_crossings(*ends, speed, switched=switched)
        path = self._path(source, target)
        above = [(bdf, *self.upstream[bdf]) for bdf in ends]
        return pcie_crossings(path.hops, path.payload_bytes, *above)

    def _path(self, source: Subject, target: Subject) -> PciePath:
        """Return the PCI Express path of a pair, as it was under the pair's own load."""
        tree = self._loaded_trees.get(frozenset((source.index, target.index)), self._tree)
        return path_between(tree, self.acs, source.nvml.bdf, target.nvml.bdf)

    def _uses(self, first: Subject, second: Subject) -> set[str]:
        """Return what a pair's transfers use: both GPUs, and the links between by PCI address."""
        used = {first.nvml.bdf, second.nvml.bdf}
        if not nvlinks_between(first.nvml, second.nvml)[0]:
            path = path_between(self._tree, self.acs, first.nvml.bdf, second.nvml.bdf)
            used.update(hop.bdf for hop in path.hops)
        return used

    def _pair_run(self, ends: tuple[Subject, Subject], number: int) -> PairRun:
        alone = any(end.nvml.compute_mode == _EXCLUSIVE for end in ends)
        return PairRun(
            ends,
            job_of=lambda directions: self._job(ends, number, directions),
            child_timeout=self._options.child_timeout,
            environment=self._environment,
            stuck=self._stuck,
            on_load=lambda: self._read_links(ends),
            ipc_beside=not alone and not obstacles_of(*ends),
        )

    def _job(
        self, ends: tuple[Subject, Subject], number: int, directions: Sequence[tuple[int, int]]
    ) -> Job:
        first, second = ends
        options = self._options
        size = options.payload_bytes
        copy_bytes = options.buffer_bytes or (QUICK if options.quick else THOROUGH).copy_bytes
        if obstacles_of(first, second):
            size, copy_bytes = min(size, _PROBE_BYTES), min(copy_bytes, _PROBE_BYTES)
        return Job(
            addresses=(first.nvml.bdf, second.nvml.bdf),
            directions=tuple(directions),
            payload_bytes=size,
            copy_bytes=copy_bytes,
            limit_seconds=self._limit_seconds,
            quick=options.quick,
            seed=seed_of(time.time_ns(), number),
            extent_bytes=0 if self._is_brief(ends) else _EXTENT_BYTES,
            extent_seconds=_EXTENT_SECONDS,
            pairs=math.comb(len(self.subjects), 2),
        )

    def _is_brief(self, ends: tuple[Subject, Subject]) -> bool:
        """Whether no check of a pair is to move more than the usual payload."""
        options = self._options
        return options.quick or options.buffer_bytes is not None or bool(obstacles_of(*ends))

    @property
    def _limit_seconds(self) -> float:
        """How long any wait on a GPU may take, well within a child's time."""
        return min(_WAIT_SECONDS_AT_MOST, self._options.child_timeout / 2)

    def _read_links(self, ends: tuple[Subject, Subject]) -> None:
        pair = frozenset(subject.index for subject in ends)
        self._loaded_trees[pair] = read_devices(self._root)
        for subject in ends:
            self._loaded_links[subject.index] = self._nvml.link(subject.index)

    def _judge(
        self,
        source: Subject,
        target: Subject,
        measurement: Measurement,
        excluded: tuple[str, ...],
    ) -> Pair:
        pcie = self._path(source, target)
        if pcie.shared_bridge is not None:
            self.shared_bridges[(source.index, target.index)] = pcie.shared_bridge
        links, speed = nvlinks_between(source.nvml, target.nvml)
        status = self._claims[(source.index, target.index)]
        bandwidth = bandwidth_of(measurement, _ceiling(pcie, links, speed))
        latency = latency_of(measurement)
        level = nvlink_level(links) if links else pcie.level
        judged = (
            Judged(NOT_APPLICABLE, excluded, "")
            if excluded
            else judge(
                measurement,
                obstacles=obstacles_of(source, target),
                bandwidth=bandwidth,
                latency=latency,
                level=level,
                hops=pcie.hops,
                thresholds=self._options.thresholds,
            )
        )
        return Pair(
            source=source.index,
            target=target.index,
            path=level,
            hops=pcie.hops,
            capability=Capability(
                measurement.cuda_capability, status.get("read"), status.get("write")
            ),
            correctness=measurement.correctness,
            bandwidth=bandwidth,
            latency=latency,
            verdict=judged.verdict,
            reasons=judged.reasons,
            detail=judged.detail,
        )


def _ceiling(pcie: PciePath, nvlinks: int, nvlink_speed: int | None) -> Ceiling | None:
    if nvlinks:
        return None if nvlink_speed is None else nvlink_ceiling(nvlink_speed)
    return pcie_ceiling(pcie.hops, pcie.payload_bytes, pcie.payload_known)
