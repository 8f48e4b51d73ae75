# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host with systemd-boot on its way through present, trial, confirm, fall-back and absent."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from ansible_collections.gpufleet.p2p.plugins.module_utils._boot import plan
from ansible_collections.gpufleet.p2p.plugins.module_utils._boot.conflicts import ParameterConflict
from ansible_collections.gpufleet.p2p.plugins.module_utils._boot.detect import detect
from ansible_collections.gpufleet.p2p.plugins.module_utils._boot.interface import (
    BootConfigurationRefused,
    BootLoaderUnsupported,
    Step,
    TrialRefused,
    apply_in_order,
)
from ansible_collections.gpufleet.p2p.plugins.module_utils._boot.trial import TrialState
from ansible_collections.gpufleet.p2p.plugins.module_utils._host.commands import CommandFailed
from support.systemd_boot_host import (
    ESP,
    LOADER_CONF,
    MACHINE_ID,
    OPTIONS,
    RELEASES,
    KernelstubHost,
    SystemdBootHost,
)

WANTED = ["intel_iommu=on", "iommu=pt"]
OLD = OPTIONS.split()
NEW = [*OLD, *WANTED]
OLDER, NEWER = RELEASES


def without_file(root: Path) -> SystemdBootHost:
    return SystemdBootHost(root, has_parameter_file=False)


@pytest.fixture(params=[SystemdBootHost, without_file, KernelstubHost])
def host(request: pytest.FixtureRequest, tmp_path: Path) -> SystemdBootHost:
    make: Callable[[Path], SystemdBootHost] = request.param
    return make(tmp_path)


@pytest.fixture
def debian(tmp_path: Path) -> SystemdBootHost:
    return SystemdBootHost(tmp_path)


def try_it(host: SystemdBootHost) -> plan.CommandLinePlan:
    return plan.plan_present(host.observe(), WANTED, trial=True, panic_seconds=30)


def set_it(host: SystemdBootHost) -> plan.CommandLinePlan:
    return plan.plan_present(host.observe(), WANTED, trial=False, panic_seconds=30)


def remove(host: SystemdBootHost) -> list[Step]:
    return plan.plan_absent(host.observe(), []).steps


def test_tried_confirmed_and_taken_back(host: SystemdBootHost) -> None:
    pristine = host.tree()
    planned = try_it(host)
    assert (planned.in_force, planned.reboot_required) == (False, True)
    assert apply_in_order(planned.steps)
    for release in RELEASES:
        assert host.tree()[host.entry_path(release)] == pristine[host.entry_path(release)]
    again = try_it(host)
    assert (again.steps, again.token, again.reboot_required) == ([], planned.token, True)
    assert host.observe().trial_state is TrialState.ARMED

    host.reboot()
    assert host.command_line().endswith(
        f"intel_iommu=on iommu=pt gpufleet.trial={planned.token} panic=30"
    )
    assert host.observe().trial_state is TrialState.RUNNING
    running = try_it(host)
    assert (running.steps, running.in_force, running.token) == ([], True, planned.token)

    assert apply_in_order(plan.plan_confirmed(host.observe(), planned.token).steps)
    assert plan.plan_confirmed(host.observe(), planned.token).steps == []
    assert not any("trial" in name for name in host.tree())
    host.reboot()
    assert host.booted() == NEW
    settled = try_it(host)
    assert (settled.steps, settled.in_force, settled.reboot_required) == ([], True, False)

    taken_back = plan.plan_absent(host.observe(), [])
    assert taken_back.reboot_required
    assert apply_in_order(taken_back.steps)
    host.reboot()
    assert host.booted() == OLD
    apply_in_order(remove(host))
    assert host.tree() == pristine
    assert remove(host) == []


def test_a_trial_has_systemd_use_the_watchdog(host: SystemdBootHost) -> None:
    host.write("sys/class/watchdog/watchdog0/identity", "i6300ESB timer\n")
    host.write("sys/class/watchdog/watchdog0/state", "inactive\n")
    host.write("usr/lib/systemd/systemd", "systemd.watchdog_sec\0")
    planned = try_it(host)
    apply_in_order(planned.steps)
    host.reboot()
    assert host.command_line().endswith(
        f"iommu=pt gpufleet.trial={planned.token} systemd.watchdog_sec=60 panic=30"
    )
    apply_in_order(plan.plan_confirmed(host.observe(), planned.token).steps)
    host.reboot()
    assert host.booted() == NEW


