# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host's way through present, trial, confirm, fall-back and absent, on a tree of files."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from ansible_collections.gpufleet.p2p.plugins.module_utils._boot import plan
from ansible_collections.gpufleet.p2p.plugins.module_utils._boot.conflicts import ParameterConflict
from ansible_collections.gpufleet.p2p.plugins.module_utils._boot.interface import (
    BootConfigurationRefused,
    Step,
    TrialRefused,
    apply_in_order,
)
from ansible_collections.gpufleet.p2p.plugins.module_utils._boot.trial import TrialState
from support.boot_host import BootHost

WANTED = ["intel_iommu=on", "iommu=pt"]
DROP_IN = "etc/default/grub.d/zz-gpufleet.cfg"


def present(
    host: BootHost, texts: Sequence[str] = tuple(WANTED), *, trial: bool = True
) -> plan.CommandLinePlan:
    return plan.plan_present(host.observe(), texts, trial=trial, panic_seconds=30)


def names(steps: Sequence[Step]) -> list[str]:
    return [step.name for step in steps]


def test_tried_confirmed_and_taken_back(host: BootHost) -> None:
    pristine = host.tree()
    planned = present(host)
    assert names(planned.steps) == [
        "record the trial",
        "write the trial entry",
        "select it for one boot",
    ]
    assert (planned.in_force, planned.reboot_required) == (False, True)
    assert apply_in_order(planned.steps)
    assert host.tree()["boot/grub/grub.cfg"] == pristine["boot/grub/grub.cfg"]
    again = present(host)
    assert (again.steps, again.token, again.reboot_required) == ([], planned.token, True)

    host.reboot()
    assert host.command_line().endswith(
        f"quiet intel_iommu=on iommu=pt gpufleet.trial={planned.token} panic=30"
    )
    assert host.observe().trial_state is TrialState.RUNNING
    running = present(host)
    assert (running.steps, running.in_force, running.reboot_required) == ([], True, False)
    assert running.token == planned.token

    assert apply_in_order(plan.plan_confirmed(host.observe(), planned.token).steps)
    assert plan.plan_confirmed(host.observe(), planned.token).steps == []
    assert "boot/grub/custom.cfg" not in host.tree()
    assert host.tree()["boot/grub/grubenv"] == pristine["boot/grub/grubenv"]
    settled = present(host)
    assert (settled.steps, settled.token, settled.reboot_required) == ([], None, False)

    host.reboot()
    assert host.command_line().endswith("quiet intel_iommu=on iommu=pt")
    settled = present(host)
    assert (settled.steps, settled.in_force, settled.reboot_required) == ([], True, False)

    taken_back = plan.plan_absent(host.observe(), [])
    assert taken_back.reboot_required
    assert apply_in_order(taken_back.steps)
    assert host.tree() == pristine
    after = plan.plan_absent(host.observe(), [])
    assert (after.steps, after.reboot_required) == ([], True)
    assert plan.plan_absent(host.observe(), WANTED).reboot_required
    host.reboot()
    assert not plan.plan_absent(host.observe(), []).reboot_required


def test_a_failed_trial_leaves_the_old_default(host: BootHost) -> None:
    planned = present(host)
    apply_in_order(planned.steps)
    host.reboot()
    host.reboot()  # the trial panicked; GRUB has cleared its selection
    assert "iommu" not in host.command_line()
    assert host.observe().trial_state is TrialState.FELL_BACK
    with pytest.raises(TrialRefused) as refusal:
        plan.plan_confirmed(host.observe(), planned.token)
    assert refusal.value.code == "trial_fell_back"
    abandoned = plan.plan_abandoned(host.observe(), planned.token)
    assert (abandoned.fell_back, abandoned.reboot_required) == (True, False)


def test_a_trial_that_fell_back_can_be_armed_again(host: BootHost) -> None:
    first = present(host)
    apply_in_order(first.steps)
    host.reboot()
    host.reboot()
    rearmed = plan.plan_armed(host.observe(), first.token)
    assert rearmed.fell_back
    assert rearmed.token != first.token
    apply_in_order(rearmed.steps)
    assert plan.plan_armed(host.observe(), rearmed.token).steps == []
    host.reboot()
    assert host.observe().trial_state is TrialState.RUNNING


