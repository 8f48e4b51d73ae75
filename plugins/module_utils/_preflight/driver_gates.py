# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Gates on installing a driver: it can be built, found, loaded, and fits its libraries."""

from __future__ import annotations

from .._host.kernel import release_order
from .gate import Facts, Gate, Intent, not_needed

OWN_DKMS_NAME = "gpufleet-nvidia"
# DKMS packages of NVIDIA's that do not write nvidia.ko: GPUDirect Storage and peer memory.
_HARMLESS = frozenset({"nvidia-fs", "nvidia-peermem", "nvidia-peer-memory", "nvidia-gdrcopy"})


def kernel_headers(facts: Facts, intent: Intent) -> Gate:
    """Modules can be built for the running kernel and for those that a next boot may take."""
    want = "headers of the running kernel and of every newer one"
    if intent.driver_version is None:
        return not_needed("kernel_headers", want)
    kernel = facts["kernel"]
    running = kernel["release"]
    later = [
        release
        for release in kernel["installed"]
        if release_order(release) > release_order(running)
    ]
    needed = [running, *later]
    missing = [release for release in needed if release not in kernel["with_headers"]]
    return Gate(
        "kernel_headers",
        not missing,
        read=f"missing for {', '.join(missing)}" if missing else f"there for {', '.join(needed)}",
        want=want,
        remedy=f"install the headers packages of {', '.join(missing)}, or remove kernels that are"
        " not to be booted"
        if missing
        else "",
        note=f"newer than the running kernel: {', '.join(later)}; DKMS builds for it when it boots"
        if later and not missing
        else "",
    )


def dkms_present(facts: Facts, intent: Intent) -> Gate:
    """DKMS is installed and tells what it has."""
    want = "DKMS installed and working"
    if intent.driver_version is None:
        return not_needed("dkms_present", want)
    dkms = facts["dkms"]
    if dkms["version"] is None:
        return Gate("dkms_present", False, "not installed", want, "install the package dkms")
    if dkms["modules"] is None:
        remedy = "mend what dkms status names, then run again"
        return Gate("dkms_present", False, dkms["error"], want, remedy)
    return Gate("dkms_present", True, dkms["version"], want)


def competing_dkms_package(facts: Facts, intent: Intent) -> Gate:
    """No other DKMS package writes nvidia.ko: of two, the one built last wins at every kernel."""
    want = f"no NVIDIA driver in DKMS but {OWN_DKMS_NAME}"
    if intent.driver_version is None:
        return not_needed("competing_dkms_package", want)
    modules = facts["dkms"]["modules"]
    if modules is None:
        remedy = "mend what dkms status names, then run again"
        return Gate("competing_dkms_package", False, "unknown: dkms status failed", want, remedy)
    others = sorted(
        {f"{entry['module']}/{entry['version']}" for entry in modules if _competes(entry["module"])}
    )
    return Gate(
        "competing_dkms_package",
        not others,
        read=", ".join(others) or "none",
        want=want,
        remedy=f"remove the packages that brought {', '.join(others)} and keep their libraries, or"
        " take them out of DKMS with dkms remove"
        if others
        else "",
    )


def modprobe_override(facts: Facts, intent: Intent) -> Gate:
    """No modprobe.d line loads another module in nvidia's place."""
    want = "modprobe nvidia to load nvidia.ko"
    if intent.driver_version is None:
        return not_needed("modprobe_override", want)
    override = facts["driver"]["modprobe_override"]
    return Gate(
        "modprobe_override",
        override is None,
        read=override or "no install line",
        want=want,
        remedy="remove that install line from /etc/modprobe.d (Debian: it belongs to"
        " nvidia-kernel-support)"
        if override
        else "",
    )


def userspace_version_match(facts: Facts, intent: Intent) -> Gate:
    """The libraries are of exactly the release of the module to install."""
    wanted = intent.driver_version
    if wanted is None:
        return not_needed("userspace_version_match", "libraries of the driver's exact release")
    found = facts["driver"]["userspace_version"]
    passed = found == wanted
    return Gate(
        "userspace_version_match",
        passed,
        read=found or "no libcuda.so.1 and no libnvidia-ml.so.1",
        want=wanted,
        remedy=""
        if passed
        else f"install NVIDIA's userspace {wanted} (without kernel modules) and hold its packages,"
        " or choose the driver of the installed release",
    )


def secure_boot_key(facts: Facts, intent: Intent) -> Gate:
    """Where unsigned modules are refused, the firmware knows the key that signs them here."""
    want = "unsigned modules allowed, or the signing key enrolled"
    if intent.driver_version is None:
        return not_needed("secure_boot_key", want)
    found = facts["secure_boot"]
    state, lockdown, enrolled = found["state"], found["lockdown"], found["key_enrolled"]
    enforced = found["signature_enforced"]
    words = {True: "enrolled", False: "not enrolled", None: "unknown"}
    read = f"Secure Boot {state}, lockdown {lockdown}, key {words[enrolled]}"
    demanded = state == "enabled" or lockdown in ("integrity", "confidentiality") or bool(enforced)
    if demanded or (state == "unknown" and lockdown != "none"):
        # Not knowing whether the module would load is as good as knowing it would not.
        remedy = (
            "enroll the key from the console: mokutil --import, reboot, approve in MokManager;"
            " Secure Boot is never switched off"
        )
        passed = enrolled is True
        return Gate("secure_boot_key", passed, read, want, "" if passed else remedy)
    note = "Secure Boot's state is unreadable; the kernel is not locked down"
    return Gate("secure_boot_key", True, read, want, note=note if state == "unknown" else "")


def _competes(module: str) -> bool:
    named = module == "nvidia" or module.startswith(("nvidia-", "nvidia_"))
    return named and module not in _HARMLESS
