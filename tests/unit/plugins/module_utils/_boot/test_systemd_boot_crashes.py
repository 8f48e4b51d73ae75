# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Killed between any two steps, a systemd-boot host boots old or tried, and the next run heals.

As test_crashes.py has it for GRUB, and besides: at any moment the host's own tool may make an entry
anew, as it does whenever an initramfs is updated.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from ansible_collections.gpufleet.p2p.plugins.module_utils._boot import plan
from ansible_collections.gpufleet.p2p.plugins.module_utils._boot.interface import (
    Step,
    TrialRefused,
    apply_in_order,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from support.systemd_boot_host import OPTIONS, RELEASES, KernelstubHost, SystemdBootHost

WANTED = ["intel_iommu=on", "iommu=pt"]
OTHER = ["pci=noats"]
OLD = OPTIONS.split()
NEW = [*OLD, *WANTED]
Action = Callable[[SystemdBootHost], "list[Step]"]


def without_file(root: Path) -> SystemdBootHost:
    return SystemdBootHost(root, has_parameter_file=False)


KINDS: list[Callable[[Path], SystemdBootHost]] = [SystemdBootHost, without_file, KernelstubHost]


def try_it(host: SystemdBootHost) -> list[Step]:
    return plan.plan_present(host.observe(), WANTED, trial=True, panic_seconds=30).steps


def set_it(host: SystemdBootHost) -> list[Step]:
    return plan.plan_present(host.observe(), WANTED, trial=False, panic_seconds=30).steps


def set_half_of_it(host: SystemdBootHost) -> list[Step]:
    return plan.plan_present(host.observe(), WANTED[1:], trial=False, panic_seconds=30).steps


def set_something_else(host: SystemdBootHost) -> list[Step]:
    return plan.plan_present(host.observe(), OTHER, trial=False, panic_seconds=30).steps


def confirm(host: SystemdBootHost) -> list[Step]:
    try:
        return plan.plan_confirmed(host.observe(), None).steps
    except TrialRefused:
        return []


def abandon(host: SystemdBootHost) -> list[Step]:
    return plan.plan_abandoned(host.observe(), None).steps


def remove(host: SystemdBootHost) -> list[Step]:
    return plan.plan_absent(host.observe(), []).steps


ACTIONS: list[Action] = [
    try_it,
    set_it,
    set_half_of_it,
    set_something_else,
    confirm,
    abandon,
    remove,
]
EVENTS = st.lists(
    st.tuples(st.sampled_from(ACTIONS), st.integers(0, 8), st.booleans(), st.integers(0, 2)),
    max_size=5,
)


def reboot(host: SystemdBootHost) -> None:
    host.reboot()
    assert host.booted() in (OLD, NEW, [*OLD, *WANTED[1:]], [*OLD, *OTHER])


def run_as_the_role_does(host: SystemdBootHost) -> None:
    """Reboot only where asked to: a running trial that is not confirmed must not be left."""
    planned = plan.plan_present(host.observe(), WANTED, trial=True, panic_seconds=30)
    apply_in_order(planned.steps)
    if planned.reboot_required:
        host.reboot()
    apply_in_order(confirm(host))


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=25, deadline=None)
@given(events=EVENTS)
def test_any_sequence_of_crashes_ends_wanted_or_original(
    kind: Callable[[Path], SystemdBootHost], events: list[tuple[Action, int, bool, int]]
) -> None:
    with tempfile.TemporaryDirectory() as directory:
        host = kind(Path(directory))
        pristine = host.tree()
        for action, steps_before_the_kill, new_initramfs, reboots in events:
            for step in action(host)[:steps_before_the_kill]:
                step.apply()
            if new_initramfs:
                host.install(RELEASES[-1])
            for _ in range(reboots):
                reboot(host)
        # The run is repeated, this time undisturbed.
        run_as_the_role_does(host)
        assert try_it(host) == []
        host.reboot()
        assert host.booted() == NEW
        apply_in_order(remove(host))
        host.install(RELEASES[-1])
        host.reboot()
        assert host.booted() == OLD
        # Without a file of parameters the first removal keeps one until the reboot.
        apply_in_order(remove(host))
        assert host.tree() == pristine


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=10, deadline=None)
@given(steps_before_the_kill=st.integers(0, 8), power_cut=st.booleans())
def test_a_killed_confirmation_is_completed(
    kind: Callable[[Path], SystemdBootHost], steps_before_the_kill: int, power_cut: bool
) -> None:
    with tempfile.TemporaryDirectory() as directory:
        host = kind(Path(directory))
        apply_in_order(try_it(host))
        host.reboot()
        for step in confirm(host)[:steps_before_the_kill]:
            step.apply()
        if power_cut:
            reboot(host)
        run_as_the_role_does(host)
        host.reboot()
        assert host.booted() == NEW
        assert not any("trial" in name for name in host.tree())
