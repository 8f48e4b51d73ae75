# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The Python face of gpufleet: run the collection's playbooks and read typed results.

>>> from gpufleet import Fleet
>>> result = Fleet("inventory.yml").verify()
>>> result.verified
True
"""

from __future__ import annotations

from .errors import FleetError, GpufleetError, Interrupted
from .events import Event
from .fleet import Fleet
from .local import verify_here
from .results import FleetResult, HostRecord, HostResult, Result

__all__ = [
    "Event",
    "Fleet",
    "FleetError",
    "FleetResult",
    "GpufleetError",
    "HostRecord",
    "HostResult",
    "Interrupted",
    "Result",
    "verify_here",
]
