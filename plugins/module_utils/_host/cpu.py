# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The processor's maker, which decides the IOMMU's kernel parameters."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from .files import read_text

_VENDORS = {"GenuineIntel": "intel", "AuthenticAMD": "amd"}


@dataclass(frozen=True)
class Cpu:
    """``vendor`` is intel, amd or other; ``model`` is the name the processor gives itself."""

    vendor: str
    model: str


def parse_cpuinfo(text: str) -> Cpu:
    """Return what the first processor of a ``/proc/cpuinfo`` says of itself."""
    fields: dict[str, str] = {}
    for name, value in re.findall(r"(?m)^(\w[\w ]*?)\s*:[ \t]*(.*)$", text):
        fields.setdefault(name, value.strip())
    return Cpu(
        vendor=_VENDORS.get(fields.get("vendor_id", ""), "other"),
        model=fields.get("model name", ""),
    )


def read_cpu(root: Path = Path("/")) -> Cpu:
    """Return this host's processor."""
    return parse_cpuinfo(read_text(root / "proc/cpuinfo") or "")