def test_a_failed_trial_leaves_the_old_default(host: SystemdBootHost) -> None:
    pristine = host.tree()
    planned = try_it(host)
    apply_in_order(planned.steps)
    host.reboot()
    host.reboot()  # the trial panicked; the variable was removed before it started
    assert host.booted() == OLD
    assert host.observe().trial_state is TrialState.FELL_BACK
    with pytest.raises(TrialRefused) as refusal:
        plan.plan_confirmed(host.observe(), planned.token)
    assert refusal.value.code == "trial_fell_back"
    apply_in_order(plan.plan_abandoned(host.observe(), planned.token).steps)
    assert host.tree() == pristine


def test_every_kernel_gets_the_parameters_and_the_next_one_too(host: SystemdBootHost) -> None:
    apply_in_order(set_it(host).steps)
    written = {release: host.read(host.entry_path(release)) for release in RELEASES}
    for release in RELEASES:
        assert " ".join(NEW) in host.options(release)
        # The tool itself would write the same bytes.
        host.install(release)
        assert host.read(host.entry_path(release)) == written[release]


def test_other_parameters_replace_the_former_ones(host: SystemdBootHost) -> None:
    pristine = host.tree()
    apply_in_order(set_it(host).steps)
    other = plan.plan_present(host.observe(), ["iommu=pt"], trial=False, panic_seconds=30)
    apply_in_order(other.steps)
    host.reboot()
    assert host.booted() == [*OLD, "iommu=pt"]
    apply_in_order(remove(host))
    host.reboot()
    apply_in_order(remove(host))
    assert host.tree() == pristine


@pytest.mark.parametrize("applied", range(6))
def test_a_shorter_list_that_was_killed_half_way_is_completed(
    host: SystemdBootHost, applied: int
) -> None:
    apply_in_order(set_it(host).steps)
    shorter = ["iommu=pt"]
    planned = plan.plan_present(host.observe(), shorter, trial=False, panic_seconds=30)
    for step in planned.steps[:applied]:
        step.apply()
    again = plan.plan_present(host.observe(), shorter, trial=False, panic_seconds=30)
    apply_in_order(again.steps)
    for release in RELEASES:
        assert "intel_iommu=on" not in host.options(release)
    host.reboot()
    assert host.booted() == [*OLD, *shorter]
    assert plan.plan_present(host.observe(), shorter, trial=True, panic_seconds=30).steps == []


def test_a_value_with_a_blank_is_one_parameter(host: SystemdBootHost) -> None:
    wanted = ['dyndbg="file drivers/usb/* +p"', "iommu=pt"]
    planned = plan.plan_present(host.observe(), wanted, trial=False, panic_seconds=30)
    apply_in_order(planned.steps)
    host.reboot()
    assert host.booted() == [*OLD, *wanted]
    again = plan.plan_present(host.observe(), wanted, trial=False, panic_seconds=30)
    assert again.steps == []


def test_kernels_installed_during_a_trial_do_not_inherit_it(host: SystemdBootHost) -> None:
    planned = try_it(host)
    apply_in_order(planned.steps)
    host.reboot()
    host.install(NEWER)
    host.reboot()
    assert host.booted() == OLD


def test_kernels_installed_before_the_reboot_do_not_bring_the_parameters_back(
    tmp_path: Path,
) -> None:
    host = without_file(tmp_path)
    pristine = host.tree()
    apply_in_order(set_it(host).steps)
    host.reboot()
    apply_in_order(remove(host))
    # The initramfs is made anew while the kernel with the parameters still runs.
    host.install(NEWER)
    host.reboot()
    assert host.booted() == OLD
    apply_in_order(remove(host))
    assert host.tree() == pristine


def test_what_others_changed_since_stays(debian: SystemdBootHost) -> None:
    apply_in_order(set_it(debian).steps)
    text = debian.read("etc/kernel/cmdline")
    debian.write("etc/kernel/cmdline", text.replace("quiet", "quiet mitigations=off"))
    for release in RELEASES:
        debian.install(release)
    apply_in_order(remove(debian))
    kept = OPTIONS.replace("quiet", "quiet mitigations=off")
    assert debian.read("etc/kernel/cmdline") == f"{kept}\n"
    assert "iommu" not in debian.options(NEWER)


@pytest.mark.parametrize("end", ["", "\n", "\n# the last word\n", "\nconsole=tty0", "\n\n"])
def test_comments_and_further_lines_stay_as_they_are(debian: SystemdBootHost, end: str) -> None:
    text = f"# what this host needs\n{OPTIONS}{end}"
    debian.write("etc/kernel/cmdline", text)
    for release in RELEASES:
        debian.install(release)
    pristine = debian.tree()
    apply_in_order(set_it(debian).steps)
    written = debian.read(debian.entry_path(NEWER))
    debian.install(NEWER)
    assert debian.read(debian.entry_path(NEWER)) == written
    comments = [line for line in debian.read("etc/kernel/cmdline").splitlines() if "#" in line]
    assert comments == [line for line in text.splitlines() if "#" in line]
    apply_in_order(remove(debian))
    assert debian.tree() == pristine


