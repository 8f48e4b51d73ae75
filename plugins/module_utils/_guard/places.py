# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the guard's files lie, and how it was set up."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from .._host.errors import GpufleetError
from .._host.files import read_text
from .._host.foreign_text import parse_json
from .._host.pci import DEFAULT_GPU_MATCH

PROGRAM = Path("/usr/lib/gpufleet/gpufleet-guard")
SETTINGS = Path("/etc/gpufleet/guard.json")
STATE_DIRECTORY = Path("/var/lib/gpufleet")
RECORD = STATE_DIRECTORY / "verified.json"
ALARM = STATE_DIRECTORY / "guard/alarm.json"
#: pam_motd shows what lies here at every login (Debian, Ubuntu, RHEL).
MOTD = Path("/run/motd.d/gpufleet")
#: Where Debian's prometheus-node-exporter reads its textfiles.
METRICS_DIRECTORY = Path("/var/lib/prometheus/node-exporter")
METRICS_NAME = "gpufleet-guard.prom"

_SCHEMA = 1


class SettingsUnreadable(GpufleetError):
    """The guard's settings are not what its installation wrote."""


@dataclass(frozen=True)
class Settings:
    """What the guard was set up with.

    Attributes:
        package: name of the DKMS package whose modules are to run.
        gpu_match: ``vendor:device:class-prefix`` patterns of the functions that are GPUs.
        quick_check: whether copies between idle GPUs are tried.
        metrics_directory: where the metrics' file goes; none is written where it does not exist.
        alarm_command: program and arguments to run when the alarm is raised or cleared.
    """

    package: str = "gpufleet-nvidia"
    gpu_match: tuple[str, ...] = DEFAULT_GPU_MATCH
    quick_check: bool = True
    metrics_directory: str = str(METRICS_DIRECTORY)
    alarm_command: tuple[str, ...] = ()

    def as_json(self) -> bytes:
        """Return the settings as they stand in their file."""
        return (json.dumps({"schema": _SCHEMA, **asdict(self)}, indent=2) + "\n").encode()


def below(root: Path, path: Path) -> Path:
    """Return ``path``, as the host names it, below ``root``."""
    return root / path.relative_to("/")


def read_settings(root: Path = Path("/")) -> Settings:
    """Return the guard's settings; the defaults where no file is.

    Raises:
        SettingsUnreadable: the file is there and cannot be understood.
    """
    text = read_text(below(root, SETTINGS))
    if text is None:
        return Settings()
    try:
        fields = parse_json(text)
        if fields.pop("schema") != _SCHEMA:
            raise ValueError("unknown schema")
        return Settings(
            package=str(fields["package"]),
            gpu_match=tuple(map(str, fields["gpu_match"])),
            quick_check=bool(fields["quick_check"]),
            metrics_directory=str(fields["metrics_directory"]),
            alarm_command=tuple(map(str, fields["alarm_command"])),
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise SettingsUnreadable(
            "guard_settings_unreadable",
            read=f"{SETTINGS}: {error!r}",
            want=f"the settings of schema {_SCHEMA} that the role p2p_guard writes",
            remedy="run site.yml again; it writes them anew",
        ) from error
