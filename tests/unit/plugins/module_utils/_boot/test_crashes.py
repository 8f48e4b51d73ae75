# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Killed between any two steps, a host boots old or tried, and the next run heals.

The product's steps are plain data, so a crash is the list of steps cut short, with a power cycle
behind it or none.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

from ansible_collections.gpufleet.p2p.plugins.module_utils._boot import plan
from ansible_collections.gpufleet.p2p.plugins.module_utils._boot.interface import (
    Step,
    TrialRefused,
    apply_in_order,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from support.boot_host import BootHost

WANTED = ["intel_iommu=on", "iommu=pt"]
OLD = "ro console=ttyS0,115200 quiet"
NEW = f"{OLD} intel_iommu=on iommu=pt"


def try_it(host: BootHost) -> list[Step]:
    return plan.plan_present(host.observe(), WANTED, trial=True, panic_seconds=30).steps


def set_it(host: BootHost) -> list[Step]:
    return plan.plan_present(host.observe(), WANTED, trial=False, panic_seconds=30).steps


def confirm(host: BootHost) -> list[Step]:
    try:
        return plan.plan_confirmed(host.observe(), None).steps
    except TrialRefused:
        return []


def abandon(host: BootHost) -> list[Step]:
    return plan.plan_abandoned(host.observe(), None).steps


def remove(host: BootHost) -> list[Step]:
    return plan.plan_absent(host.observe(), []).steps


ACTIONS: list[Callable[[BootHost], list[Step]]] = [try_it, set_it, confirm, abandon, remove]
EVENTS = st.lists(
    st.tuples(st.sampled_from(ACTIONS), st.integers(0, 7), st.integers(0, 2)), max_size=5
)


def booted(host: BootHost) -> str:
    """Return the running command line without what a trial adds and without the kernel's path."""
    line = host.command_line().split(" gpufleet.trial=")[0]
    return line[line.index("ro ") :]


def run_as_the_role_does(host: BootHost) -> None:
    """Reboot only where asked to: a running trial that is not confirmed must not be left."""
    planned = plan.plan_present(host.observe(), WANTED, trial=True, panic_seconds=30)
    apply_in_order(planned.steps)
    if planned.reboot_required:
        host.reboot()
    apply_in_order(confirm(host))


@settings(max_examples=40, deadline=None)
@given(EVENTS)
def test_any_sequence_of_crashes_ends_wanted_or_original(
    events: list[tuple[Callable[[BootHost], list[Step]], int, int]],
) -> None:
    with tempfile.TemporaryDirectory() as directory:
        host = BootHost(Path(directory))
        pristine = host.tree()
        for action, steps_before_the_kill, reboots in events:
            for step in action(host)[:steps_before_the_kill]:
                step.apply()
            for _ in range(reboots):
                host.reboot()
                assert booted(host) in {OLD, NEW}
        # The run is repeated, this time undisturbed.
        run_as_the_role_does(host)
        assert try_it(host) == []
        host.reboot()
        assert host.command_line().endswith(NEW)
        apply_in_order(remove(host))
        assert host.tree() == pristine
        host.reboot()
        assert host.command_line().endswith(OLD)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 5), st.booleans())
def test_a_killed_confirmation_is_completed(steps_before_the_kill: int, power_cut: bool) -> None:
    with tempfile.TemporaryDirectory() as directory:
        host = BootHost(Path(directory))
        apply_in_order(try_it(host))
        host.reboot()
        for step in confirm(host)[:steps_before_the_kill]:
            step.apply()
        if power_cut:
            host.reboot()
            assert booted(host) in {OLD, NEW}
        run_as_the_role_does(host)
        host.reboot()
        assert host.command_line().endswith(NEW)
        assert "boot/grub/custom.cfg" not in host.tree()
        assert "var/lib/gpufleet/boot/trial.json" not in host.tree()
