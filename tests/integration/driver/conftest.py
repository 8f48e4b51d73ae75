# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The throw-away hosts, for every test of this folder."""

from __future__ import annotations

from support.driver_hosts import base_system, builder, new_host

__all__ = ["base_system", "builder", "new_host"]
