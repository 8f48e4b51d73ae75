# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reason codes of the check between two processes."""

from __future__ import annotations

# Data that one process writes to another's memory is wrong, or the attempt ended badly.
IPC_FAILED = "ipc_failed"
# The driver or the system does not let processes share GPU memory: nothing is known of the data.
IPC_UNSUPPORTED = "ipc_unsupported"
