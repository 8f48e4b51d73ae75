# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which cards have a connector for an NVLink bridge, and which driver builds lose it."""

from __future__ import annotations

import re

# Cards with a bridge's connector, of the generations that the peer-to-peer drivers support. Ada's
# and Blackwell's workstation and consumer cards have none. NVIDIA's data sheets.
_MODELS = re.compile(
    r"\b(?:RTX 3090(?: Ti)?|RTX A(?:4500|5000|5500|6000)|A(?:30|40|100|800)|H(?:100|200|800))\b"
)
_NOT_FULL_CARDS = re.compile(r"Laptop|Mobile|Max-Q")
# The first release whose peer-to-peer build prefers NVLink where it is present.
PREFERS_NVLINK_FROM = (595, 58, 3)


def has_nvlink(name: str) -> bool:
    """Return whether the model of that name, as NVML gives it, has NVLink.

    >>> has_nvlink("NVIDIA GeForce RTX 3090"), has_nvlink("NVIDIA RTX 6000 Ada Generation")
    (True, False)
    """
    return _MODELS.search(name) is not None and _NOT_FULL_CARDS.search(name) is None


def prefers_nvlink(version: str | None) -> bool:
    """Return whether a peer-to-peer build of this release leaves NVLink as it is.

    Builds up to 570 force PCI Express and lose it; of those between nothing is known, so only
    releases from 595.58.03 on are trusted.
    """
    numbers = re.findall(r"[0-9]{1,9}", version or "")
    return tuple(int(number) for number in numbers) >= PREFERS_NVLINK_FROM
