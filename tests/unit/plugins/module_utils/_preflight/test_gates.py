# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Each gate, both ways, starting from the facts of a host that passes them all."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import pytest
from ansible_collections.gpufleet.p2p.plugins.module_utils._driver.specification import (
    DriverBuild,
    Source,
)
from ansible_collections.gpufleet.p2p.plugins.module_utils._preflight.evaluate import (
    GATES,
    FactsUnusable,
    evaluate,
)
from ansible_collections.gpufleet.p2p.plugins.module_utils._preflight.gate import Intent
from support.gate_facts import DRIVER, IOMMU_ONLY, MIB, RELEASE, ask, facts, gpu

DRIVER_GATES = (
    "driver_source",
    "kernel_signature",
    "kernel_known_bad",
    "secure_boot_key",
    "kernel_headers",
    "compiler",
    "dkms_present",
    "initramfs_generator",
    "competing_dkms_package",
    "distribution_module",
    "modprobe_override",
    "driver_registry",
    "userspace_version_match",
    "firmware_directory",
)


def entry(module: str, status: str = "installed") -> dict[str, Any]:
    return {"module": module, "version": "550.163.01", "kernel": RELEASE, "status": status}


def no_loader() -> dict[str, Any]:
    return {"name": None, "reason": "an ostree deployment", "remedy": "use rpm-ostree kargs"}


@pytest.mark.parametrize("intent", [DRIVER, IOMMU_ONLY, Intent()])
def test_good_host_passes_every_gate_without_a_remark(intent: Intent) -> None:
    answers = evaluate(facts(), intent)
    assert [answer.name for answer in answers] == [gate.__name__ for gate in GATES]
    assert all(answer.passed for answer in answers)
    # Only the release is known here, not the source: test_source_gates.py has that.
    unjudged = {"driver_source", "kernel_signature", "kernel_known_bad"}
    notes = {answer.note for answer in answers if answer.name not in unjudged}
    assert notes <= {"", "not needed"}


def test_every_gate_is_evaluated_although_the_first_refuses() -> None:
    answers = evaluate(facts(gpus=[], disk={}), DRIVER)
    assert len(answers) == len(GATES)
    assert [answer.name for answer in answers if not answer.passed] == ["gpu_count", "disk_space"]


@pytest.mark.parametrize("name", DRIVER_GATES)
def test_driver_gates_do_not_apply_without_a_driver(name: str) -> None:
    answer = ask(
        name,
        IOMMU_ONLY,
        dkms__version=None,
        kernel__with_headers=[],
        driver__userspace_version=None,
        driver__modprobe_override="install nvidia /bin/false",
        secure_boot__state="enabled",
    )
    assert answer.passed
    assert answer.note == "not needed"


@pytest.mark.parametrize("schema", [None, 2, "1"])
def test_other_facts_are_not_judged(schema: Any) -> None:
    with pytest.raises(FactsUnusable, match="p2p_facts"):
        evaluate(facts(schema=schema), DRIVER)


def test_incomplete_facts_are_not_judged() -> None:
    incomplete = copy.deepcopy(facts())
    del incomplete["gpus"][1]["bar1_bytes"]
    with pytest.raises(FactsUnusable, match="bar1_bytes"):
        evaluate(incomplete, DRIVER)


def test_gpu_count() -> None:
    assert not ask("gpu_count", gpus=[gpu(0)]).passed
    assert ask("gpu_count", gpus=[]).read == "0"
    assert not ask("gpu_count", replace(DRIVER, minimum_gpus=3)).passed
    assert ask("gpu_count", replace(DRIVER, minimum_gpus=1), gpus=[gpu(0)]).passed


@pytest.mark.parametrize("taker", ["vfio-pci", "nouveau", "nova_core"])
def test_gpu_kernel_driver_refuses_takers(taker: str) -> None:
    answer = ask("gpu_kernel_driver", gpus=[gpu(0), gpu(1, kernel_driver=taker)])
    assert not answer.passed
    assert answer.read == f"0000:02:00.0 bound to {taker}"


def test_gpu_kernel_driver_accepts_none() -> None:
    assert ask("gpu_kernel_driver", gpus=[gpu(0, kernel_driver=None)]).passed


@pytest.mark.parametrize("generation", ["turing", "volta", "pascal"])
def test_generation_supported_refuses_what_loses_data(generation: str) -> None:
    answer = ask("generation_supported", gpus=[gpu(0), gpu(1, generation=generation)])
    assert not answer.passed
    assert "0000:02:00.0" in answer.remedy


