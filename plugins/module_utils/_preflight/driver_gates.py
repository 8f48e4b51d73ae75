# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Gates on installing a driver: it can be built, found, loaded, and fits its libraries."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .._driver.initramfs_generator import SUPPORTED
from .._driver.modprobe_options import Setting
from .._driver.registry_merge import RegistryRefused, merged
from .gate import Facts, Gate, Intent, needed_kernels, not_needed

OWN_DKMS_NAME = "gpufleet-nvidia"
# DKMS packages of NVIDIA's that do not write nvidia.ko: GPUDirect Storage and peer memory.
_HARMLESS = frozenset({"nvidia-fs", "nvidia-peermem", "nvidia-peer-memory", "nvidia-gdrcopy"})


def kernel_headers(facts: Facts, intent: Intent) -> Gate:
    """Modules can be built for the running kernel and for those that a next boot may take."""
    want = "headers of the running kernel and of every newer one"
    if intent.driver_version is None:
        return not_needed("kernel_headers", want)
    kernel = facts["kernel"]
    needed = needed_kernels(facts)
    missing = [release for release in needed if release not in kernel["with_headers"]]
    packages = {record["release"]: record["headers_package"] for record in _kernels(facts)}
    found = [str(packages[release]) for release in missing if packages.get(release)]
    installable = bool(missing) and len(found) == len(missing)
    passed = not missing or (installable and intent.install_headers)
    note = ""
    if missing and passed:
        note = f"to be installed: {', '.join(found)}"
    elif not missing and len(needed) > 1:
        later = ", ".join(needed[1:])
        note = f"newer than the running kernel: {later}; DKMS builds for it when it boots"
    return Gate(
        "kernel_headers",
        passed,
        read=f"missing for {', '.join(missing)}" if missing else f"there for {', '.join(needed)}",
        want=want,
        remedy="" if passed else _headers_remedy(missing, found),
        note=note,
    )


def _headers_remedy(missing: list[str], found: list[str]) -> str:
    if len(found) == len(missing):
        return f"apt-get install {' '.join(found)}, or set p2p_install_headers=true"
    return (
        f"install the headers packages of {', '.join(missing)}, or remove kernels that are not to"
        " be booted"
    )


def _kernels(facts: Facts) -> list[Mapping[str, Any]]:
    return list(facts["toolchain"]["kernels"])


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


def initramfs_generator(facts: Facts, intent: Intent) -> Gate:
    """A copy of the driver in the initial RAM disk would be seen and refreshed."""
    want = f"{SUPPORTED}, or no initial RAM disk"
    if intent.driver_version is None:
        return not_needed("initramfs_generator", want)
    generator = facts["toolchain"]["initramfs"]
    passed = generator in {SUPPORTED, None}
    return Gate(
        "initramfs_generator",
        passed,
        read=generator or "none",
        want=want,
        remedy=""
        if passed
        else "set the kernel parameters only (leave p2p_driver empty), and install the driver by"
        " this host's own means: an old one in the initial RAM disk would be loaded before it",
    )


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
        read=override or "no install or alias line",
        want=want,
        remedy="remove that line from /etc/modprobe.d (Debian: it belongs to nvidia-kernel-support)"
        if override
        else "",
    )


def driver_registry(facts: Facts, intent: Intent) -> Gate:
    """The registry keys can be set beside what others set for the module."""
    want = "nobody else to set the keys of p2p_driver.registry otherwise"
    numbers = intent.build.registry_numbers() if intent.build else {}
    if intent.driver_version is None:
        return not_needed("driver_registry", want)
    settings = [
        Setting(told["parameter"], told["value"], told["origin"], told["later"])
        for told in facts["driver"]["module_options"]
    ]
    if not numbers:
        return Gate("driver_registry", True, "no keys asked for", want)
    try:
        kept = merged(numbers, settings).kept
    except RegistryRefused as refusal:
        return Gate("driver_registry", False, refusal.read, refusal.want, refusal.remedy)
    others = ", ".join(dict.fromkeys(setting.origin for setting in settings))
    note = f"kept beside ours: {', '.join(f'{key} of {origin}' for key, origin in kept)}"
    return Gate("driver_registry", True, others or "no others", want, note=note if kept else "")


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
