# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""GRUB with BLS entries: every text that holds parameters, what others do to them, the trial."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from ansible_collections.gpufleet.p2p.plugins.module_utils._boot import plan
from ansible_collections.gpufleet.p2p.plugins.module_utils._boot.cmdline import ParameterRefused
from ansible_collections.gpufleet.p2p.plugins.module_utils._boot.conflicts import ParameterConflict
from ansible_collections.gpufleet.p2p.plugins.module_utils._boot.interface import (
    BootConfigurationRefused,
    TrialRefused,
    apply_in_order,
)
from ansible_collections.gpufleet.p2p.plugins.module_utils._boot.trial import TrialState
from support.bls_host import ENTRIES, LAYOUTS, MACHINE, BlsHost
from support.grubby import generate_menu, grubby, install_kernel

WANTED = ("intel_iommu=on", "iommu=pt", "pci=disable_acs_redir=a;b")
OURS = "intel_iommu=on iommu=pt 'pci=disable_acs_redir=a;b'"
TEXTS = ("etc/default/grub", "etc/kernel/cmdline", ENTRIES)


@pytest.fixture(params=LAYOUTS)
def host(request: pytest.FixtureRequest, tmp_path: Path) -> BlsHost:
    """Return a host of each release."""
    return BlsHost(tmp_path, request.param)


@pytest.fixture
def el9(tmp_path: Path) -> BlsHost:
    return BlsHost(tmp_path, "rhel_9_bios")


@pytest.fixture
def el8(tmp_path: Path) -> BlsHost:
    return BlsHost(tmp_path, "rhel_8_bios")


def present(
    host: BlsHost, texts: Sequence[str] = WANTED, *, trial: bool = False
) -> plan.CommandLinePlan:
    return plan.plan_present(host.observe(), texts, trial=trial, panic_seconds=30)


def absent(host: BlsHost, texts: Sequence[str] = ()) -> plan.CommandLinePlan:
    return plan.plan_absent(host.observe(), texts)


def test_tried_confirmed_and_taken_back(host: BlsHost) -> None:
    pristine = host.tree()
    old = host.command_line()
    planned = present(host, trial=True)
    assert apply_in_order(planned.steps)
    assert (present(host, trial=True).steps, planned.reboot_required) == ([], True)
    changed = {name for name, data in host.tree().items() if pristine.get(name) != data}
    assert {name for name in changed if not name.startswith("var/")} == {
        f"{ENTRIES}/~gpufleet-trial-{planned.token}.conf",
        host.environment,
    }
    host.reboot()
    tried = " ".join(WANTED)
    assert host.command_line() == f"{old} {tried} gpufleet.trial={planned.token} panic=30"
    apply_in_order(plan.plan_confirmed(host.observe(), planned.token).steps)
    host.reboot()
    assert host.command_line() == f"{old} {tried}"
    assert (present(host, trial=True).steps, present(host).reboot_required) == ([], False)
    apply_in_order(absent(host).steps)
    assert host.tree() == pristine
    host.reboot()
    assert host.command_line() == old


def test_every_text_of_parameters_gets_ours_and_the_rescue_entry_does_not(host: BlsHost) -> None:
    stub = host.layout.stub and host.read(host.layout.stub)
    menu, rescue = host.read(f"{host.layout.directory}/grub.cfg"), host.options("0-rescue")
    apply_in_order(present(host).steps)
    for release in host.layout.kernels:
        text = host.options(release) if host.layout.shared is None else ""
        assert text.endswith(OURS if host.layout.shared is None else "")
    if host.layout.shared is not None:
        assert host.variables()["kernelopts"] == f"{host.layout.shared} {OURS}"
    if host.layout.new_kernels is not None:
        text = host.layout.new_kernels.rstrip("\n")
        assert host.read("etc/kernel/cmdline").rstrip("\n") == f"{text} {OURS}"
    assert host.options("0-rescue") == rescue
    assert host.read(f"{host.layout.directory}/grub.cfg") == menu
    assert (host.layout.stub and host.read(host.layout.stub)) == stub


