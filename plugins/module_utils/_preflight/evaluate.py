# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every gate, in the order in which they are shown; all are evaluated, whatever the first says."""

from __future__ import annotations

from typing import Callable

from .._host.errors import GpufleetError
from . import boot_gates, driver_gates, gpu_gates, source_gates, userspace_gates
from .gate import Facts, Gate, Intent

FACTS_SCHEMA = 1

GATES: tuple[Callable[[Facts, Intent], Gate], ...] = (
    gpu_gates.gpu_count,
    gpu_gates.gpu_kernel_driver,
    gpu_gates.generation_supported,
    gpu_gates.rebar_too_small,
    gpu_gates.gpu_mig,
    gpu_gates.gpu_display,
    gpu_gates.gpus_busy,
    gpu_gates.nvlink_lost,
    boot_gates.boot_loader_supported,
    boot_gates.trial_possible,
    boot_gates.kernel_parameters_conflict,
    boot_gates.disk_space,
    source_gates.driver_source,
    source_gates.kernel_signature,
    source_gates.kernel_known_bad,
    driver_gates.secure_boot_key,
    driver_gates.kernel_headers,
    source_gates.compiler,
    driver_gates.dkms_present,
    driver_gates.initramfs_generator,
    driver_gates.competing_dkms_package,
    source_gates.distribution_module,
    driver_gates.modprobe_override,
    driver_gates.driver_registry,
    userspace_gates.userspace_version_match,
    userspace_gates.firmware_directory,
)


class FactsUnusable(GpufleetError):
    """The facts are not those of p2p_facts, or of another release of it."""


def evaluate(facts: Facts, intent: Intent) -> list[Gate]:
    """Return every gate's answer for a host's facts (schema 1) and what is about to be done.

    Raises:
        FactsUnusable: the facts are of another schema or lack a part.
    """
    if facts.get("schema") != FACTS_SCHEMA:
        raise _unusable(f"schema {facts.get('schema')!r}")
    try:
        return [gate(facts, intent) for gate in GATES]
    except KeyError as error:
        raise _unusable(f"facts without {error}") from error


def _unusable(read: str) -> FactsUnusable:
    return FactsUnusable(
        "facts_unusable",
        read=read,
        want=f"facts of schema {FACTS_SCHEMA}",
        remedy="run gpufleet.p2p.p2p_facts of this release and hand its ansible_facts.p2p over",
    )
