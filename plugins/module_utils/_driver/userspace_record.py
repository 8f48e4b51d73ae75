# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The record of what was changed about NVIDIA's libraries: what the way back is made of."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .._host.state_file import read_state
from .initramfs import STATE_DIRECTORY

RECORD = STATE_DIRECTORY / "userspace.json"
_SCHEMA = 1


@dataclass(frozen=True)
class Held:
    """What was changed here.

    Attributes:
        selections: dpkg's selections of packages as they were.
        installed: whether the libraries were installed here, by NVIDIA's installer.
        versions: the packages that were brought to another release, by the version before.
    """

    selections: Mapping[str, str] = field(default_factory=dict)
    installed: bool = False
    versions: Mapping[str, str] = field(default_factory=dict)

    def as_json(self) -> bytes:
        """Return the record as it stands in its file."""
        fields = {
            "schema": _SCHEMA,
            "selections": dict(self.selections),
            "installed": self.installed,
            "versions": dict(self.versions),
        }
        return (json.dumps(fields, indent=2, sort_keys=True) + "\n").encode()


def read_held(path: Path = RECORD) -> Held:
    """Return the record, an empty one where there is none.

    Raises:
        StateUnreadable: it is damaged.
    """
    found = read_state(
        path,
        parse_held,
        want=f"the record of schema {_SCHEMA} of what was held and installed",
        remedy="see what is on hold (apt-mark showhold), lift by hand what gpufleet set, remove"
        " that file, then run again",
    )
    return found or Held()


def parse_held(fields: Any) -> Held:
    """Return the record in a file's JSON.

    Raises:
        ValueError, KeyError, TypeError, AttributeError: it is none of this schema.
    """
    if fields["schema"] != _SCHEMA or not isinstance(fields["installed"], bool):
        raise ValueError(f"schema {fields['schema']!r}")
    selections = {str(name): str(want) for name, want in fields["selections"].items()}
    versions = {str(name): str(v) for name, v in fields.get("versions", {}).items()}
    return Held(selections, fields["installed"], versions)