def test_a_failed_trial_leaves_the_old_default(host: BlsHost) -> None:
    old = host.command_line()
    planned = present(host, trial=True)
    apply_in_order(planned.steps)
    host.reboot()
    host.reboot()
    assert host.command_line() == old
    assert host.observe().trial_state is TrialState.FELL_BACK
    again = plan.plan_armed(host.observe(), planned.token)
    apply_in_order(again.steps)
    # One trial entry at a time: the former one went with the new one's arrival.
    names = [path.name for path in host.path(ENTRIES).glob("~*")]
    assert names == [f"~gpufleet-trial-{again.token}.conf"]


def test_a_new_kernel_has_the_parameters_and_loses_them_again(host: BlsHost) -> None:
    apply_in_order(present(host).steps)
    host.reboot()
    old = host.command_line().split()[1:]
    install_kernel(host, "6.99.0-1.el9.x86_64")
    host.reboot()
    assert host.command_line().split()[1:] == old
    assert present(host).steps == []
    apply_in_order(absent(host).steps)
    host.reboot()
    assert "6.99.0" in host.command_line()
    assert not any(word in host.command_line() for word in WANTED)


def test_a_kernel_that_comes_during_the_trial_is_not_part_of_it(el9: BlsHost) -> None:
    planned = present(el9, trial=True)
    apply_in_order(planned.steps)
    el9.reboot()
    install_kernel(el9, "6.99.0-1.el9.x86_64")
    assert not any(word in el9.options("6.99.0-1.el9.x86_64") for word in WANTED)
    apply_in_order(plan.plan_confirmed(el9.observe(), planned.token).steps)
    el9.reboot()
    assert "6.99.0" in el9.command_line()
    assert el9.command_line().endswith(" ".join(WANTED))


def test_without_a_source_for_new_kernels_nothing_is_changed(el9: BlsHost) -> None:
    """kernel-install would copy the running line, a trial's token and all."""
    el9.path("etc/kernel/cmdline").unlink()
    pristine = el9.tree()
    assert "/etc/kernel/cmdline" in el9.loader().trial_support().reason
    for trial in (True, False):
        with pytest.raises(BootConfigurationRefused) as refusal:
            present(el9, trial=trial)
        assert refusal.value.code == "kernel_cmdline_missing"
    assert el9.tree() == pristine


@pytest.mark.parametrize("command", ["grubby", "grub2-mkconfig"])
def test_ours_survive_what_others_do(host: BlsHost, command: str) -> None:
    apply_in_order(present(host).steps)
    if command == "grubby":
        grubby(host, args="audit=1", remove_args="rhgb")
    else:
        generate_menu(host)
    host.reboot()
    planned = present(host)
    assert (planned.steps, planned.in_force) == ([], True)
    apply_in_order(absent(host).steps)
    host.reboot()
    line = host.command_line()
    assert not any(word in line for word in WANTED)
    assert ("audit=1" in line) is (command == "grubby")
    places = [path for text in TEXTS for path in (host.path(text), *host.path(text).glob("*"))]
    assert not any("iommu" in path.read_text() for path in places if path.is_file())


def test_grubby_itself_would_erase_what_others_configured(el9: BlsHost) -> None:
    """The reason for not using it: the double shows what the product must not do."""
    el9.administer("pci=realloc console=tty0 console=ttyS0", "main")
    apply_in_order(present(el9, ["pci=noaer"]).steps)
    assert el9.options(el9.layout.kernels[0]).endswith(
        "pci=realloc console=tty0 console=ttyS0 pci=noaer"
    )
    grubby(el9, args="pci=nocrs")
    assert "pci=realloc" not in el9.options(el9.layout.kernels[0])