def test_a_running_trial_survives_a_restart_when_armed_again(host: BootHost) -> None:
    apply_in_order(present(host).steps)
    token = present(host).token
    host.reboot()
    rearmed = plan.plan_armed(host.observe(), token)
    assert (names(rearmed.steps), rearmed.reboot_required) == (["select it for one boot"], False)
    apply_in_order(rearmed.steps)
    assert plan.plan_armed(host.observe(), token).steps == []
    host.reboot()
    assert host.observe().trial_state is TrialState.RUNNING
    apply_in_order(plan.plan_confirmed(host.observe(), token).steps)
    assert "next_entry" not in host.read("boot/grub/grubenv")


def test_confirming_before_the_reboot_is_refused(host: BootHost) -> None:
    planned = present(host)
    apply_in_order(planned.steps)
    with pytest.raises(TrialRefused) as refusal:
        plan.plan_confirmed(host.observe(), planned.token)
    assert refusal.value.code == "trial_not_booted"


def test_another_runs_trial_is_refused(host: BootHost) -> None:
    apply_in_order(present(host).steps)
    for ask in (plan.plan_armed, plan.plan_confirmed, plan.plan_abandoned):
        with pytest.raises(TrialRefused) as refusal:
            ask(host.observe(), "0123456789abcdef")
        assert refusal.value.code == "trial_token_mismatch"


@pytest.mark.parametrize("ask", [plan.plan_armed, plan.plan_confirmed])
def test_without_a_trial_there_is_nothing_to_arm_or_confirm(host: BootHost, ask: object) -> None:
    assert callable(ask)
    with pytest.raises(TrialRefused) as refusal:
        ask(host.observe(), None)
    assert refusal.value.code == "no_trial"


@pytest.mark.parametrize("original", [None, b"", b"menuentry 'mine' {\n\ttrue\n}", b"# kept\n"])
def test_abandoning_restores_custom_cfg(host: BootHost, original: bytes | None) -> None:
    custom = host.path("boot/grub/custom.cfg")
    if original is not None:
        custom.write_bytes(original)
        custom.chmod(0o600)
    pristine = host.tree()
    apply_in_order(present(host).steps)
    if original is not None:
        assert custom.read_bytes().startswith(original)
        assert custom.stat().st_mode & 0o777 == 0o600
    assert apply_in_order(plan.plan_abandoned(host.observe(), None).steps)
    assert host.tree() == pristine
    assert plan.plan_abandoned(host.observe(), None).steps == []


def test_an_empty_directory_of_a_killed_run_is_removed(host: BootHost) -> None:
    pristine = host.tree()
    host.path("var/lib/gpufleet/boot").mkdir(parents=True)
    (step,) = plan.plan_absent(host.observe(), []).steps
    assert step.apply()
    assert host.tree() == pristine
    assert plan.plan_absent(host.observe(), []).steps == []


def test_other_state_stays_where_the_trial_goes(host: BootHost) -> None:
    other = host.path("var/lib/gpufleet/lock.json")
    other.parent.mkdir(parents=True)
    other.touch()
    pristine = host.tree()
    apply_in_order(present(host).steps)
    apply_in_order(plan.plan_abandoned(host.observe(), None).steps)
    assert host.tree() == pristine


def test_directly_into_the_default(host: BootHost) -> None:
    pristine = host.tree()
    planned = present(host, trial=False)
    assert planned.after.value_of("iommu") == "pt"
    apply_in_order(planned.steps)
    assert host.path("boot/grub/grub.cfg").stat().st_mode & 0o777 == 0o600
    again = present(host, trial=False)
    assert (again.steps, again.reboot_required) == ([], True)
    host.reboot()
    assert not present(host, trial=False).reboot_required
    apply_in_order(plan.plan_absent(host.observe(), []).steps)
    assert host.tree() == pristine


