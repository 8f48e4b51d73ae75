# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the host records by itself while pairs are measured, from the run's begin to its end."""

from __future__ import annotations

from .._host.kernel_faults import faults_in
from .._host.kernel_log import KernelLog
from .host_evidence import KernelWords


def words_since(log: KernelLog) -> KernelWords:
    """Return the faults the kernel logged since ``log`` was opened."""
    reading = log.read()
    if reading.messages is None:
        return KernelWords(read=False, remark=reading.remark)
    return KernelWords(faults_in(reading.messages), remark=reading.remark)
