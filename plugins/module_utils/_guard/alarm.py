# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The alarm: what is wrong, kept until it is not, and told in every place where somebody looks.

Journal, message of the day, Prometheus textfile, and a command of the operator's own when it is
raised or cleared. The alarm has two parts with an owner each, so that neither clears the other's:
what the kernel hook found and what the comparison with the last verification found.
"""

from __future__ import annotations

import json
import textwrap
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from .._host.commands import CommandFailed, CommandMissing, CommandTimedOut, run
from .._host.errors import GpufleetError
from .._host.files import atomic_write, read_text, remove
from .._host.foreign_text import parse_json
from .places import ALARM, METRICS_NAME, MOTD, PROGRAM, Settings, below

KERNELS = "kernels"
COMPARISON = "comparison"
PARTS = (KERNELS, COMPARISON)

_SCHEMA = 1
_COMMAND_SECONDS = 60.0
_WIDTH = 100


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong, told as every refusal is: code, read, want, remedy."""

    code: str
    read: str
    want: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.code}: read {self.read}; want {self.want}; remedy: {self.remedy}"


def finding_of(error: GpufleetError) -> Finding:
    """Return an error as a finding."""
    return Finding(error.code, error.read, error.want, error.remedy)


@dataclass(frozen=True)
class Alarm:
    """What is wrong now, by part; empty: nothing is."""

    parts: Mapping[str, tuple[Finding, ...]] = field(default_factory=dict)

    @property
    def findings(self) -> tuple[Finding, ...]:
        """Everything that is wrong, the kernels' first."""
        return tuple(finding for part in PARTS for finding in self.parts.get(part, ()))

    def with_part(self, part: str, findings: Sequence[Finding]) -> Alarm:
        """Return the alarm with one part replaced."""
        return Alarm({**self.parts, part: tuple(findings)})

    def as_json(self) -> bytes:
        """Return the alarm as it stands in its file."""
        parts = {part: [asdict(f) for f in self.parts.get(part, ())] for part in PARTS}
        return (json.dumps({"schema": _SCHEMA, **parts}, indent=2) + "\n").encode()


def parse(text: str) -> Alarm:
    """Return the alarm in a file's text; none where it is not one of ours."""
    try:
        fields = parse_json(text)
        if fields["schema"] != _SCHEMA:
            return Alarm()
        return Alarm({part: tuple(Finding(**f) for f in fields[part]) for part in PARTS})
    except (ValueError, KeyError, TypeError):
        # Written whole or not at all; the next look writes it anew.
        return Alarm()


def read_alarm(root: Path = Path("/")) -> Alarm:
    """Return the alarm as last published."""
    return parse(read_text(below(root, ALARM)) or "{}")


@dataclass(frozen=True)
class Figures:
    """What the metrics tell besides the alarm; times are seconds since 1970, None is left out."""

    checked_at: float
    verified_at: float | None = None
    driver_version: str | None = None
    build_id: str | None = None
    quick_check: str | None = None


def publish(
    part: str,
    findings: Sequence[Finding],
    settings: Settings,
    figures: Figures | None = None,
    *,
    root: Path = Path("/"),
) -> Alarm:
    """Make ``findings`` one part of the alarm, tell it everywhere, and return the alarm.

    A place that cannot be written is told in the journal and does not keep the others from it.
    """
    before = read_alarm(root)
    after = before.with_part(part, findings)
    troubles = []
    for action in (
        lambda: atomic_write(below(root, ALARM), after.as_json()),
        lambda: _write_motd(after, root),
        lambda: _write_metrics(after, settings, figures or Figures(time.time()), root),
    ):
        try:
            action()
        except OSError as error:
            troubles.append(f"{error.filename}: {error.strerror}")
    for finding in after.findings:
        _log("err", str(finding))
    for trouble in troubles:
        _log("warning", f"the alarm could not be written: {trouble}")
    if before.findings and not after.findings:
        _log("notice", "peer-to-peer is as it was verified again; the alarm is cleared")
    if _codes(before) != _codes(after):
        _run_command(settings.alarm_command, after)
    return after


