# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a run was asked for."""

from __future__ import annotations

from dataclasses import dataclass, field

from .._host.errors import GpufleetError
from .._host.pci import DEFAULT_GPU_MATCH
from .verdict import Thresholds

BUFFER_BYTES_AT_LEAST = 1 << 20

_DEFAULT_BYTES = 256 << 20
_QUICK_BYTES = 32 << 20


class OptionRefused(GpufleetError):
    """An option has a value with which nothing could be measured."""


@dataclass(frozen=True)
class Options:
    """What a run was asked for; the module p2p_verify documents each.

    Raises:
        OptionRefused: a buffer is too small to tell anything, or no time is given.
    """

    gpu_match: tuple[str, ...] = DEFAULT_GPU_MATCH
    devices: tuple[str, ...] = ()
    buffer_bytes: int | None = None
    child_timeout: float = 120.0
    quick: bool = False
    allow_busy: bool = False
    expected_build_id: str | None = None
    thresholds: Thresholds = field(default_factory=Thresholds)

    def __post_init__(self) -> None:
        size = self.buffer_bytes
        if size is not None and size < BUFFER_BYTES_AT_LEAST:
            raise OptionRefused(
                "buffer_too_small",
                read=f"buffer_bytes: {size}",
                want=f"at least {BUFFER_BYTES_AT_LEAST} (1 MiB)",
                remedy="give more, or leave the option out",
            )
        if self.child_timeout <= 0:
            raise OptionRefused(
                "timeout_too_short",
                read=f"child_timeout: {self.child_timeout:g}",
                want="more than 0 seconds; a pair takes 2 to 5",
                remedy="give more, or leave the option out",
            )

    @property
    def payload_bytes(self) -> int:
        """The size of each buffer where memory allows."""
        return self.buffer_bytes or (_QUICK_BYTES if self.quick else _DEFAULT_BYTES)
