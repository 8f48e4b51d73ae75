# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""All faults of a release, in the order in which they are injected, each with its execution."""

from __future__ import annotations

import hashlib
import itertools
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ansible_collections.gpufleet.p2p.plugins.module_utils._host.files import sha256_of
from support.driver_hosts import REPOSITORY

from .booting import boot
from .catalogue import dealt_out
from .fault import Fault
from .guest_disk import entered
from .judgement import Judgement, judge
from .points import Point
from .power_loss import PowerLosses, log_key, power_losses
from .preparing import base_disk
from .record import BOOT, DISK, PRODUCT, Outcome
from .scratch import Scratch
from .stages import Stage, stages
from .subjects import SUBJECTS, Step
from .tracing import Known, Trace, trace

_TRACE_SEED = 1
_IN_A_ROUND = 5


@dataclass(frozen=True)
class Amount:
    """How many faults of each sort a subject gets on a release.

    Attributes:
        by_step: power losses dealt out to the steps.
        boot_files: power losses where GRUB's view changes.
        strikes: faults that strike a running step.
    """

    by_step: int
    boot_files: int
    strikes: int


FULL = {True: Amount(90, 30, 150), False: Amount(45, 20, 60)}
FAST = {True: Amount(12, 0, 14), False: Amount(6, 0, 8)}


@dataclass(frozen=True)
class Planned:
    """A fault with its id; ``inject`` injects it and judges the host, by a boot too if asked."""

    id: str
    kind: str
    subject: str
    inject: Callable[[bool], Outcome]


@dataclass(frozen=True)
class _Place:
    # What is injected into which subject, and where, in data and in the words of the id.
    subject: str
    kind: str
    where: dict[str, Any]
    place: str


@dataclass
class Campaign:
    """The faults of one release.

    Args:
        release: Debian's name of it.
        home: keeps what is made for the release.
        scratch: keeps the disks.
    """

    release: str
    home: Path
    scratch: Scratch

    def faults(self, amounts: dict[bool, Amount]) -> Iterator[Planned]:
        """Yield the faults, those of the subjects in turn; what they need is made on the way."""
        base = base_disk(self.release, self.home, self.scratch)
        queues = [
            queue
            for subject, steps in SUBJECTS.items()
            for queue in [self._of_subject(subject, steps, base, amounts[subject == PRODUCT])]
            # The product has more faults than each control: so they end at about the same time.
            for _ in range(_IN_A_ROUND if subject == PRODUCT else 1)
        ]
        for round_ in itertools.zip_longest(*queues):
            yield from (planned for planned in round_ if planned is not None)

    def _of_subject(
        self, subject: str, steps: tuple[Step, ...], base: Path, amount: Amount
    ) -> Iterator[Planned]:
        directory = self.home / subject
        traced = trace(base, steps, directory, self.scratch, _TRACE_SEED)
        losses = power_losses(traced, self.scratch)
        known = Known()
        acting = [step for step in steps if not step.idle]
        before = stages(base, acting, directory, self.scratch, known)
        striking = itertools.islice(self._strikes(subject, before, known), amount.strikes)
        cutting = self._cuts(subject, traced, losses, amount)
        # A power loss is injected in a tenth of the time that a step takes.
        for group in itertools.zip_longest(striking, cutting, cutting, cutting):
            yield from (planned for planned in group if planned is not None)

    def _cuts(
        self, subject: str, traced: Trace, losses: PowerLosses, amount: Amount
    ) -> Iterator[Planned]:
        key = log_key(traced.log)
        for point in losses.points(amount.by_step, amount.boot_files):

            def make(disk: Path, point: Point = point) -> None:
                losses.make(point, disk)

            where = {"step": point.step, "trace": key, "state": point.place}
            one = _Place(subject, point.kind, where, f"{key}/{point.place}")
            yield self._planned(one, traced.base, make, traced.known)

    def _strikes(self, subject: str, before: list[Stage], known: Known) -> Iterator[Planned]:
        for fault, stage in dealt_out(before):

            def make(disk: Path, fault: Fault = fault, stage: Stage = stage) -> bool | None:
                point = disk.with_name(f"{disk.stem}.root")
                with entered(disk, self.home / point.name, stage.cmdline) as host:
                    return fault.strike(host, stage.step, stage.notes)

            where = {"step": stage.step.name, "variant": fault.variant}
            one = _Place(subject, fault.kind, where, f"{stage.step.name}/{fault.variant}")
            yield self._planned(one, stage.disk, make, known)

    def _planned(
        self, one: _Place, image: Path, make: Callable[[Path], bool | None], known: Known
    ) -> Planned:
        name = f"{one.kind}/{one.subject}/{self.release}/{one.place}"

        def inject(booted: bool) -> Outcome:
            began = time.monotonic()
            with self.scratch.borrowed(image) as disk:
                rerun = make(disk)
                with self.scratch.borrowed(disk) as copy:
                    found = judge(copy, self.home / f"{copy.stem}.look", known)
                if booted:
                    found = _booted(found, boot(disk, self.release, self.home / disk.stem, known))
            seconds = round(time.monotonic() - began, 2)
            outcome = Outcome(
                id=name,
                kind=one.kind,
                subject=one.subject,
                release=self.release,
                where=one.where,
                reached=found.reached,
                driver=found.driver,
                detail=found.detail,
                seconds=seconds,
                judged=BOOT if booted else DISK,
            )
            return replace(outcome, healed=None if rerun is None else rerun and not outcome.lost)

        return Planned(name, one.kind, one.subject, inject)


def _booted(by_disk: Judgement, by_boot: Judgement) -> Judgement:
    """Return what the boot showed, and in the detail what the disk had promised if it differs."""
    expected, seen = (
        f"reached {one.reached} driver {one.driver or '-'}" for one in (by_disk, by_boot)
    )
    differs = "" if expected == seen else f"by its disk: {expected}"
    detail = "; ".join(word for word in (by_boot.detail, differs, by_disk.detail) if word)
    return Judgement(by_boot.reached, by_boot.driver, detail)


def product_key() -> str:
    """Return a short hash of what runs on the hosts, and of the driver that it installs there."""
    digest = hashlib.sha256()
    for directory in ("plugins/modules", "plugins/module_utils", "lab/simulated_driver"):
        for path in sorted((REPOSITORY / directory).rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                digest.update(f"{path.relative_to(REPOSITORY)} {sha256_of(path)}\n".encode())
    return digest.hexdigest()[:12]
