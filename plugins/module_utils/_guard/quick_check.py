# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Copies between idle GPUs, compared with the pairs that passed at the last verification."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from .._driver.identity import loaded_module
from .._gpu.nvml import Nvml, open_nvml
from .._host.device_users import device_users
from .._host.errors import GpufleetError
from .._host.lock import holder
from .._p2p.options import Options
from .._p2p.result import FAIL, Driver, Result
from .._p2p.runner import verify
from .._p2p.subjects import GpusBusy
from .alarm import Finding, finding_of
from .places import Settings
from .record import Record

PASSED = "passed"
FAILED = "failed"
BUSY = "busy"
OFF = "off"
P2P_LOST = "p2p_lost"

_PAIR_SECONDS = 120.0


@dataclass(frozen=True)
class QuickCheck:
    """How the trial ended: passed, failed, busy (not tried, the GPUs are not free) or off."""

    outcome: str
    findings: tuple[Finding, ...] = ()


def quick_check(record: Record, settings: Settings, root: Path = Path("/")) -> QuickCheck:
    """Try the pairs that passed, unless it is switched off or the GPUs are not free for it.

    They are not where a program uses one of them, or a run holds the host: its own verification
    must find the GPUs idle.
    """
    if not settings.quick_check or not record.groups:
        return QuickCheck(OFF)
    if holder(root) is not None or device_users(root):
        return QuickCheck(BUSY)
    loaded = loaded_module(root, "nvidia")
    try:
        with open_nvml(None) as nvml:
            driver = Driver(nvml.driver_version(), loaded.build_id if loaded else None, None)
            result = _measured(nvml, driver, record, settings, root)
    except GpusBusy:
        return QuickCheck(BUSY)
    except GpufleetError as error:
        return QuickCheck(FAILED, (finding_of(error),))
    found = judge(record, result)
    return QuickCheck(FAILED if found else PASSED, found)


def judge(record: Record, result: Result) -> tuple[Finding, ...]:
    """Return what the measurement says against the pairs of the record's groups."""
    bdf = {gpu.index: gpu.bdf for gpu in result.gpus}
    wanted = {(a, b) for group in record.groups for a in group for b in group if a != b}
    lost = [
        f"{bdf[pair.source]} to {bdf[pair.target]}: {', '.join(pair.reasons) or 'failed'}"
        for pair in result.pairs
        if pair.verdict == FAIL and (bdf[pair.source], bdf[pair.target]) in wanted
    ]
    if not lost:
        return ()
    return (
        Finding(
            P2P_LOST,
            read="; ".join(lost),
            want="every pair that passed at the last verification",
            remedy="run verify.yml for the causes; until then set NCCL_P2P_DISABLE=1 for programs",
        ),
    )


def _measured(nvml: Nvml, driver: Driver, record: Record, settings: Settings, root: Path) -> Result:
    on_bus = {device.bdf for device in nvml.devices()}
    devices = dict.fromkeys(bdf for group in record.groups for bdf in group if bdf in on_bus)
    options = Options(
        gpu_match=settings.gpu_match,
        devices=tuple(devices),
        quick=True,
        child_timeout=_PAIR_SECONDS,
    )
    return verify(nvml, driver, options, root=root)