def test_another_systems_entries_are_left_alone(debian: SystemdBootHost) -> None:
    other = f"{ESP}/loader/entries/arch.conf"
    debian.write(other, "title Arch\nlinux /arch/vmlinuz\noptions root=UUID=other rw\n")
    before = debian.read(other)
    apply_in_order(set_it(debian).steps)
    assert debian.read(other) == before


def test_a_sticky_parameter_is_refused_with_its_file(debian: SystemdBootHost) -> None:
    debian.write("etc/kernel/cmdline", f"{OPTIONS} iommu=off\n")
    debian.install(NEWER)
    with pytest.raises(ParameterConflict) as refusal:
        try_it(debian)
    assert "iommu=off in /etc/kernel/cmdline" in refusal.value.read


def test_words_for_init_defeat_the_parameters(debian: SystemdBootHost) -> None:
    debian.write("etc/kernel/cmdline", f"{OPTIONS} -- single\n")
    debian.install(NEWER)
    with pytest.raises(BootConfigurationRefused) as refusal:
        set_it(debian)
    assert refusal.value.code == "parameters_defeated"


def test_blanks_in_a_row_are_refused(debian: SystemdBootHost) -> None:
    with pytest.raises(BootConfigurationRefused) as refusal:
        plan.plan_present(debian.observe(), ['a="b  c"'], trial=False, panic_seconds=30)
    assert refusal.value.code == "parameter_unportable"


# Where a trial is impossible, nothing is written


def refused(host: SystemdBootHost) -> str:
    before = host.tree()
    support = host.loader().trial_support()
    with pytest.raises(TrialRefused) as refusal:
        try_it(host)
    assert not support.possible
    assert refusal.value.code == "trial_impossible"
    assert refusal.value.read == support.reason
    assert host.tree() == before
    return support.reason


def test_no_trial_without_writable_variables(debian: SystemdBootHost) -> None:
    mounts = debian.read("proc/self/mountinfo")
    read_only = mounts.replace("efivarfs efivarfs rw", "efivarfs efivarfs ro")
    debian.write("proc/self/mountinfo", read_only)
    assert "read-only" in refused(debian)
    debian.write("proc/self/mountinfo", mounts.replace("efivarfs", "sysfs"))
    assert "not mounted" in refused(debian)


def test_no_trial_with_a_loader_that_knows_no_one_shot_entries(debian: SystemdBootHost) -> None:
    debian.set_features(0x7FF & ~(1 << 3))
    assert "LoaderFeatures" in refused(debian)


def test_the_selection_of_somebody_else_is_left_alone(debian: SystemdBootHost) -> None:
    debian.select("auto-reboot-to-firmware-setup")
    with pytest.raises(TrialRefused) as refusal:
        try_it(debian)
    assert refusal.value.code == "next_entry_taken"
    assert [s.name for s in plan.plan_abandoned(debian.observe(), None).steps] == []


