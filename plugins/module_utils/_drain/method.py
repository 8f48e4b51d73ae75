# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The one interface behind which schedulers, units and commands drain a host."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from enum import Enum

from .._host.errors import GpufleetError


class DrainRefused(GpufleetError):
    """The host cannot be drained or restored by the method that was asked for."""


class Standing(Enum):
    """Who keeps work away from the host."""

    FREE = "free"
    OURS = "ours"
    # Drained by somebody else, who is the one to restore it.
    OTHER = "other"


@dataclass(frozen=True)
class Seen:
    """What a look at the host's standing found; ``read`` is it in words."""

    standing: Standing
    read: str


@dataclass(frozen=True)
class Work:
    """Whether the host's work has ended; ``read`` names what has not."""

    ended: bool
    read: str = ""


class Method(ABC):
    """One way to drain a host. Each step may be repeated, also after it was killed half-way."""

    @abstractmethod
    def look(self) -> Seen:
        """Return who keeps work away from the host; changes nothing.

        Raises:
            GpufleetError: the tool is missing or does not know the host.
        """

    @abstractmethod
    def drain(self) -> None:
        """Keep new work away from a host that is FREE.

        Raises:
            GpufleetError: the tool refused.
        """

    @abstractmethod
    def work(self) -> Work:
        """Return whether the work has ended; may ask it to end, and wait for some seconds.

        Raises:
            GpufleetError: the tool refused.
        """

    @abstractmethod
    def restore(self) -> None:
        """Let a host that is OURS have work again.

        Raises:
            GpufleetError: the tool refused.
        """
