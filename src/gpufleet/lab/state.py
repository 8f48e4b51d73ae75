# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a lab remembers between commands."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible_collections.gpufleet.p2p.plugins.module_utils._host.errors import GpufleetError
from ansible_collections.gpufleet.p2p.plugins.module_utils._host.files import read_text

from .description import HostDescription, parse_description

STATE_FILE = "state.json"
_SCHEMA = 1


class LabRefused(GpufleetError):
    """The lab cannot do this as it is now."""


@dataclass(frozen=True)
class LabState:
    """A lab's descriptions, the golden disk that each machine stands on, and everyone's port."""

    hosts: tuple[HostDescription, ...]
    images: dict[str, str]
    kvm: bool
    ports: dict[str, int]

    def as_bytes(self) -> bytes:
        """Return the JSON that `read_state` reads back to an equal value."""
        document = {
            "schema": _SCHEMA,
            "hosts": [json.loads(host.as_json()) for host in self.hosts],
            "images": self.images,
            "kvm": self.kvm,
            "ports": self.ports,
        }
        return (json.dumps(document, indent=2) + "\n").encode()


def read_state(path: Path) -> LabState | None:
    """Return what the lab's file holds, or None where there is no lab yet.

    Raises:
        DescriptionInvalid: a description in it is none that this release knows.
    """
    text = read_text(path)
    if text is None:
        return None
    data: dict[str, Any] = json.loads(text)
    hosts = tuple(parse_description(json.dumps(host), source=str(path)) for host in data["hosts"])
    # Labs from when there was one kind of guest remember one image.
    images = data.get("images") or {host.name: data["image"] for host in hosts}
    return LabState(hosts, images, data["kvm"], data["ports"])


def one_release(hosts: Sequence[HostDescription]) -> str:
    """Return the Debian release that all hosts run.

    Raises:
        LabRefused: they run several, and there is one build host.
    """
    releases = {host.name: host.kind.release for host in hosts}
    if len(set(releases.values())) != 1:
        raise LabRefused(
            "lab_releases_differ",
            read=", ".join(f"{name} runs {release}" for name, release in releases.items()),
            want="one Debian release, which the lab's build host has too",
            remedy="describe machines of one release, and make another lab by --name",
        )
    return hosts[0].kind.release
