# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The embedded default: real virtual machines that stand for servers with GPUs."""

from __future__ import annotations

from .description import HostDescription, read_description
from .lab import Lab, LabStatus, MemberStatus
from .section import DescriptionInvalid

__all__ = [
    "DescriptionInvalid",
    "HostDescription",
    "Lab",
    "LabStatus",
    "MemberStatus",
    "read_description",
]
