# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The record of a trial boot, and what the running kernel says about it."""

from __future__ import annotations

import json
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from enum import Enum
from pathlib import Path

from .._host.files import read_bytes, read_text
from .._host.foreign_text import parse_json
from .._host.kernel import TRIAL_PARAMETER, read_boot_id
from .._host.watchdog import read_watchdog
from .cmdline import CommandLine, Parameter, format_parameter, parse
from .interface import STATE_DIRECTORY, BootLoader, StateFile, Step, Trial

RECORD = STATE_DIRECTORY / "trial.json"
_SCHEMA = 1
_TOKEN_BYTES = 8


class TrialState(Enum):
    """How far a recorded trial has come."""

    NONE = "none"
    ARMED = "armed"
    RUNNING = "running"
    FELL_BACK = "fell_back"
    # Killed while arming, or somebody else took the selection away; arming again completes it.
    INCOMPLETE = "incomplete"


@dataclass(frozen=True)
class Running:
    """What /proc tells of the running kernel.

    ``line`` is its command line without the boot loader's own BOOT_IMAGE and without what a trial
    adds (its token and what is behind it); ``token`` is the trial's, ``boot_id`` this boot's.
    """

    line: CommandLine
    token: str | None
    boot_id: str


def read_running(root: Path = Path("/")) -> Running:
    """Read /proc/cmdline and the boot's random id."""
    line = parse(read_text(root / "proc/cmdline") or "").without(["BOOT_IMAGE", "initrd"])
    token = line.value_of(TRIAL_PARAMETER)
    if token is not None:
        position = [parameter.key for parameter in line.parameters].index(TRIAL_PARAMETER)
        line = CommandLine(line.parameters[:position], line.for_init)
    return Running(line, token, read_boot_id(root))


def read_record(root: Path = Path("/")) -> Trial | None:
    """Return the recorded trial; None where there is none or it cannot be understood."""
    data = read_bytes(root / RECORD)
    if data is None:
        return None
    try:
        fields = parse_json(data)
        if fields["schema"] != _SCHEMA:
            return None
        return Trial(
            token=str(fields["token"]),
            parameters=tuple(map(str, fields["parameters"])),
            panic_seconds=int(fields["panic_seconds"]),
            boot_id=str(fields["boot_id"]),
            created=str(fields["created"]),
            watchdog_seconds=int(fields.get("watchdog_seconds", 0)),
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        # Written whole or not at all, so this is no record of ours: a new trial replaces it.
        return None


def new_trial(
    parameters: Sequence[Parameter], panic_seconds: int, boot_id: str, root: Path
) -> Trial:
    """Return a trial with a fresh random token, and with the watchdog of the host at ``root``."""
    watchdog = read_watchdog(root)
    return Trial(
        token=secrets.token_hex(_TOKEN_BYTES),
        parameters=tuple(format_parameter(parameter) for parameter in parameters),
        panic_seconds=panic_seconds,
        boot_id=boot_id,
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        watchdog_seconds=watchdog.trial_seconds if watchdog else 0,
    )


def record_step(root: Path, trial: Trial | None) -> list[Step]:
    """Return the step that records ``trial``, or removes the record; empty if nothing to do."""
    path = root / RECORD
    before = read_bytes(path)
    after = None
    if trial is not None:
        fields = {
            "schema": _SCHEMA,
            "token": trial.token,
            "parameters": list(trial.parameters),
            "panic_seconds": trial.panic_seconds,
            "boot_id": trial.boot_id,
            "created": trial.created,
            "watchdog_seconds": trial.watchdog_seconds,
        }
        after = (json.dumps(fields, indent=2) + "\n").encode()
    if before != after:
        name = "forget the trial" if trial is None else "record the trial"
        return [StateFile(name, path, before, after)]
    if trial is None and _is_empty(path.parent):
        # A run was killed between removing the last file and its directory.
        return [StateFile("remove the empty directory", path, None, None)]
    return []


def _is_empty(directory: Path) -> bool:
    return directory.is_dir() and not any(directory.iterdir())


def state_of(record: Trial | None, running: Running, loader: BootLoader) -> TrialState:
    """Tell how far the recorded trial has come.

    A trial whose boot was not GRUB's (kexec) is still armed: the selection is read, not assumed.
    """
    if record is None:
        return TrialState.NONE
    if running.token == record.token:
        return TrialState.RUNNING
    if loader.next_boot_token() == record.token:
        return TrialState.ARMED
    return TrialState.INCOMPLETE if record.boot_id == running.boot_id else TrialState.FELL_BACK