def test_a_changed_list_replaces_the_former_one(host: BootHost) -> None:
    apply_in_order(present(host, ["iommu=pt", "pci=disable_acs_redir=a;b"], trial=False).steps)
    host.reboot()
    planned = present(host, ["iommu=pt"])
    apply_in_order(planned.steps)
    host.reboot()
    assert "disable_acs_redir" not in host.command_line()
    apply_in_order(plan.plan_confirmed(host.observe(), planned.token).steps)
    host.reboot()
    assert host.command_line().endswith("quiet iommu=pt")


@pytest.mark.parametrize("killed", range(5))
def test_a_shorter_list_replaces_the_longer_one_even_if_killed(host: BootHost, killed: int) -> None:
    """What is left out is in force until grub.cfg follows, so being in force tells nothing."""
    pristine = host.tree()
    apply_in_order(present(host, trial=False).steps)
    for step in present(host, ["iommu=pt"], trial=False).steps[:killed]:
        step.apply()
    apply_in_order(present(host, ["iommu=pt"], trial=False).steps)
    assert present(host, ["iommu=pt"], trial=False).steps == []
    host.reboot()
    assert host.command_line().endswith("quiet iommu=pt")
    apply_in_order(plan.plan_absent(host.observe(), []).steps)
    assert host.tree() == pristine


@pytest.mark.parametrize("killed", range(5))
def test_one_of_several_is_taken_back_even_if_killed(host: BootHost, killed: int) -> None:
    apply_in_order(present(host, trial=False).steps)
    for step in plan.plan_absent(host.observe(), ["intel_iommu=on"]).steps[:killed]:
        step.apply()
    apply_in_order(plan.plan_absent(host.observe(), ["intel_iommu=on"]).steps)
    assert plan.plan_absent(host.observe(), ["intel_iommu=on"]).steps == []
    host.reboot()
    assert host.command_line().endswith("quiet iommu=pt")


@pytest.mark.parametrize("killed", [2, 3])
def test_a_trial_while_a_list_is_half_replaced_has_its_own_words_only(
    host: BootHost, killed: int
) -> None:
    apply_in_order(present(host, trial=False).steps)
    for step in present(host, ["iommu=pt"], trial=False).steps[:killed]:
        step.apply()
    apply_in_order(present(host, ["pci=realloc"]).steps)
    host.reboot()
    assert " quiet pci=realloc gpufleet.trial=" in host.command_line()


def test_a_damaged_mark_of_a_replacement_is_still_one(host: BootHost) -> None:
    apply_in_order(present(host, trial=False).steps)
    host.write("var/lib/gpufleet/boot/replacing.json", "{")
    assert names(present(host, trial=False).steps)[-1] == "take the mark away"


def test_one_of_several_is_taken_back(host: BootHost) -> None:
    apply_in_order(present(host, trial=False).steps)
    host.reboot()
    planned = plan.plan_absent(host.observe(), ["intel_iommu=on"])
    assert planned.reboot_required
    apply_in_order(planned.steps)
    assert plan.plan_absent(host.observe(), ["intel_iommu=on"]).steps == []
    host.reboot()
    assert host.command_line().endswith("quiet iommu=pt")


def test_what_the_administrator_configured_is_left_alone(host: BootHost) -> None:
    host.write("etc/default/grub.d/90-site.cfg", 'GRUB_CMDLINE_LINUX_DEFAULT="iommu=pt"\n')
    host.path("boot/grub/grub.cfg").write_bytes(host.tools.generate(b""))
    host.reboot()
    planned = present(host, ["iommu.passthrough=1"])
    assert (planned.steps, planned.in_force) == ([], True)


def test_a_conflict_that_comes_earlier_is_reported_and_won(host: BootHost) -> None:
    host.write(
        "etc/default/grub.d/50-cloudimg-settings.cfg", 'GRUB_CMDLINE_LINUX_DEFAULT="iommu=nopt"\n'
    )
    planned = present(host, trial=False)
    assert [c.as_dict() for c in planned.conflicts] == [
        {
            "parameter": "iommu=nopt",
            "wanted": "iommu=pt",
            "source": "/etc/default/grub.d/50-cloudimg-settings.cfg",
            "resolved": True,
        }
    ]


