# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What every boot loader offers: the one interface that modules use, and steps as plain data."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from .._host.errors import GpufleetError
from .._host.files import FileChange, remove_empty
from .._host.kernel import TRIAL_PARAMETER
from .._host.watchdog import PARAMETER as WATCHDOG_PARAMETER
from .cmdline import CommandLine, Parameter
from .conflicts import Conflict

STATE_DIRECTORY = Path("var/lib/gpufleet/boot")


class BootLoaderUnsupported(GpufleetError):
    """The host boots in a way that gpufleet does not change; ``loader`` names it."""

    def __init__(self, loader: str | None, *, read: str, remedy: str) -> None:
        super().__init__(
            "unsupported_boot_loader",
            read=read,
            want="a boot loader that docs/boot.md names",
            remedy=remedy,
        )
        self.loader = loader


class BootConfigurationRefused(GpufleetError):
    """The boot loader is known, but its configuration is in a state that is not safe to change."""


class TrialRefused(GpufleetError):
    """A trial boot cannot be had, or is not in the state that was asked for."""


@dataclass(frozen=True)
class TrialSupport:
    """Whether the boot loader can try an entry once and fall back by itself, and why not."""

    possible: bool
    reason: str = ""


def refuse_impossible_trial(support: TrialSupport) -> None:
    """Refuse where an entry cannot be tried once.

    Raises:
        TrialRefused: with the reason.
    """
    if not support.possible:
        raise TrialRefused(
            "trial_impossible",
            read=support.reason,
            want="a boot loader that can forget a one-shot entry by itself",
            remedy="use trial: false, which changes the default entry at once and has no way"
            " back but the recovery entry; or move /boot to a plain partition",
        )


@dataclass(frozen=True)
class Trial:
    """A boot to be tried once.

    ``token`` appears in the tried kernel's command line; ``panic_seconds`` is how long a
    panicking kernel waits before it restarts into the old entry; ``boot_id`` is the boot in which
    the trial was armed and ``created`` when (UTC, ISO 8601). ``watchdog_seconds`` is what systemd
    is given for the watchdog in that boot, 0 for nothing.
    """

    token: str
    parameters: tuple[str, ...]
    panic_seconds: int
    boot_id: str
    created: str
    watchdog_seconds: int = 0

    @property
    def own_texts(self) -> tuple[str, ...]:
        """What the trial's entry has behind its parameters: token, watchdog, and panic=.

        panic= comes last, so that it is the one that counts.
        """
        seconds = self.watchdog_seconds
        watchdog = (f"{WATCHDOG_PARAMETER}={seconds}",) if seconds else ()
        return (f"{TRIAL_PARAMETER}={self.token}", *watchdog, f"panic={self.panic_seconds}")


class Step(Protocol):
    """One change, described before it is made; safe to repeat and to be killed after."""

    @property
    def name(self) -> str:
        """What the step does, for people."""

    def apply(self) -> bool:
        """Make the change; return whether anything was altered."""

    def undo(self) -> None:
        """Take the change back, as far as it was made."""

    def as_diff(self) -> dict[str, str]:
        """Return Ansible's diff record."""


@dataclass(frozen=True)
class WriteFile:
    """A step that writes or removes one file; ``after`` None stands for absent."""

    name: str
    path: Path
    before: bytes | None
    after: bytes | None
    mode: int = 0o644

    def apply(self) -> bool:
        """Replace the file as a whole.

        Raises:
            OSError: the file system refused; the old file is untouched.
        """
        return self._change(self.before, self.after).apply()

    def undo(self) -> None:
        """Put back what was there before."""
        self._change(self.after, self.before).apply()

    def as_diff(self) -> dict[str, str]:
        """Return Ansible's diff record."""
        return self._change(self.before, self.after).as_diff()

    def _change(self, before: bytes | None, after: bytes | None) -> FileChange:
        return FileChange(self.path, before, after, self.mode)


@dataclass(frozen=True)
class BootFile(WriteFile):
    """A step on a file that the boot loader itself reads, without replaying a journal."""

    def _change(self, before: bytes | None, after: bytes | None) -> FileChange:
        return FileChange(self.path, before, after, self.mode, settled=True)


@dataclass(frozen=True)
class StateFile(WriteFile):
    """A step on a file in STATE_DIRECTORY, which goes when the last file in it does."""

    def apply(self) -> bool:
        """Write or remove the file; return whether anything, an empty directory too, was altered.

        Raises:
            OSError: the file system refused; the old file is untouched.
        """
        changed = super().apply()
        return self._prune() or changed

    def undo(self) -> None:
        """Put back what was there before."""
        super().undo()
        self._prune()

    def _prune(self) -> bool:
        directory = self.path.parent
        pruned = remove_empty(directory)
        # The driver's state and the lock lie beside it.
        remove_empty(directory.parent)
        return pruned


def apply_in_order(steps: Sequence[Step]) -> bool:
    """Apply the steps; return whether anything was altered.

    Raises:
        GpufleetError, OSError: what the failing step raised, after the steps before it were
            taken back, so that a refused change leaves the files as they were.
    """
    changed = False
    done: list[Step] = []
    try:
        for step in steps:
            changed = step.apply() or changed
            done.append(step)
    except (GpufleetError, OSError):
        for step in reversed(done):
            step.undo()
        raise
    return changed


class BootLoader(ABC):
    """A boot loader's configuration; a new loader is one file with one subclass.

    The methods that return steps change nothing themselves. Steps are given in an order in which
    the host boots its old or its new default whatever step it is killed after.
    """

    name: str
    firmware: str
    # "intel", "amd" or None: whose IOMMU switches count, see conflicts.in_force().
    vendor: str | None

    @abstractmethod
    def default_entry(self) -> str:
        """Return the identity of the entry that boots by default."""

    @abstractmethod
    def configured(self) -> CommandLine:
        """Return the default entry's command line, less what the loader itself adds at boot."""

    @abstractmethod
    def own_parameters(self) -> tuple[Parameter, ...] | None:
        """Return what gpufleet configured; None where it configured nothing."""

    @abstractmethod
    def conflicts(self, parameters: Sequence[Parameter]) -> tuple[Conflict, ...]:
        """Return configured parameters of others that contradict these."""

    @abstractmethod
    def after(self, parameters: Sequence[Parameter] | None) -> CommandLine:
        """Return what ``configured`` will be once gpufleet's parameters are these."""

    @abstractmethod
    def steps_to_configure(self, parameters: Sequence[Parameter] | None) -> list[Step]:
        """Return what makes these, and no others of gpufleet's, the default; None removes all."""

    @abstractmethod
    def trial_support(self) -> TrialSupport:
        """Tell whether a one-shot boot with a way back is possible on this host."""

    def init_obstacle(self) -> str | None:
        """Return why the kernel would not see a trial's token, or None if it would.

        Raises:
            BootConfigurationRefused: the default entry cannot be told.
        """
        token = Parameter(TRIAL_PARAMETER, "0")
        if self.after([token]).value_of(TRIAL_PARAMETER) is not None:
            return None
        return "the default entry has a lone --, behind which a trial's words would be for init"

    @abstractmethod
    def steps_to_arm(self, trial: Trial) -> list[Step]:
        """Return what makes the next boot, and only it, the trial's."""

    @abstractmethod
    def steps_to_disarm(self) -> list[Step]:
        """Return what removes any trial entry and its selection; nothing where there is none."""

    @abstractmethod
    def next_boot_token(self) -> str | None:
        """Return the token of the trial that the next boot would take, or None."""