def test_a_changed_list_replaces_the_former_one_even_if_killed(host: BlsHost) -> None:
    pristine = host.tree()
    apply_in_order(present(host).steps)
    steps = present(host, ["iommu=pt"]).steps
    for killed in range(len(steps)):
        apply_in_order(present(host).steps)
        for step in present(host, ["iommu=pt"]).steps[:killed]:
            step.apply()
        apply_in_order(present(host, ["iommu=pt"]).steps)
        host.reboot()
        assert host.command_line().endswith(" iommu=pt")
        assert not any(word in host.command_line() for word in (WANTED[0], WANTED[2]))
    apply_in_order(absent(host).steps)
    assert host.tree() == pristine


def test_a_killed_change_takes_no_words_of_others_along(host: BlsHost) -> None:
    """Others have written the same word, and the kill came before ours was behind it."""
    host.administer("iommu=pt iommu=nopt", "main")
    pristine = host.tree()
    for killed in range(len(present(host, ["iommu=pt"]).steps)):
        for step in present(host, ["iommu=pt"]).steps[:killed]:
            step.apply()
        apply_in_order(absent(host).steps)
        assert host.tree() == pristine


def test_a_lost_record_is_made_up_for_by_our_line(host: BlsHost) -> None:
    pristine = host.tree()
    apply_in_order(present(host).steps)
    host.path("var/lib/gpufleet/boot/options.json").unlink()
    apply_in_order(absent(host).steps)
    assert {k: v for k, v in host.tree().items() if not k.startswith("var/")} == {
        k: v for k, v in pristine.items() if not k.startswith("var/")
    }


def test_what_is_written_to_grubenv_meanwhile_stays(el8: BlsHost) -> None:
    steps = present(el8).steps
    el8.set_variable("menu_auto_hide", "1")
    el8.set_variable("boot_success", "0")
    apply_in_order(steps)
    assert (el8.variables()["menu_auto_hide"], el8.variables()["boot_success"]) == ("1", "0")
    assert el8.variables()["kernelopts"].endswith(OURS)


@pytest.mark.parametrize("selector", ["0", None, "gone"])
def test_the_default_is_the_newest_entry_where_nothing_names_one(
    host: BlsHost, selector: str | None
) -> None:
    host.set_variable("saved_entry", selector)
    assert host.loader().default_entry() == f"{MACHINE}-{host.layout.kernels[0]}"


def test_the_default_may_be_a_title_or_another_place(el9: BlsHost) -> None:
    older = el9.layout.kernels[1]
    for selector in (f"Red Hat Enterprise Linux ({older})", "1", f"{MACHINE}-{older}"):
        el9.set_variable("saved_entry", selector)
        assert el9.loader().default_entry() == f"{MACHINE}-{older}"
        apply_in_order(present(el9, trial=True).steps)
        # The trial is the menu's last, so the place still names the same entry.
        assert el9.loader().default_entry() == f"{MACHINE}-{older}"
    el9.set_variable("saved_entry", "7")
    with pytest.raises(BootConfigurationRefused) as refusal:
        el9.loader().default_entry()
    assert refusal.value.code == "default_entry_unknown"


def test_a_sticky_conflict_is_refused_with_its_file(host: BlsHost) -> None:
    host.administer("iommu=off", "main")
    pristine = host.tree()
    for trial in (True, False):
        with pytest.raises(ParameterConflict) as refusal:
            present(host, trial=trial)
        source = "kernelopts in /" if host.layout.shared else f"/{ENTRIES}/{MACHINE}"
        assert refusal.value.read.startswith(f"iommu=off in {source}")
    assert host.tree() == pristine


def test_a_rescue_entry_as_the_default_is_refused(el9: BlsHost) -> None:
    el9.set_variable("saved_entry", f"{MACHINE}-0-rescue")
    with pytest.raises(BootConfigurationRefused) as refusal:
        present(el9)
    assert refusal.value.code == "default_entry_is_rescue"


def test_a_dollar_sign_is_refused(el9: BlsHost) -> None:
    with pytest.raises(ParameterRefused) as refusal:
        present(el9, ["dyndbg=$x"])
    assert refusal.value.code == "parameter_unportable"


