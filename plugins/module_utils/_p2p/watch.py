# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the host records by itself while pairs are measured, from the run's begin to its end."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from .._gpu.nvml import Counters, Nvml
from .._host.kernel_faults import faults_in
from .._host.kernel_log import KernelLog
from .host_evidence import KernelWords
from .result import GpuCounters


class Watch:
    """The kernel's log and the GPUs' error counters from a moment on; close it at the end.

    Args:
        root: of the tree with the kernel's log.
        nvml: the open management library.
    """

    def __init__(self, root: Path, nvml: Nvml) -> None:
        self._log = KernelLog(root)
        self._nvml = nvml
        self._before: dict[int, Counters] = {}

    def count(self, indices: Iterable[int]) -> None:
        """Begin to count the errors of these GPUs."""
        self._before = {index: self._nvml.counters(index) for index in indices}

    def close(self) -> None:
        """Give the log's descriptor back."""
        self._log.close()

    def words(self) -> KernelWords:
        """Return the faults the kernel logged."""
        return words_since(self._log)

    def counters(self) -> Mapping[int, GpuCounters]:
        """Return the errors each GPU counted since ``count``."""
        return {
            index: counters_between(before, self._nvml.counters(index))
            for index, before in self._before.items()
        }


def words_since(log: KernelLog) -> KernelWords:
    """Return the faults the kernel logged since ``log`` was opened."""
    reading = log.read()
    if reading.messages is None:
        return KernelWords(read=False, remark=reading.remark)
    return KernelWords(faults_in(reading.messages), remark=reading.remark)


def counters_between(before: Counters, after: Counters) -> GpuCounters:
    """Return the errors counted in between; None where either is not known.

    A counter that went back (the GPU was reset) has counted from 0 again.
    """
    return GpuCounters(
        _difference(before.pcie_replays, after.pcie_replays),
        _difference(before.ecc_corrected, after.ecc_corrected),
        _difference(before.ecc_uncorrected, after.ecc_uncorrected),
    )


def _difference(before: int | None, after: int | None) -> int | None:
    if before is None or after is None:
        return None
    return after - before if after >= before else after
