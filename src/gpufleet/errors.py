# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The errors of the Python face; they carry the same read, want and remedy as a module's."""

from __future__ import annotations

from ansible_collections.gpufleet.p2p.plugins.module_utils._host.errors import GpufleetError

__all__ = ["FleetError", "GpufleetError", "Interrupted"]


class FleetError(GpufleetError):
    """A run could not be started, or ended without saying anything about a host."""


class Interrupted(FleetError):
    """The run was ended by Ctrl-C or SIGTERM; hosts may be between two steps."""

    def __init__(self) -> None:
        super().__init__(
            "interrupted",
            read="an interrupt from the operator",
            want="the run to end by itself",
            remedy="run the same command again: it resumes from the state of the hosts",
        )