def metrics_file(settings: Settings, root: Path = Path("/")) -> Path:
    """Return where the metrics go."""
    return below(root, Path(settings.metrics_directory)) / METRICS_NAME


def motd_text(findings: Sequence[Finding]) -> str:
    """Return what people are told at login."""
    lines = ["", "*** gpufleet: the GPUs' peer-to-peer path needs attention ***"]
    for finding in findings:
        text = f"{finding.code}: {finding.read}. {finding.remedy}."
        lines += textwrap.wrap(text, _WIDTH, initial_indent="  - ", subsequent_indent="    ")
    return "\n".join([*lines, f"  All of it: {PROGRAM} status", "", ""])


def metrics_text(alarm: Alarm, figures: Figures) -> str:
    """Return the metrics in Prometheus' text format."""
    codes = sorted({finding.code for finding in alarm.findings})
    lines = [
        "# HELP gpufleet_alarm Number of findings against the GPUs' peer-to-peer path.",
        "# TYPE gpufleet_alarm gauge",
        f"gpufleet_alarm {len(alarm.findings)}",
        "# HELP gpufleet_finding What is wrong, by code; absent codes are right.",
        "# TYPE gpufleet_finding gauge",
        *(f'gpufleet_finding{{code="{_label(code)}"}} 1' for code in codes),
        "# HELP gpufleet_checked_timestamp_seconds When the guard last looked.",
        "# TYPE gpufleet_checked_timestamp_seconds gauge",
        f"gpufleet_checked_timestamp_seconds {figures.checked_at:.0f}",
    ]
    if figures.verified_at is not None:
        lines += [
            "# HELP gpufleet_verified_timestamp_seconds When this state was verified.",
            "# TYPE gpufleet_verified_timestamp_seconds gauge",
            f"gpufleet_verified_timestamp_seconds {figures.verified_at:.0f}",
        ]
    if figures.driver_version is not None:
        version, build_id = _label(figures.driver_version), _label(figures.build_id or "")
        lines += [
            "# HELP gpufleet_driver_info The running NVIDIA module.",
            "# TYPE gpufleet_driver_info gauge",
            f'gpufleet_driver_info{{version="{version}",build_id="{build_id}"}} 1',
        ]
    if figures.quick_check is not None:
        lines += [
            "# HELP gpufleet_quick_check_info How the last trial of copies between GPUs ended.",
            "# TYPE gpufleet_quick_check_info gauge",
            f'gpufleet_quick_check_info{{outcome="{_label(figures.quick_check)}"}} 1',
        ]
    return "\n".join(lines) + "\n"


def _label(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def _codes(alarm: Alarm) -> list[str]:
    return sorted(finding.code for finding in alarm.findings)


def _write_motd(alarm: Alarm, root: Path) -> None:
    path = below(root, MOTD)
    if alarm.findings:
        atomic_write(path, motd_text(alarm.findings).encode())
    else:
        remove(path)


def _write_metrics(alarm: Alarm, settings: Settings, figures: Figures, root: Path) -> None:
    path = metrics_file(settings, root)
    if path.parent.is_dir():
        atomic_write(path, metrics_text(alarm, figures).encode())


def _log(priority: str, text: str) -> None:
    try:
        words = ["logger", "-t", "gpufleet-guard", "-p", f"daemon.{priority}", "--", text]
        run(words, check=False)
    except (CommandMissing, CommandTimedOut):
        # Told on standard error too, which the journal keeps for a service.
        return


def _run_command(command: Sequence[str], alarm: Alarm) -> None:
    """Run the operator's command with the alarm's JSON as its input; its failure is only logged."""
    if not command:
        return
    state = "raised" if alarm.findings else "cleared"
    try:
        run(
            command,
            timeout=_COMMAND_SECONDS,
            stdin=alarm.as_json().decode(),
            env={"GPUFLEET_ALARM": state},
        )
    except (CommandFailed, CommandMissing, CommandTimedOut) as error:
        _log("warning", f"the alarm's command did not run: {error.read}")
