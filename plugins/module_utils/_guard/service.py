# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The guard brought to a host or taken off it: observed, planned, applied, observed again."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .._boot.interface import apply_in_order
from .._driver.readiness import Readiness
from .._host.errors import GpufleetError
from .._host.files import FileChange, read_bytes
from . import installation, kernels
from .alarm import COMPARISON, KERNELS, Finding, publish, read_alarm
from .comparison import read_state
from .installation import Change, Wanted
from .places import PROGRAM, RECORD, Settings, below, read_settings
from .program import look_at_host
from .quick_check import P2P_LOST
from .record import Record, read_record, record_of

__all__ = ["Outcome", "Settings", "Wanted", "absent", "present"]


@dataclass(frozen=True)
class Outcome:
    """What was done (or, in check mode, would be) and how the host stands.

    Attributes:
        actions: the plan's steps in words; empty: nothing to do.
        kernels: how each bootable kernel stands.
        pinned: the kernel that the host is held to, None for its own default.
        findings: what is wrong.
        diff: Ansible's diff records.
    """

    actions: tuple[str, ...]
    kernels: tuple[Readiness, ...]
    pinned: str | None
    findings: tuple[Finding, ...]
    diff: tuple[Mapping[str, str], ...]

    @property
    def changed(self) -> bool:
        """Whether there was anything to do."""
        return bool(self.actions)


def present(
    wanted: Wanted, verified: Mapping[str, Any] | None, *, check: bool, root: Path = Path("/")
) -> Outcome:
    """Install the guard, record ``verified`` if given, and hold the host to a fit kernel.

    Raises:
        RecordUnusable: ``verified`` did not pass.
        BootConfigurationRefused, CommandFailed: grub.cfg could not be generated; it is as it was.
    """
    changes = installation.plan_present(wanted, root)
    record = _record_change(wanted.settings, verified, root)
    if record is not None:
        changes.append(record)
    seen = kernels.look(wanted.settings.package, root)
    if not check and changes:
        installation.apply_present(changes, root)
        installation.start(root)
    if not check:
        apply_in_order(seen.steps)
    compared, _tried = look_at_host(wanted.settings, root, quick=False)
    kept = () if verified is not None else _found_by_copies(root)
    found = (seen.findings, (*compared, *kept))
    told = _tell(wanted.settings, *found, check=check, root=root)
    actions = [*_words(changes), *(step.name for step in seen.steps), *told]
    return Outcome(
        tuple(actions),
        tuple(seen.ready.values()),
        seen.choice.pin,
        (*found[0], *found[1]),
        (*_diffs(changes), *(step.as_diff() for step in seen.steps)),
    )


def absent(*, check: bool, root: Path = Path("/")) -> Outcome:
    """Take the guard off, with all that it wrote, and release the kernel.

    Raises:
        BootConfigurationRefused, CommandFailed: grub.cfg could not be generated; it is as it was,
            and so is the guard.
    """
    try:
        settings = read_settings(root)
    except GpufleetError:
        settings = Settings()
    steps = kernels.steps_to_release(root)
    changes = installation.plan_absent(settings, root)
    if not check:
        apply_in_order(steps)
        if changes:
            installation.stop(root)
            installation.apply_absent(changes, root)
            installation.forget_units(root)
    actions = [*(step.name for step in steps), *_words(changes)]
    return Outcome(
        tuple(actions), (), None, (), (*(step.as_diff() for step in steps), *_diffs(changes))
    )


def _record_change(
    settings: Settings, verified: Mapping[str, Any] | None, root: Path
) -> FileChange | None:
    """Return the record's change; None where this very state is recorded already."""
    if verified is None:
        return None
    before: Record | None = read_record(root)
    now = record_of(verified, read_state(root, settings.gpu_match), time.time())
    if now.same_as(before):
        return None
    path = below(root, RECORD)
    return FileChange(path, read_bytes(path), now.as_json())


def _tell(
    settings: Settings,
    of_kernels: Sequence[Finding],
    compared: Sequence[Finding],
    *,
    check: bool,
    root: Path,
) -> list[str]:
    """Publish what is wrong where that differs from what was; return it in words."""
    before = read_alarm(root)
    after = before.with_part(KERNELS, of_kernels).with_part(COMPARISON, compared)
    if after.findings == before.findings:
        return []
    if not check:
        publish(KERNELS, after.parts[KERNELS], settings, root=root)
        publish(COMPARISON, after.parts[COMPARISON], settings, root=root)
    codes = ", ".join(finding.code for finding in after.findings)
    return [f"raise the alarm: {codes}" if codes else "clear the alarm"]


def _found_by_copies(root: Path) -> tuple[Finding, ...]:
    """Return what only copies can take back, because copies have shown it."""
    before = read_alarm(root).parts.get(COMPARISON, ())
    return tuple(finding for finding in before if finding.code == P2P_LOST)


def _words(changes: Sequence[Change]) -> list[str]:
    return [f"{'remove' if _is_removal(change) else 'write'} {change.path}" for change in changes]


def _is_removal(change: Change) -> bool:
    return (change.after if isinstance(change, FileChange) else change.target) is None


def _diffs(changes: Sequence[Change]) -> list[Mapping[str, str]]:
    return [
        _checksums(change)
        if isinstance(change, FileChange) and change.path.name == PROGRAM.name
        else change.as_diff()
        for change in changes
    ]


def _checksums(change: FileChange) -> Mapping[str, str]:
    """Return the diff of a file that nobody wants to read."""

    def described(content: bytes | None) -> str:
        return "" if content is None else f"sha256 {hashlib.sha256(content).hexdigest()}\n"

    return {
        **change.as_diff(),
        "before": described(change.before),
        "after": described(change.after),
    }