def test_generation_supported_remarks_on_a_mixture() -> None:
    answer = ask("generation_supported", gpus=[gpu(0), gpu(1, generation="ampere")])
    assert answer.passed
    assert "mixed generations" in answer.note


@pytest.mark.parametrize("generation", [None, "unknown"])
def test_generation_supported_leaves_the_unknown_to_verification(generation: str | None) -> None:
    answer = ask("generation_supported", gpus=[gpu(0), gpu(1, generation=generation)])
    assert answer.passed
    assert "verification decides" in answer.note


def test_rebar_too_small_names_both_sizes() -> None:
    answer = ask("rebar_too_small", gpus=[gpu(0), gpu(1, bar1_bytes=256 * MIB)])
    assert not answer.passed
    assert answer.read == "0000:02:00.0 BAR1 256 MiB"
    assert answer.want == "0000:02:00.0 at least 24564 MiB"
    assert "Resizable BAR" in answer.remedy
    assert "32768 MiB" in answer.remedy


def test_rebar_too_small_by_ten_mebibytes() -> None:
    small = gpu(1, memory_bytes=16384 * MIB, bar1_bytes=16374 * MIB)
    assert not ask("rebar_too_small", gpus=[gpu(0), small]).passed
    exact = gpu(1, memory_bytes=16384 * MIB, bar1_bytes=16384 * MIB)
    assert ask("rebar_too_small", gpus=[gpu(0), exact]).passed
    headroom = replace(DRIVER, bar1_headroom_mib=512)
    assert not ask("rebar_too_small", headroom, gpus=[gpu(0), exact]).passed


@pytest.mark.parametrize(
    ("largest", "words"), [(256 * MIB, "VBIOS"), (None, "VBIOS"), (32768 * MIB, "firmware")]
)
def test_rebar_too_small_knows_what_the_card_offers(largest: int | None, words: str) -> None:
    small = gpu(0, bar1_bytes=256 * MIB, bar1_max_bytes=largest)
    assert words in ask("rebar_too_small", gpus=[small, gpu(1)]).remedy


def test_rebar_too_small_where_memory_is_unknown() -> None:
    unresized = gpu(0, memory_bytes=None, bar1_bytes=256 * MIB)
    assert not ask("rebar_too_small", gpus=[unresized, gpu(1)]).passed
    resized = gpu(0, memory_bytes=None)
    answer = ask("rebar_too_small", gpus=[resized, gpu(1)])
    assert answer.passed
    assert "unknown" in answer.note


def test_rebar_too_small_where_no_bar_was_assigned() -> None:
    answer = ask("rebar_too_small", gpus=[gpu(0, bar1_bytes=None), gpu(1)])
    assert not answer.passed
    assert "not assigned" in answer.read


def test_gpu_mig() -> None:
    assert not ask("gpu_mig", gpus=[gpu(0, mig=True), gpu(1)]).passed
    assert ask("gpu_mig", gpus=[gpu(0, mig=None), gpu(1)]).passed


@pytest.mark.parametrize(("display", "words"), [(True, "BAR1"), (None, "unknown"), (False, "")])
def test_gpu_display_remarks_and_never_refuses(display: bool | None, words: str) -> None:
    answer = ask("gpu_display", gpus=[gpu(0, display=display), gpu(1)])
    assert answer.passed
    assert words in answer.note
    assert bool(words) == bool(answer.note)


def test_gpus_busy_names_the_processes() -> None:
    busy = [gpu(0, processes=[{"pid": 4711, "name": "python3"}]), gpu(1)]
    answer = ask("gpus_busy", gpus=busy)
    assert not answer.passed
    assert answer.read == "0000:01:00.0: python3 (process 4711)"
    allowed = ask("gpus_busy", replace(DRIVER, allow_busy=True), gpus=busy)
    assert allowed.passed
    assert allowed.note


def test_gpus_busy_is_no_obstacle_where_the_host_is_drained() -> None:
    busy = [gpu(0, processes=[{"pid": 4711, "name": "python3"}]), gpu(1)]
    drained = ask("gpus_busy", replace(DRIVER, drains=True), gpus=busy)
    assert drained.passed
    assert "p2p_drain" in drained.note
    assert ask("gpus_busy", replace(DRIVER, drains=True)).note == ""


def test_gpus_busy_fails_closed_where_nobody_knows() -> None:
    assert not ask("gpus_busy", processes_source="unknown").passed
    assert ask("gpus_busy", replace(DRIVER, allow_busy=True), processes_source="unknown").note
    assert ask("gpus_busy", processes_source="module_not_loaded").passed


