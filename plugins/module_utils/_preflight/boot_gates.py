# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Gates on starting the host: a known boot loader, a way back, parameters that can hold."""

from __future__ import annotations

from .._boot import cmdline, conflicts
from .._host.errors import GpufleetError
from .gate import FULL_BUILD_MIB, MIB, Facts, Gate, Intent, mib


def boot_loader_supported(facts: Facts, intent: Intent) -> Gate:
    """The boot loader is one whose configuration gpufleet knows how to change."""
    want = "a supported boot loader"
    loader = facts["boot_loader"]
    if loader["name"] is not None:
        read = f"{loader['name']} ({loader['firmware']})"
        return Gate("boot_loader_supported", True, read, want)
    if _in_force(facts, intent):
        return Gate(
            "boot_loader_supported",
            True,
            loader["reason"],
            want,
            note="not needed: the kernel parameters are in force already",
        )
    return Gate("boot_loader_supported", False, loader["reason"], want, loader["remedy"])


def trial_possible(facts: Facts, intent: Intent) -> Gate:
    """A boot entry can be tried once, so that a bad one comes back by itself."""
    want = "a boot loader that can try an entry once"
    loader = facts["boot_loader"]
    if loader.get("trial_possible"):
        watchdog = facts["watchdog"]
        safety = watchdog["in_trial"] if watchdog else "no watchdog"
        note = "" if watchdog else "a trial boot that hangs stays so until its power is cycled"
        return Gate("trial_possible", True, f"{loader['name']} can; {safety}", want, note=note)
    read = loader.get("trial_reason") or "unknown: no supported boot loader"
    if _in_force(facts, intent) and not (intent.trial_boot and _driver_is_new(facts, intent)):
        note = "not needed: the kernel parameters are in force already, and no driver is tried"
        return Gate("trial_possible", True, read, want, note=note)
    if not intent.trial_boot and loader["name"] is not None:
        note = "given up by p2p_trial_boot: the default entry changes at once"
        return Gate("trial_possible", True, read, want, note=note)
    return Gate(
        "trial_possible",
        False,
        read,
        want,
        remedy="mend what was read, such as by moving /boot to a plain ext4 partition; or do"
        " without a trial (p2p_trial_boot: false), with a console at hand",
    )


def kernel_parameters_conflict(facts: Facts, intent: Intent) -> Gate:
    """Nothing on the running command line makes the wanted parameters void for good."""
    name = "kernel_parameters_conflict"
    want = " ".join(intent.parameters) + " to take effect" if intent.parameters else "none"
    read = facts["kernel"]["cmdline"]
    try:
        wanted = cmdline.wanted(intent.parameters)
        conflicts.refuse_impossible(wanted)
    except GpufleetError as error:
        return Gate(name, False, error.read, error.want, error.remedy)
    found = conflicts.find_conflicts(
        wanted,
        [(parameter, "/proc/cmdline") for parameter in cmdline.parse(read).parameters],
        vendor=facts["cpu"]["vendor"],
    )
    sticky = [conflict for conflict in found if not conflict.resolved]
    resolved = list(dict.fromkeys(c.parameter for c in found if c.resolved))
    return Gate(
        name,
        not sticky,
        read=", ".join(dict.fromkeys(conflict.parameter for conflict in sticky)) or read,
        want=want,
        remedy="remove these from the boot loader's configuration: nothing that comes later can"
        " undo them"
        if sticky
        else "",
        note=f"overridden by coming later: {', '.join(resolved)}" if resolved else "",
    )


def disk_space(facts: Facts, intent: Intent) -> Gate:
    """There is room for sources, modules and the boot files of a trial beside the old ones."""
    free, floor = facts["disk"], dict(intent.minimum_free_mib)
    if intent.builds_full_source and "/var" in floor:
        floor["/var"] = max(floor["/var"], FULL_BUILD_MIB)
    short = [path for path, least in floor.items() if free.get(path, 0) < least * MIB]
    return Gate(
        "disk_space",
        not short,
        read=", ".join(
            f"{path} {mib(free[path]) if path in free else 'unreadable'}" for path in floor
        )
        or "nothing asked",
        want=", ".join(f"{path} {least} MiB" for path, least in floor.items()) or "nothing",
        remedy=f"free space below {', '.join(short)}; old kernels are the usual reason"
        if short
        else "",
    )


def _driver_is_new(facts: Facts, intent: Intent) -> bool:
    """Whether a driver is to be installed that DKMS has not in the running kernel: it is tried."""
    if intent.driver_version is None:
        return False
    kernel = facts["kernel"]["release"]
    return not any(
        entry["version"] == intent.driver_version
        and entry["kernel"] == kernel
        and entry["status"] == "installed"
        for entry in facts["dkms"]["modules"] or ()
    )


def _in_force(facts: Facts, intent: Intent) -> bool:
    """Whether nothing has to be written: every wanted parameter holds on the running kernel."""
    try:
        wanted = cmdline.wanted(intent.parameters)
    except GpufleetError:
        return False
    line = cmdline.parse(facts["kernel"]["cmdline"])
    return conflicts.in_force(wanted, line, vendor=facts["cpu"]["vendor"])
