# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Gates on a driver's source against the host: can this source be built and run here at all."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .driver_gates import OWN_DKMS_NAME
from .gate import Facts, Gate, Intent, needed_kernels, not_needed

_SIGNATURE = "pci_resize_resource"
# Ours go to updates/dkms. What lies there, or in another directory that outranks the kernel's own,
# under the same name is either ours or in its place.
_CONTESTED = ("updates/", "extra/", "weak-updates/")


def driver_source(facts: Facts, intent: Intent) -> Gate:
    """The source is what was asked for and locked, was fetched whole, and takes its patches."""
    want = "the driver's source, verified"
    if intent.driver_version is None:
        return not_needed("driver_source", want)
    if intent.source is None:
        note = "not fetched before the gates: the build verifies it"
        return Gate("driver_source", True, f"release {intent.driver_version}", want, note=note)
    error = intent.source.get("error")
    if error is not None:
        return Gate("driver_source", False, error["read"], error["want"], error["remedy"])
    described = intent.source["description"]
    form = "prebuilt resource manager" if described["prebuilt"] else "full source"
    key = str(intent.source["key"])
    entry = intent.known_build
    name = f"{entry.name}, " if entry else ""
    return Gate(
        "driver_source", True, f"{name}{described['version']}, {form}, content {key[:12]}", want
    )


def compiler(facts: Facts, intent: Intent) -> Gate:
    """There is the compiler that each kernel was built with, and what else a build needs."""
    want = "each kernel's compiler, and make, patch, tar, xz"
    if intent.driver_version is None:
        return not_needed("compiler", want)
    missing = list(facts["toolchain"]["missing"])
    unknown = []
    for record in _needed(facts):
        if record["compiler"] is None:
            unknown.append(record["release"])
        elif record["compiler_found"] is None:
            missing.append(f"{record['compiler']} of {record['release']}")
    missing = list(dict.fromkeys(missing))
    note = ""
    if missing and not intent.compiles:
        note = "not needed for this build; without it DKMS cannot build for the next kernel"
    elif unknown:
        note = f"which compiler built {', '.join(unknown)} is unknown without its headers"
    passed = not missing or not intent.compiles
    return Gate(
        "compiler",
        passed,
        read=f"missing: {', '.join(missing)}" if missing else "there",
        want=want,
        remedy=""
        if passed
        else "install them (Debian, Ubuntu: build-essential and the gcc of that major version), or"
        " name a build host in p2p_builder_group",
        note=note,
    )


def kernel_signature(facts: Facts, intent: Intent) -> Gate:
    """The source calls pci_resize_resource() as each kernel declares it."""
    want = f"{_SIGNATURE}() called as each kernel declares it"
    if intent.driver_version is None:
        return not_needed("kernel_signature", want)
    called = _called(intent)
    if called is None:
        note = "the source is not at hand: the build compares it"
        return Gate("kernel_signature", True, "source unknown", want, note=note)
    if not called:
        return Gate("kernel_signature", True, f"the source does not call {_SIGNATURE}()", want)
    declared = {
        record["release"]: record["resize_arguments"]
        for record in _needed(facts)
        if record["resize_arguments"] is not None
    }
    wrong = {release: count for release, count in declared.items() if count not in called}
    shown = wrong or declared
    kernels = "; ".join(f"{release} declares {count} arguments" for release, count in shown.items())
    calls = f"the source calls it with {' or '.join(map(str, called))}"
    unread = [release for release in needed_kernels(facts) if release not in declared]
    return Gate(
        "kernel_signature",
        not wrong,
        read=f"{kernels}; {calls}" if shown else calls,
        want=want,
        remedy="choose a driver that is adapted to these kernels (gpufleet driver list), or add a"
        " patch file that adapts this one"
        if wrong
        else "",
        note=f"undeclared or without headers: {', '.join(unread)}" if unread and not wrong else "",
    )


def kernel_known_bad(facts: Facts, intent: Intent) -> Gate:
    """No kernel that may be booted is one on which this driver is known to fail."""
    want = "no pair of driver and kernel that the catalogue knows to fail"
    version = intent.driver_version
    if version is None:
        return not_needed("kernel_known_bad", want)
    if intent.catalogue is None:
        return Gate("kernel_known_bad", True, "no catalogue", want, note="not judged")
    distribution = facts["toolchain"]["distribution"]
    bad: list[str] = []
    adapted: list[str] = []
    unknown: list[str] = []
    for record in _needed(facts):
        if record["version"] is None:
            unknown.append(record["release"])
            continue
        for breakage in intent.catalogue.breakages_of(version, record["version"], distribution):
            pair = f"{version} on {record['release']} ({record['version']}): {breakage.reason}"
            # The source itself is better evidence than its version: a patch may have adapted it.
            fits = breakage.name == _SIGNATURE and record["resize_arguments"] in (
                _called(intent) or ()
            )
            (adapted if fits else bad).append(pair)
    notes = []
    if adapted:
        notes.append(f"the source was adapted: {'; '.join(adapted)}")
    if unknown:
        notes.append(f"version unknown without headers: {', '.join(unknown)}")
    return Gate(
        "kernel_known_bad",
        not bad,
        read="; ".join(bad) or "none",
        want=want,
        remedy="choose another driver (gpufleet driver list), or boot another kernel and remove"
        " this one"
        if bad
        else "",
        note="; ".join(notes),
    )


def distribution_module(facts: Facts, intent: Intent) -> Gate:
    """No module of somebody else lies where it would be loaded in place of ours."""
    want = "no other nvidia.ko where ours goes or that outranks it"
    if intent.driver_version is None:
        return not_needed("distribution_module", want)
    files = list(facts["driver"]["module_files"])
    contested = [name for name in files if name.startswith(_CONTESTED) and _is_plain(name)]
    if _own_is_installed(facts):
        contested = [name for name in contested if not name.startswith("updates/dkms/")]
    outranked = [name for name in files if name not in contested and _is_plain(name)]
    return Gate(
        "distribution_module",
        not contested,
        read=", ".join(contested or files) or "none",
        want=want,
        remedy=f"remove what installed {', '.join(contested)} (dpkg -S or rpm -qf names the"
        " package; make modules_install leaves files of none)"
        if contested
        else "",
        note=f"stays and is outranked: {', '.join(outranked)}"
        if outranked and not contested and not _own_is_installed(facts)
        else "",
    )


def _is_plain(name: str) -> bool:
    """Whether a file is found as ``nvidia``; Debian's nvidia-current.ko has another name."""
    return name.rpartition("/")[2].startswith("nvidia.ko")


def _own_is_installed(facts: Facts) -> bool:
    running = facts["kernel"]["release"]
    return any(
        entry["module"] == OWN_DKMS_NAME
        and entry["kernel"] == running
        and entry["status"] == "installed"
        for entry in facts["dkms"]["modules"] or []
    )


def _called(intent: Intent) -> list[int] | None:
    if intent.source is None or "description" not in intent.source:
        return None
    return list(intent.source["description"]["resize_arguments"])


def _needed(facts: Facts) -> list[Mapping[str, Any]]:
    needed = needed_kernels(facts)
    return [record for record in facts["toolchain"]["kernels"] if record["release"] in needed]