@pytest.mark.parametrize(
    ("version", "passed"),
    [("570.124.06", False), ("590.48.01", False), ("595.58.03", True), ("610.43.02", True)],
)
def test_nvlink_lost_by_older_branches(version: str, passed: bool) -> None:
    intent = replace(DRIVER, driver_version=version)
    linked = [gpu(0, nvlinks_active=4), gpu(1, nvlinks_active=4)]
    assert ask("nvlink_lost", intent, gpus=linked).passed is passed
    assert ask("nvlink_lost", intent).passed
    assert ask("nvlink_lost", replace(intent, allow_nvlink_loss=True), gpus=linked).passed
    assert ask("nvlink_lost", IOMMU_ONLY, gpus=linked).passed


def test_boot_loader_supported() -> None:
    answer = ask("boot_loader_supported", boot_loader=no_loader())
    assert not answer.passed
    assert (answer.read, answer.remedy) == ("an ostree deployment", "use rpm-ostree kargs")


def test_trial_possible() -> None:
    on_lvm = {"trial_possible": False, "trial_reason": "/boot is on LVM"}
    loader = {"name": "grub_debian", "firmware": "efi", **on_lvm}
    answer = ask("trial_possible", boot_loader=loader)
    assert not answer.passed
    assert answer.read == "/boot is on LVM"
    assert not ask("trial_possible", boot_loader=no_loader()).passed


def test_trial_possible_tells_what_a_hang_means() -> None:
    assert "iTCO_wdt" in ask("trial_possible").read
    without = ask("trial_possible", watchdog=None)
    assert without.passed
    assert "no watchdog" in without.read
    assert "hangs" in without.note


def test_a_trial_that_is_given_up_needs_a_known_boot_loader_all_the_same() -> None:
    without = replace(DRIVER, trial_boot=False)
    loader = {"name": "proxmox_grub", "firmware": "efi", "trial_possible": False}
    answer = ask("trial_possible", without, boot_loader={**loader, "trial_reason": "no"})
    assert answer.passed
    assert "p2p_trial_boot" in answer.note
    assert not ask("trial_possible", without, boot_loader=no_loader()).passed


@pytest.mark.parametrize("name", ["boot_loader_supported", "trial_possible"])
def test_no_boot_loader_is_needed_where_parameters_hold(name: str) -> None:
    answer = ask(name, IOMMU_ONLY, boot_loader=no_loader(), kernel__cmdline="ro iommu=pt")
    assert answer.passed
    assert "in force" in answer.note


def test_a_new_driver_is_tried_also_where_parameters_hold() -> None:
    host: dict[str, Any] = {"boot_loader": no_loader(), "kernel__cmdline": "ro iommu=pt"}
    assert not ask("trial_possible", **host).passed
    assert ask("trial_possible", replace(DRIVER, trial_boot=False), **host).passed
    installed = {
        "module": "gpufleet-nvidia",
        "version": DRIVER.driver_version,
        "kernel": RELEASE,
        "status": "installed",
    }
    assert ask("trial_possible", dkms__modules=[installed], **host).passed
    other = {**installed, "version": "535.261.03"}
    assert not ask("trial_possible", dkms__modules=[other], **host).passed


@pytest.mark.parametrize("cmdline", ["ro iommu=off", "amd_iommu=off ro"])
def test_kernel_parameters_conflict_for_good(cmdline: str) -> None:
    answer = ask("kernel_parameters_conflict", kernel__cmdline=cmdline)
    assert not answer.passed
    assert "off" in answer.read


def test_kernel_parameters_conflict_of_the_other_vendor_is_none() -> None:
    # amd_iommu=off means nothing to an Intel host.
    changes = {"kernel__cmdline": "amd_iommu=off", "cpu__vendor": "intel"}
    assert ask("kernel_parameters_conflict", **changes).passed


def test_kernel_parameters_conflict_that_coming_later_resolves() -> None:
    answer = ask("kernel_parameters_conflict", kernel__cmdline="iommu=nopt ro")
    assert answer.passed
    assert "iommu=nopt" in answer.note


def test_kernel_parameters_conflict_refuses_what_does_not_exist() -> None:
    intent = replace(DRIVER, parameters=("amd_iommu=on",))
    assert not ask("kernel_parameters_conflict", intent).passed


def test_disk_space() -> None:
    answer = ask("disk_space", **{"disk__/boot": 100 * MIB})
    assert not answer.passed
    assert "/boot 100 MiB" in answer.read
    assert "/boot" in answer.remedy
    lower = replace(DRIVER, minimum_free_mib={"/boot": 100})
    assert ask("disk_space", lower, **{"disk__/boot": 100 * MIB}).passed
    unreadable = ask("disk_space", disk={})
    assert not unreadable.passed
    assert "unreadable" in unreadable.read


