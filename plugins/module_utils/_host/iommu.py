# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What stands between a device's addresses and memory: its IOMMU group and how it translates."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from .files import read_text
from .foreign_text import decimal

IDENTITY = "identity"
UNKNOWN = "unknown"
_TYPES = (IDENTITY, "DMA", "DMA-FQ")


@dataclass(frozen=True)
class IommuGroup:
    """A group's number and type: ``identity``, ``DMA``, ``DMA-FQ`` or ``unknown``.

    ``identity`` passes addresses through; the two DMA types translate (``FQ`` = lazily flushed).
    """

    number: int
    type: str


def group_of(root: Path, bdf: str) -> IommuGroup | None:
    """Return the function's IOMMU group; None where no IOMMU is in its way."""
    link = root / "sys/bus/pci/devices" / bdf / "iommu_group"
    name = link.resolve().name if link.is_symlink() else ""
    number = decimal(name)
    if number is None:
        return None
    text = read_text(root / "sys/kernel/iommu_groups" / name / "type")
    kind = UNKNOWN if text is None else text.strip()
    return IommuGroup(number, kind if kind in _TYPES else UNKNOWN)