def test_what_bootctl_refuses_is_taken_back(
    host: SystemdBootHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(identity: str | None) -> None:
        raise CommandFailed("command_failed", read="bootctl", want="status 0", remedy="look")

    before = host.tree()
    planned = try_it(host)
    monkeypatch.setattr(host, "select", fail)
    with pytest.raises(CommandFailed):
        apply_in_order(planned.steps)
    assert host.tree() == before


def test_an_unmounted_partition_is_named(debian: SystemdBootHost) -> None:
    mounts = debian.read("proc/self/mountinfo").splitlines()[:2]
    debian.write("proc/self/mountinfo", "\n".join(mounts) + "\n")
    with pytest.raises(BootConfigurationRefused) as refusal:
        try_it(debian)
    assert refusal.value.code == "boot_entries_missing"


def test_a_default_entry_whose_kernel_is_gone_is_refused(debian: SystemdBootHost) -> None:
    debian.path(f"{ESP}/{MACHINE_ID}/{NEWER}/linux").unlink()
    with pytest.raises(BootConfigurationRefused) as refusal:
        try_it(debian)
    assert refusal.value.code == "default_entry_not_bootable"


def test_two_lines_of_options_are_refused(debian: SystemdBootHost) -> None:
    path = debian.entry_path(NEWER)
    debian.write(path, debian.read(path) + "options debug\n")
    with pytest.raises(BootConfigurationRefused) as refusal:
        try_it(debian)
    assert refusal.value.code == "boot_entry_unclear"


# Which entry is the default


def test_the_configured_default_counts_and_the_variable_counts_more(
    debian: SystemdBootHost,
) -> None:
    loader = debian.loader()
    assert loader.default_entry() == f"{MACHINE_ID}-{NEWER}.conf"
    debian.write(LOADER_CONF, f"default {MACHINE_ID}-{OLDER}*\n")
    assert loader.default_entry() == f"{MACHINE_ID}-{OLDER}.conf"
    debian.set_variable("LoaderEntryDefault", f"{MACHINE_ID}-{NEWER}.conf")
    assert loader.default_entry() == f"{MACHINE_ID}-{NEWER}.conf"
    debian.set_variable("LoaderEntryDefault", "@saved")
    debian.set_variable("LoaderEntryLastBooted", f"{MACHINE_ID}-{OLDER}.conf")
    assert loader.default_entry() == f"{MACHINE_ID}-{OLDER}.conf"


@pytest.mark.parametrize("name", ["arch", "0-debian", "a1", "~first", "zz", MACHINE_ID])
def test_the_trial_is_the_last_entry_of_a_menu_without_sort_keys(
    debian: SystemdBootHost, name: str
) -> None:
    text = debian.read(debian.entry_path(NEWER)).replace("sort-key   debian\n", "")
    for release in RELEASES:
        debian.path(debian.entry_path(release)).unlink()
    debian.write(f"{ESP}/loader/entries/{name}.conf", text)
    support = debian.loader().trial_support()
    # Nothing but a leading ~ sorts behind the trial's name.
    assert support.possible is not name.startswith("~")


def test_old_loaders_and_images_need_a_configured_default(debian: SystemdBootHost) -> None:
    debian.write(f"{ESP}/EFI/Linux/debian.efi", "image")
    with pytest.raises(BootConfigurationRefused) as refusal:
        debian.loader().default_entry()
    assert refusal.value.code == "default_entry_unknown"
    debian.path(f"{ESP}/EFI/Linux/debian.efi").unlink()
    debian.set_features(0x7F)
    with pytest.raises(BootConfigurationRefused):
        debian.loader().default_entry()
    debian.write(LOADER_CONF, f"default {MACHINE_ID}-{NEWER}\n")
    assert debian.loader().default_entry() == f"{MACHINE_ID}-{NEWER}.conf"


def test_names_that_are_one_version_do_not_decide_the_default(debian: SystemdBootHost) -> None:
    loader = debian.loader()
    text = debian.read(debian.entry_path(NEWER)).replace("sort-key   debian\n", "")
    for name in ("0", "00"):
        debian.write(f"{ESP}/loader/entries/{name}.conf", text)
    # They stand below the entries that have a sort-key.
    assert loader.default_entry() == f"{MACHINE_ID}-{NEWER}.conf"
    debian.write(LOADER_CONF, "default 0*\n")
    with pytest.raises(BootConfigurationRefused) as of_the_matching:
        loader.default_entry()
    debian.write(LOADER_CONF, "")
    for release in RELEASES:
        debian.path(debian.entry_path(release)).unlink()
    with pytest.raises(BootConfigurationRefused) as of_all:
        loader.default_entry()
    for refusal in (of_the_matching, of_all):
        assert refusal.value.code == "default_entry_unknown"
        assert "0.conf, 00.conf" in refusal.value.read
    debian.write(LOADER_CONF, "default 00.conf\n")
    assert loader.default_entry() == "00.conf"


# Recognised by evidence


def test_recognised_by_what_started_the_system(debian: SystemdBootHost) -> None:
    assert (detect(debian.root).name, detect(debian.root).firmware) == ("systemd_boot", "efi")
    debian.write("etc/kernel/install.conf", "layout=uki\n")
    with pytest.raises(BootLoaderUnsupported) as refusal:
        detect(debian.root)
    assert refusal.value.loader == "unified_kernel_image"


def test_kernelstub_needs_systemd_boot_below_it(tmp_path: Path) -> None:
    host = KernelstubHost(tmp_path)
    assert detect(host.root).name == "kernelstub"
    host.set_variable("LoaderInfo", None)
    with pytest.raises(BootLoaderUnsupported) as refusal:
        detect(host.root)
    assert refusal.value.loader == "kernelstub"


@pytest.mark.parametrize("text", ["", "[]", '{"user": {"kernel_options": "quiet"}}', "{"])
def test_a_configuration_that_is_not_kernelstubs_is_refused(tmp_path: Path, text: str) -> None:
    host = KernelstubHost(tmp_path)
    host.write(host.parameter_file, text)
    with pytest.raises(BootConfigurationRefused) as refusal:
        set_it(host)
    assert refusal.value.code == "kernelstub_configuration_unreadable"