def test_blanks_in_a_row_are_refused_where_kernel_install_takes_them(
    el9: BlsHost, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with pytest.raises(BootConfigurationRefused) as refusal:
        present(el9, ['a="b  c"'])
    assert refusal.value.code == "parameter_unportable"
    # Its new kernels' entries name kernelopts.
    assert present(BlsHost(tmp_path_factory.mktemp("el8"), "rhel_8_bios"), ['a="b  c"']).steps


def test_what_tuned_sets_behind_ours_is_noticed(tmp_path: Path) -> None:
    host = BlsHost(tmp_path, "rhel_8_bios")
    host.set_variable("tuned_params", "skew_tick=1 iommu=nopt")
    with pytest.raises(BootConfigurationRefused) as refusal:
        present(host, ["iommu=pt"])
    assert (refusal.value.code, "tuned_params" in refusal.value.remedy) == (
        "parameters_defeated",
        True,
    )


def test_a_full_grubenv_is_refused_before_anything_is_tried(el8: BlsHost) -> None:
    free = el8.path(el8.environment).read_bytes().count(b"#") - 2
    el8.set_variable("padding", "x" * (free - 120))
    pristine = el8.tree()
    with pytest.raises(BootConfigurationRefused) as refusal:
        present(el8, [*WANTED, "dyndbg=" + "y" * 120], trial=True)
    assert refusal.value.code == "grub_environment_full"
    assert el8.tree() == pristine


def test_kernelopts_that_only_grub_cfg_has_are_read_and_not_changed(el8: BlsHost) -> None:
    el8.set_variable("kernelopts", None)
    assert el8.loader().configured().value_of("crashkernel") == "auto"
    with pytest.raises(BootConfigurationRefused) as refusal:
        present(el8)
    assert refusal.value.code == "kernelopts_missing"


def test_missing_files_of_the_default_entry_refuse_the_trial(el9: BlsHost) -> None:
    el9.path(f"boot/initramfs-{el9.layout.kernels[0]}.img").unlink()
    with pytest.raises(BootConfigurationRefused) as refusal:
        present(el9, trial=True)
    assert refusal.value.code == "default_entry_without_files"


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("ext4", "xfs", None),
        ("ext4", "btrfs", "btrfs"),
        ("ext4", "zfs", "zfs"),
        ("dm", "LVM-abc", "LVM"),
        ("md", "raid1", "MD RAID"),
        ("boot_counter", "1", "greenboot"),
        ("save_env next_entry", "true", "next_entry"),
    ],
)
def test_no_trial_where_grub_cannot_forget_it(
    el9: BlsHost, old: str, new: str, told: str | None
) -> None:
    if old in {"dm", "md"}:
        name = {"dm": "dm/uuid", "md": "md/level"}[old]
        el9.write(f"sys/devices/virtio2/block/vda/vda1/{name}", new)
    elif old == "boot_counter":
        el9.set_variable(old, new)
    else:
        for name in ("proc/self/mountinfo", "boot/grub2/grub.cfg"):
            el9.write(name, el9.read(name).replace(old, new))
    pristine = el9.tree()
    if told is None:
        assert present(el9, trial=True).steps
        return
    with pytest.raises(TrialRefused) as refusal:
        present(el9, trial=True)
    assert refusal.value.code == "trial_impossible"
    assert told in refusal.value.read
    assert el9.tree() == pristine


def test_somebody_elses_one_shot_boot_is_respected(el9: BlsHost) -> None:
    el9.set_variable("next_entry", f"{MACHINE}-{el9.layout.kernels[1]}")
    with pytest.raises(TrialRefused) as refusal:
        present(el9, trial=True)
    assert refusal.value.code == "next_entry_taken"
    assert absent(el9).steps == []


def test_check_mode_foresees_every_file(host: BlsHost) -> None:
    steps = present(host).steps
    foreseen = [step.as_diff() for step in steps]
    apply_in_order(steps)
    assert [step.as_diff() for step in steps] == foreseen
    assert all("iommu=pt" in diff["after"] for diff in foreseen)
