# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The throw-away hosts, for every test of this folder."""

from __future__ import annotations

from support.driver_hosts import base_system, builder, new_host
from support.guarded_hosts import boot_host, driver_host, packages

__all__ = ["base_system", "boot_host", "builder", "driver_host", "new_host", "packages"]