@pytest.mark.parametrize("variable", ["GRUB_CMDLINE_LINUX", "GRUB_CMDLINE_LINUX_DEFAULT"])
def test_a_sticky_conflict_is_refused_with_its_file(host: BootHost, variable: str) -> None:
    host.write("etc/default/grub.d/hetzner.cfg", f'{variable}="quiet ${{{variable}}} iommu=off"\n')
    pristine = host.tree()
    for trial in (True, False):
        with pytest.raises(ParameterConflict) as refusal:
            present(host, trial=trial)
        assert refusal.value.code == "parameter_sticky"
        assert refusal.value.read.startswith("iommu=off in /etc/default/grub.d/hetzner.cfg")
    assert host.tree() == pristine


@pytest.mark.parametrize(
    ("name", "text", "code"),
    [
        ("zzz.cfg", 'GRUB_CMDLINE_LINUX_DEFAULT="quiet"', "drop_in_overridden"),
        ("zzz.cfg", 'GRUB_CMDLINE_LINUX_DEFAULT="$GRUB_CMDLINE_LINUX_DEFAULT iommu=nopt"', "later"),
        ("10.cfg", 'GRUB_CMDLINE_LINUX_DEFAULT="quiet -- single"', "later"),
        ("10.cfg", "exit 0", "grub_defaults_unreadable"),
        ("10.cfg", "false", "grub_defaults_unreadable"),
        ("10.cfg", "x='", "grub_defaults_unreadable"),
    ],
)
def test_files_that_defeat_the_drop_in_are_refused(
    host: BootHost, name: str, text: str, code: str
) -> None:
    host.write(f"etc/default/grub.d/{name}", text + "\n")
    with pytest.raises(BootConfigurationRefused) as refusal:
        present(host, trial=False)
    assert refusal.value.code == ("parameters_defeated" if code == "later" else code)


def test_a_missing_initrd_refuses_the_new_grub_cfg(host: BootHost) -> None:
    host.path("boot/initrd.img-6.1.0-56-amd64").unlink()
    pristine = host.tree()
    with pytest.raises(BootConfigurationRefused) as refusal:
        apply_in_order(present(host, trial=False).steps)
    assert refusal.value.code == "generated_grub_cfg_refused"
    assert host.tree() == pristine


@pytest.mark.parametrize(
    ("file", "old", "new", "told"),
    [
        ("proc/self/mountinfo", "ext4", "btrfs", "btrfs"),
        ("proc/self/mountinfo", "ext4", "zfs", "zfs"),
        ("boot/grub/grub.cfg", "save_env next_entry", "true", "next_entry"),
        ("boot/grub/grub.cfg", "source ${config_directory}", "true ${config_directory}", "custom"),
        ("boot/grub/grubenv", "####", "", "grub_environment_unusable"),
    ],
)
def test_no_trial_where_grub_cannot_forget_it(
    host: BootHost, file: str, old: str, new: str, told: str
) -> None:
    host.write(file, host.read(file).replace(old, new, 1))
    pristine = host.tree()
    with pytest.raises(TrialRefused) as refusal:
        present(host)
    assert refusal.value.code == "trial_impossible"
    assert told in refusal.value.read
    assert host.tree() == pristine


@pytest.mark.parametrize(
    ("device", "told"),
    [("dm", "LVM"), ("md", "MD RAID"), ("parent_md", "MD RAID"), ("gone", "does not describe")],
)
def test_no_trial_on_devices_grub_cannot_write_to(host: BootHost, device: str, told: str) -> None:
    disk = "sys/devices/virtio2/block/vda"
    if device == "dm":
        host.write(f"{disk}/vda1/dm/uuid", "LVM-abc")
    elif device == "md":
        host.write(f"{disk}/vda1/md/level", "raid1")
    elif device == "parent_md":
        host.write(f"{disk}/md/level", "raid1")
    else:
        host.path("sys/dev/block/254:1").unlink()
    with pytest.raises(TrialRefused) as refusal:
        present(host)
    assert told in refusal.value.read


