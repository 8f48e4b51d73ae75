# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the host itself runs: the kernel hook, the timer's look, and an answer for people.

``gpufleet-guard kernels`` after a kernel was installed or removed, ``check`` from the timer,
``status`` for people. The same code as the modules', packed into one file (docs/guard.md).
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from .._boot.interface import apply_in_order
from .._driver.identity import loaded_module
from .._host.errors import GpufleetError
from . import alarm, kernels
from .alarm import COMPARISON, KERNELS, Figures, Finding, finding_of, publish
from .comparison import compare, installed_build_id, read_state
from .places import Settings, read_settings
from .quick_check import OFF, QuickCheck, quick_check
from .record import Record, read_record

RIGHT, WRONG, MISUSED = 0, 1, 2
_USAGE = "usage: gpufleet-guard kernels | check | status"


def main(arguments: Sequence[str] | None = None, root: Path = Path("/")) -> int:
    """Run one of the verbs; return 0 where nothing is wrong, 1 where something is."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    verbs = {"kernels": update_kernels, "check": check, "status": status}
    if len(words) != 1 or words[0] not in verbs:
        _say(_USAGE)
        return MISUSED
    try:
        found = verbs[words[0]](root)
    except PermissionError as error:
        _say(f"gpufleet-guard: {error.filename}: {error.strerror}; run it as root")
        return MISUSED
    return WRONG if found else RIGHT


def update_kernels(root: Path) -> tuple[Finding, ...]:
    """Hold the host to a kernel that has the driver, or release it; tell what is wrong."""
    settings, troubles = _settings(root)
    seen = kernels.look(settings.package, root)
    if kernels.mend(settings.package, seen, root):
        seen = kernels.look(settings.package, root)
    findings = (*troubles, *seen.findings)
    try:
        apply_in_order(seen.steps)
    except (GpufleetError, OSError) as error:
        findings = (*findings, _not_applied(error))
    now = publish(KERNELS, findings, settings, _figures(root, None), root=root)
    _tell(now, kernels.report(seen))
    return findings


def check(root: Path) -> tuple[Finding, ...]:
    """Compare the host with the record, look at the kernels without changing any, and tell."""
    settings, troubles = _settings(root)
    seen = kernels.look(settings.package, root)
    publish(KERNELS, seen.findings, settings, root=root)
    findings, tried = look_at_host(settings, root)
    figures = _figures(root, tried.outcome)
    now = publish(COMPARISON, (*troubles, *findings), settings, figures, root=root)
    _tell(now, [*kernels.report(seen), f"copies between GPUs: {tried.outcome}"])
    return now.findings


def look_at_host(
    settings: Settings, root: Path, *, quick: bool = True
) -> tuple[tuple[Finding, ...], QuickCheck]:
    """Return what differs from the record, and how the trial of copies ended."""
    record = read_record(root)
    if record is None:
        return (), QuickCheck(OFF)
    try:
        state = read_state(root, settings.gpu_match)
    except GpufleetError as error:
        return (finding_of(error),), QuickCheck(OFF)
    found = compare(record, state, installed_build_id(root, state.kernel))
    if not quick or found:
        # What is known to have gone needs no proof by copies into the void.
        return found, QuickCheck(OFF)
    tried = quick_check(record, settings, root)
    return tried.findings, tried


def status(root: Path) -> tuple[Finding, ...]:
    """Print the alarm as it stands, and the record it is judged by; look at nothing."""
    now = alarm.read_alarm(root)
    record = read_record(root)
    lines = ["no verification is recorded"] if record is None else _record_lines(record)
    _tell(now, lines)
    return now.findings


def _settings(root: Path) -> tuple[Settings, tuple[Finding, ...]]:
    try:
        return read_settings(root), ()
    except GpufleetError as error:
        return Settings(), (finding_of(error),)


def _not_applied(error: GpufleetError | OSError) -> Finding:
    if isinstance(error, GpufleetError):
        return finding_of(error)
    return Finding(
        "kernel_not_pinned",
        read=f"{error.filename}: {error.strerror}",
        want="the boot loader's configuration to be written",
        remedy="free space below /boot, then run: gpufleet-guard kernels",
    )


def _figures(root: Path, outcome: str | None) -> Figures:
    record = read_record(root)
    loaded = loaded_module(root, "nvidia")
    return Figures(
        checked_at=time.time(),
        verified_at=record.verified_at if record else None,
        driver_version=loaded.version if loaded else None,
        build_id=loaded.build_id if loaded else None,
        quick_check=outcome,
    )


def _record_lines(record: Record) -> list[str]:
    when = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(record.verified_at))
    groups = " | ".join(" ".join(group) for group in record.groups) or "none"
    return [
        f"verified {when}: {record.verdict}, driver {record.state.driver_version}",
        f"groups: {groups}",
    ]


def _tell(now: alarm.Alarm, lines: Sequence[str]) -> None:
    for line in lines:
        _say(line)
    for finding in now.findings:
        _say(f"ALARM {finding}")
    if not now.findings:
        _say("nothing is wrong")


def _say(text: str) -> None:
    # In a package's script standard output may be debconf's.
    sys.stderr.write(text + os.linesep)
