# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Single ways through present, absent and trial that have to come out the same on every host."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.gpufleet.p2p.plugins.module_utils._boot import conflicts, plan
from ansible_collections.gpufleet.p2p.plugins.module_utils._boot.cmdline import wanted
from ansible_collections.gpufleet.p2p.plugins.module_utils._boot.interface import (
    TrialRefused,
    apply_in_order,
)
from ansible_collections.gpufleet.p2p.plugins.module_utils._boot.trial import read_running
from support.boot_hosts import HOSTS, HOSTS_WITH_TRIALS
from support.file_tree_host import FileTreeHost

WANTED = ["intel_iommu=on", "iommu=pt"]


@pytest.fixture(params=HOSTS)
def host(request: pytest.FixtureRequest, tmp_path: Path) -> FileTreeHost:
    return HOSTS[request.param](tmp_path)


def set_it(host: FileTreeHost) -> plan.CommandLinePlan:
    return plan.plan_present(host.observe(), WANTED, trial=False, panic_seconds=30)


def try_it(host: FileTreeHost) -> plan.CommandLinePlan:
    return plan.plan_present(host.observe(), WANTED, trial=True, panic_seconds=30)


@pytest.mark.parametrize("applied", range(1, 6))
def test_a_removal_that_was_killed_has_to_be_made_up_for(host: FileTreeHost, applied: int) -> None:
    original = host.tree()
    apply_in_order(set_it(host).steps)
    configured = host.tree()
    removal = plan.plan_absent(host.observe(), []).steps
    for step in removal[:applied]:
        step.apply()
    # The default entry may have them still, where the files that it is made from have not.
    apply_in_order(set_it(host).steps)
    assert host.tree() == configured
    host.refresh()
    host.reboot()
    assert conflicts.in_force(wanted(WANTED), read_running(host.root).line, vendor="intel")
    apply_in_order(plan.plan_absent(host.observe(), []).steps)
    host.reboot()
    apply_in_order(plan.plan_absent(host.observe(), []).steps)
    assert host.tree() == original


@pytest.mark.parametrize("power_cut", [False, True])
@pytest.mark.parametrize("applied", range(1, 7))
@pytest.mark.parametrize("host", HOSTS_WITH_TRIALS, indirect=True)
def test_a_confirmation_that_was_killed_is_completed(
    host: FileTreeHost, applied: int, power_cut: bool
) -> None:
    apply_in_order(try_it(host).steps)
    host.reboot()
    for step in plan.plan_confirmed(host.observe(), None).steps[:applied]:
        step.apply()
    if power_cut:
        host.reboot()
    # As the role does: no reboot where a trial that runs already would be left by it.
    planned = try_it(host)
    apply_in_order(planned.steps)
    if planned.reboot_required:
        host.reboot()
    if planned.token is not None:
        apply_in_order(plan.plan_confirmed(host.observe(), None).steps)
    host.reboot()
    running = read_running(host.root)
    assert running.token is None
    assert conflicts.in_force(wanted(WANTED), running.line, vendor="intel")
    assert try_it(host).steps == []
    assert not any("trial" in name for name in host.tree())


@pytest.mark.parametrize("applied", range(1, 7))
def test_of_a_list_and_its_half_made_successor_one_is_ours(
    host: FileTreeHost, applied: int
) -> None:
    original = read_running(host.root).line.without(host.tool_parameters)
    former = ["pci=noats", "pcie_aspm=off"]
    apply_in_order(plan.plan_present(host.observe(), former, trial=False, panic_seconds=30).steps)
    for step in set_it(host).steps[:applied]:
        step.apply()
    # Nobody has asked for what comes of taking a part of both.
    apply_in_order(plan.plan_absent(host.observe(), ["pcie_aspm=off"]).steps)
    host.reboot()
    running = read_running(host.root).line.without(host.tool_parameters)
    lists = (wanted(["pci=noats"]), wanted(WANTED))
    assert running.parameters in [original.parameters + own for own in lists]


def test_no_trial_where_its_words_would_be_for_init(host: FileTreeHost) -> None:
    host.administer("-- single", "main")
    before = host.tree()
    support = host.loader().trial_support()
    assert not support.possible
    with pytest.raises(TrialRefused) as refusal:
        plan.plan_armed(host.observe(), None, unchanged=True)
    assert refusal.value.code == "trial_impossible"
    assert refusal.value.read == support.reason
    assert host.tree() == before
    if host.can_try:
        assert "lone --" in support.reason