def test_somebody_elses_one_shot_boot_is_respected(host: BootHost) -> None:
    block = host.read("boot/grub/grubenv")
    host.write("boot/grub/grubenv", block.replace("#" * 13, "next_entry=1\n", 1))
    assert len(host.read("boot/grub/grubenv")) == 1024
    with pytest.raises(TrialRefused) as refusal:
        present(host)
    assert refusal.value.code == "next_entry_taken"


def test_check_mode_foresees_the_lines_that_generating_makes(host: BootHost) -> None:
    steps = present(host, trial=False).steps
    foreseen = steps[-1].as_diff()
    apply_in_order(steps)
    assert steps[-1].as_diff() == foreseen
    assert foreseen["after"].count("quiet intel_iommu=on iommu=pt\n") == 2
    assert "single" not in foreseen["after"]


def test_the_command_line_as_it_is_can_be_tried_for_the_sake_of_something_else(
    host: BootHost,
) -> None:
    pristine = host.tree()
    with pytest.raises(TrialRefused, match="no recorded trial"):
        plan.plan_armed(host.observe(), None)
    armed = plan.plan_armed(host.observe(), None, unchanged=True, panic_seconds=7)
    assert apply_in_order(armed.steps)
    before = host.command_line()
    host.reboot()
    assert host.command_line() == f"{before} gpufleet.trial={armed.token} panic=7"
    assert apply_in_order(plan.plan_confirmed(host.observe(), armed.token).steps)
    host.reboot()
    assert host.command_line() == before
    assert host.tree() == pristine


def test_confirmed_parameters_are_in_a_trial_of_the_command_line_as_it_is(host: BootHost) -> None:
    apply_in_order(present(host, trial=False).steps)
    host.reboot()
    confirmed = host.tree()
    armed = plan.plan_armed(host.observe(), None, unchanged=True)
    apply_in_order(armed.steps)
    host.reboot()
    assert "iommu=pt" in host.command_line()
    # A run that continues here finds its own trial running, and confirms it.
    running = present(host)
    assert (running.steps, running.token) == ([], armed.token)
    assert apply_in_order(plan.plan_confirmed(host.observe(), armed.token).steps)
    assert host.tree() == confirmed


def have_a_watchdog(host: BootHost, *, state: str = "inactive", word: bytes = b"") -> None:
    """Give the host a watchdog, and a systemd with this word in its program."""
    device = host.root / "sys/class/watchdog/watchdog0"
    device.mkdir(parents=True)
    (device / "identity").write_text("iTCO_wdt\n")
    (device / "state").write_text(f"{state}\n")
    program = host.root / "usr/lib/systemd/systemd"
    program.parent.mkdir(parents=True)
    program.write_bytes(b"\x7fELF\0" + word + b"\0")


def test_a_trial_has_systemd_use_the_watchdog(host: BootHost) -> None:
    have_a_watchdog(host, word=b"systemd.watchdog_sec")
    planned = present(host)
    apply_in_order(planned.steps)
    assert present(host).steps == []
    host.reboot()
    assert host.command_line().endswith(
        f"iommu=pt gpufleet.trial={planned.token} systemd.watchdog_sec=60 panic=30"
    )
    assert host.observe().trial_state is TrialState.RUNNING
    apply_in_order(plan.plan_confirmed(host.observe(), planned.token).steps)
    host.reboot()
    assert "watchdog" not in host.command_line()


@pytest.mark.parametrize(
    ("state", "word"), [("active", b"systemd.watchdog_sec"), ("inactive", b"systemd.watchdog_dev")]
)
def test_a_watchdog_in_use_or_out_of_reach_is_left_alone(
    host: BootHost, state: str, word: bytes
) -> None:
    have_a_watchdog(host, state=state, word=word)
    apply_in_order(present(host).steps)
    host.reboot()
    assert "watchdog" not in host.command_line()