@pytest.mark.parametrize(
    ("state", "lockdown", "enforced", "enrolled", "passed"),
    [
        ("disabled", "none", False, False, True),
        ("unsupported", "unknown", None, None, True),
        ("enabled", "integrity", None, True, True),
        ("enabled", "integrity", None, False, False),
        ("enabled", "unknown", None, None, False),
        ("disabled", "integrity", None, False, False),
        ("disabled", "none", True, False, False),
        ("unknown", "none", None, None, True),
        ("unknown", "unknown", None, None, False),
    ],
)
def test_secure_boot_key(
    state: str, lockdown: str, enforced: bool | None, enrolled: bool | None, passed: bool
) -> None:
    found = {
        "state": state,
        "lockdown": lockdown,
        "signature_enforced": enforced,
        "key_enrolled": enrolled,
    }
    answer = ask("secure_boot_key", secure_boot=found)
    assert answer.passed is passed
    assert "never switched off" in answer.remedy or passed


def test_kernel_headers() -> None:
    newer = "6.1.0-40-amd64"
    older = "6.1.0-9-amd64"
    assert RELEASE in ask("kernel_headers", kernel__with_headers=[]).read
    both = {"kernel__installed": [older, RELEASE, newer]}
    without = ask("kernel_headers", **both)
    assert not without.passed
    assert without.read == f"missing for {newer}"
    having = ask("kernel_headers", **both, kernel__with_headers=[RELEASE, newer])
    assert having.passed
    assert newer in having.note


def test_dkms_present() -> None:
    assert ask("dkms_present", dkms__version=None).read == "not installed"
    broken = {"version": "3.0.10", "modules": None, "error": "status failed"}
    assert not ask("dkms_present", dkms=broken).passed
    assert not ask("competing_dkms_package", dkms=broken).passed


@pytest.mark.parametrize(
    ("generator", "passed"),
    [("initramfs-tools", True), (None, True), ("dracut", False), ("mkinitcpio", False)],
)
def test_initramfs_generator(generator: str | None, passed: bool) -> None:
    answer = ask("initramfs_generator", toolchain__initramfs=generator)
    assert (answer.passed, answer.read) == (passed, generator or "none")
    # The kernel parameters alone need none of it.
    assert ask("initramfs_generator", IOMMU_ONLY, toolchain__initramfs=generator).passed


@pytest.mark.parametrize("name", ["nvidia", "nvidia-current", "nvidia-open", "nvidia-srv"])
@pytest.mark.parametrize("status", ["added", "installed"])
def test_competing_dkms_package(name: str, status: str) -> None:
    answer = ask("competing_dkms_package", dkms__modules=[entry(name, status)])
    assert not answer.passed
    assert answer.read == f"{name}/550.163.01"


@pytest.mark.parametrize("name", ["gpufleet-nvidia", "nvidia-fs", "zfs", "nvidiafb"])
def test_other_dkms_packages_do_not_compete(name: str) -> None:
    assert ask("competing_dkms_package", dkms__modules=[entry(name)]).passed


def test_modprobe_override() -> None:
    line = "install modprobe -i nvidia-current"
    answer = ask("modprobe_override", driver__modprobe_override=line)
    assert not answer.passed
    assert answer.read == line


def with_registry(**keys: int) -> Intent:
    """Return the intent to install a build with registry keys."""
    build = DriverBuild("595.58.03", Source("path", "/srv"), registry=tuple(keys.items()))
    return replace(DRIVER, build=build)


def option(value: str, *, later: bool = False) -> dict[str, Any]:
    return {
        "parameter": "NVreg_RegistryDwords",
        "value": value,
        "origin": "/etc/modprobe.d/local.conf:3",
        "later": later,
    }


def test_registry_keys_that_others_set_otherwise() -> None:
    asked = with_registry(RMX=1)
    for found in (option("RMX=2"), option("RMY=1", later=True)):
        answer = ask("driver_registry", asked, driver__module_options=[found])
        assert not answer.passed
        assert "/etc/modprobe.d/local.conf:3" in answer.read
        assert "local.conf" in answer.remedy
        assert ask("driver_registry", driver__module_options=[found]).passed


def test_registry_keys_of_others_are_noted() -> None:
    answer = ask("driver_registry", with_registry(RMX=1), driver__module_options=[option("RMY=1")])
    assert answer.passed
    assert "RMY=1 of /etc/modprobe.d/local.conf:3" in answer.note
    assert ask("driver_registry", with_registry(RMX=1)).note == ""
