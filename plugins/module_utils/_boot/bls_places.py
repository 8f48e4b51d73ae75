# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a host with BLS entries keeps kernel parameters: the texts to which ours are appended."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from .._host.files import mode_of, read_bytes
from .bls_entry import OPTIONS, BlsEntry
from .grub_environment import set_variable
from .interface import BootConfigurationRefused, BootFile, Step, WriteFile

KERNEL_CMDLINE = Path("etc/kernel/cmdline")
KERNELOPTS = "kernelopts"


class Place(Protocol):
    """One text of parameters; ``name`` tells it from the others, for people and the record."""

    @property
    def name(self) -> str:
        """What the text is called."""

    @property
    def text(self) -> str:
        """The parameters in it, in the quotes that GRUB takes away."""

    @property
    def is_rescue(self) -> bool:
        """Whether it is to be without ours: only grub2-mkconfig brings them there."""

    def step(self, text: str) -> Step:
        """Return the step that replaces the text."""


@dataclass(frozen=True)
class EntryOptions:
    """The ``options`` of one entry."""

    entry: BlsEntry

    @property
    def name(self) -> str:
        """The entry's file name."""
        return self.entry.path.name

    @property
    def text(self) -> str:
        """Its options as written, variables and all."""
        return self.entry.value(OPTIONS) or ""

    @property
    def is_rescue(self) -> bool:
        """Whether it is a rescue entry's."""
        return self.entry.is_rescue

    def step(self, text: str) -> Step:
        """Return the step that writes the entry with other options."""
        path, old = self.entry.path, self.entry.text.encode("utf-8", "surrogateescape")
        new = self.entry.with_value(OPTIONS, text).encode("utf-8", "surrogateescape")
        return BootFile(f"change the options of {self.name}", path, old, new, mode_of(path, 0o644))


@dataclass(frozen=True)
class SharedOptions:
    """``kernelopts`` in grubenv: one text for all entries that name it, as RHEL 8 has them."""

    environment: Path
    text: str
    name: str = KERNELOPTS
    is_rescue: bool = False

    def step(self, text: str) -> Step:
        """Return the step that sets the variable; refused where grubenv has no room for it."""
        return set_variable(f"set {self.name}", self.environment, self.name, text)


@dataclass(frozen=True)
class NewKernels:
    """/etc/kernel/cmdline: what kernel-install writes into the entries of new kernels."""

    path: Path
    content: str
    name: str = str(KERNEL_CMDLINE)
    is_rescue: bool = False

    @property
    def text(self) -> str:
        """The parameters without the line's end."""
        return self.content.strip()

    def step(self, text: str) -> Step:
        """Return the step that writes the file."""
        start = len(self.content) - len(self.content.lstrip())
        new = self.content[:start] + text + self.content[start + len(self.text) :]
        old = self.content.encode("utf-8", "surrogateescape")
        encoded = new.encode("utf-8", "surrogateescape")
        return WriteFile(f"change /{self.name}", self.path, old, encoded, mode_of(self.path, 0o644))


def missing_source(root: Path, default: BlsEntry) -> str | None:
    """Return why a new kernel's parameters could not be told, or None if they can.

    Without the file, kernel-install copies the running kernel's line into the new default entry: a
    trial's parameters and token too, and what needs quotes without them.
    """
    if uses_shared(default) or (read_bytes(root / KERNEL_CMDLINE) or b"").strip():
        return None
    return f"no /{KERNEL_CMDLINE}: a new kernel would be given the running one's parameters"


def uses_shared(entry: BlsEntry) -> bool:
    """Whether the entry takes its parameters from ``kernelopts``."""
    return f"${KERNELOPTS}" in (entry.value(OPTIONS) or "")


def places_of(
    root: Path,
    entries: Sequence[BlsEntry],
    default: BlsEntry,
    environment: Path,
    shared: str | None,
) -> list[Place]:
    """Return every place that this host has, the default entry's last.

    So a change that is killed half-way has not reached the default yet, and once it has, it is
    complete. Rescue entries stay as they are known to boot, but on RHEL 8 they name ``kernelopts``
    too.

    Raises:
        BootConfigurationRefused: entries name ``kernelopts``, and it is not in grubenv.
    """
    places: list[Place] = []
    content = read_bytes(root / KERNEL_CMDLINE)
    if content is not None and content.strip():
        text = content.decode("utf-8", "surrogateescape")
        places.append(NewKernels(root / KERNEL_CMDLINE, text))
    own = [entry for entry in entries if entry.value(OPTIONS) is not None]
    last: list[Place] = []
    for entry in reversed(own):
        if not uses_shared(entry):
            (last if entry == default else places).append(EntryOptions(entry))
    if any(uses_shared(entry) for entry in own):
        if shared is None:
            raise BootConfigurationRefused(
                "kernelopts_missing",
                read=f"entries with ${KERNELOPTS}, which {environment} does not have",
                want=f"{KERNELOPTS} in grubenv, as grub2-mkconfig of RHEL 8 writes it",
                remedy="generate it with grub2-mkconfig, to where /etc/grub2.cfg or"
                " /etc/grub2-efi.cfg points",
            )
        (last if uses_shared(default) else places).append(SharedOptions(environment, shared))
    return [*places, *last]
