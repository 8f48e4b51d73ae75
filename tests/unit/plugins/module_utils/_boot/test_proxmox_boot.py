# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Proxmox hosts of both kinds: present, absent, no trial, and a refresh that fails half-way."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.gpufleet.p2p.plugins.module_utils._boot import plan
from ansible_collections.gpufleet.p2p.plugins.module_utils._boot.conflicts import ParameterConflict
from ansible_collections.gpufleet.p2p.plugins.module_utils._boot.interface import (
    BootConfigurationRefused,
    Step,
    TrialRefused,
    apply_in_order,
)
from support.proxmox_host import (
    CMDLINE,
    OPTIONS,
    PARTITIONS,
    ProxmoxGrubHost,
    ProxmoxHost,
)

WANTED = ["intel_iommu=on", "iommu=pt"]
OLD = OPTIONS.split()
NEW = [*OLD, *WANTED]
KINDS = [ProxmoxHost, ProxmoxGrubHost]


@pytest.fixture(params=KINDS)
def host(request: pytest.FixtureRequest, tmp_path: Path) -> ProxmoxHost:
    kind: type[ProxmoxHost] = request.param
    return kind(tmp_path)


def present(host: ProxmoxHost, *, trial: bool = False) -> plan.CommandLinePlan:
    return plan.plan_present(host.observe(), WANTED, trial=trial, panic_seconds=30)


def remove(host: ProxmoxHost) -> list[Step]:
    return plan.plan_absent(host.observe(), []).steps


def test_configured_copied_to_every_partition_and_taken_back(host: ProxmoxHost) -> None:
    pristine = host.tree()
    planned = present(host)
    assert planned.reboot_required
    apply_in_order(planned.steps)
    for partition in PARTITIONS:
        host.reboot(partition)
        assert host.booted() == NEW
    settled = present(host)
    assert (settled.steps, settled.in_force, settled.reboot_required) == ([], True, False)
    apply_in_order(remove(host))
    assert host.tree() == pristine
    assert remove(host) == []


def test_a_trial_is_refused_with_the_alternative_by_name(host: ProxmoxHost) -> None:
    before = host.tree()
    with pytest.raises(TrialRefused) as refusal:
        present(host, trial=True)
    assert refusal.value.code == "trial_impossible"
    assert "trial: false" in refusal.value.remedy
    assert refusal.value.read == host.loader().trial_support().reason
    assert host.tree() == before
    assert plan.plan_abandoned(host.observe(), None).steps == []


def test_a_partition_that_is_skipped_with_a_warning_is_a_refusal(host: ProxmoxHost) -> None:
    host.missing.add(PARTITIONS[1])
    with pytest.raises(BootConfigurationRefused) as refusal:
        apply_in_order(present(host).steps)
    assert refusal.value.code == "boot_partition_not_refreshed"
    assert PARTITIONS[1] in refusal.value.read
    # One partition has the parameters now; the next run, or a removal, goes through both.
    host.missing.clear()
    assert present(host).steps
    apply_in_order(remove(host))
    assert set(host.partitions.values()) == {" ".join(OLD)}


def test_a_sticky_parameter_is_refused_with_its_file(tmp_path: Path) -> None:
    host = ProxmoxHost(tmp_path)
    host.write(CMDLINE, f"{OPTIONS} iommu=off\n")
    with pytest.raises(ParameterConflict) as refusal:
        present(host)
    assert refusal.value.read == "iommu=off in /etc/kernel/cmdline"


@pytest.mark.parametrize("text", [None, "", "quiet\n"])
def test_a_command_line_that_the_tool_would_not_take_is_refused(
    tmp_path: Path, text: str | None
) -> None:
    host = ProxmoxHost(tmp_path)
    host.path(CMDLINE).unlink()
    if text is not None:
        host.write(CMDLINE, text)
    with pytest.raises(BootConfigurationRefused) as refusal:
        present(host)
    assert refusal.value.code == "kernel_cmdline_missing"
