# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a gate is: one question to the facts, and an answer an operator can act on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .._driver.catalogue import Catalogue, CatalogueBuild
from .._driver.specification import DriverBuild
from .._host.kernel import release_order

Facts = Mapping[str, Any]

MIB = 1 << 20
# A build of a whole tree in /var: the tree grows from 130 to 513 MB, beside the source, its copy
# while it is patched, and the archive.
FULL_BUILD_MIB = 1024
DEFAULT_FREE_MIB = {"/boot": 256, "/usr": 512, "/var": 512}


@dataclass(frozen=True)
class Gate:
    """A gate's answer.

    ``remedy`` is empty where it passed. ``note`` tells of what does not stop the host and
    deserves a look: an unknown that was let through, or why the gate did not apply.
    """

    name: str
    passed: bool
    read: str
    want: str
    remedy: str = ""
    note: str = ""


@dataclass(frozen=True)
class Intent:
    """What is about to be done to the host, and how much of it the operator accepts.

    ``driver_version`` is the release to install, None for none; ``build`` is its whole description
    and ``source`` what driver_source told of it, or the error it ended with, both None where only
    the release is known. ``catalogue`` are the known builds. ``compiles`` says that this host may
    have to compile the driver now, and not only after its next kernel update. ``parameters`` are
    the kernel parameters to bring into force, and ``trial_boot`` whether they are tried for one
    boot before they become the default. ``drains`` says that the host's work is ended in an orderly
    way before it is interrupted.
    """

    driver_version: str | None = None
    build: DriverBuild | None = None
    source: Mapping[str, Any] | None = None
    catalogue: Catalogue | None = None
    compiles: bool = True
    install_headers: bool = False
    parameters: tuple[str, ...] = ()
    trial_boot: bool = True
    allow_busy: bool = False
    drains: bool = False
    allow_nvlink_loss: bool = False
    minimum_gpus: int = 2
    bar1_headroom_mib: int = 0
    minimum_free_mib: Mapping[str, int] = field(default_factory=lambda: dict(DEFAULT_FREE_MIB))

    @property
    def builds_full_source(self) -> bool:
        """Whether this host may have to compile the resource manager too."""
        described = (self.source or {}).get("description")
        return self.compiles and described is not None and not described["prebuilt"]

    @property
    def known_build(self) -> CatalogueBuild | None:
        """The build's entry in the catalogue, None where it has none."""
        if self.build is None or self.catalogue is None:
            return None
        return self.catalogue.find(self.build)


def needed_kernels(facts: Facts) -> list[str]:
    """Return the running kernel's release and every newer one, which the next boot may take."""
    kernel = facts["kernel"]
    running = kernel["release"]
    order = release_order(running)
    return [running, *(r for r in kernel["installed"] if release_order(r) > order)]


def mib(size: int) -> str:
    """Return a size in bytes as text in MiB, rounded down."""
    return f"{size // MIB} MiB"


def names_of(gpus: list[Mapping[str, Any]]) -> str:
    """Return the GPUs' addresses, with their names where known, as text."""
    return ", ".join(
        f"{gpu['bdf']} ({gpu['name']})" if gpu.get("name") else str(gpu["bdf"]) for gpu in gpus
    )


def not_needed(name: str, want: str) -> Gate:
    """Return the answer of a gate that guards a driver installation where none is asked for."""
    return Gate(name, True, "no driver installation asked for", want, note="not needed")
