# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The facts of a host that passes every gate, and one gate's answer for it with changes."""

from __future__ import annotations

from typing import Any

from ansible_collections.gpufleet.p2p.plugins.module_utils._preflight.evaluate import evaluate
from ansible_collections.gpufleet.p2p.plugins.module_utils._preflight.gate import Gate, Intent

MIB = 1 << 20
RELEASE = "6.1.0-32-amd64"
GCC = "gcc-12 (Debian 12.2.0-14+deb12u1) 12.2.0"
DRIVER = Intent(driver_version="595.58.03", parameters=("iommu=pt",))
IOMMU_ONLY = Intent(parameters=("iommu=pt",))


def gpu(index: int, **changes: Any) -> dict[str, Any]:
    """Return the facts of an RTX 4090 with nothing wrong."""
    return {
        "index": index,
        "bdf": f"0000:0{index + 1}:00.0",
        "name": "NVIDIA GeForce RTX 4090",
        "vendor": "10de",
        "device": "2684",
        "generation": "ada",
        "memory_bytes": 24564 * MIB,
        "bar1_bytes": 32768 * MIB,
        "bar1_max_bytes": 32768 * MIB,
        "kernel_driver": "nvidia",
        "display": False,
        "mig": False,
        "nvlinks_active": 0,
        "processes": [],
        **changes,
    }


def facts(**changes: Any) -> dict[str, Any]:
    """Return the facts of a good host; ``part__key=value`` changes one entry of one part."""
    good: dict[str, Any] = {
        "schema": 1,
        "kernel": {
            "release": RELEASE,
            "cmdline": f"BOOT_IMAGE=/vmlinuz-{RELEASE} ro quiet",
            "installed": [RELEASE],
            "with_headers": [RELEASE],
        },
        "cpu": {"vendor": "amd", "model": "EPYC"},
        "secure_boot": {
            "state": "disabled",
            "lockdown": "none",
            "signature_enforced": False,
            "key_enrolled": False,
        },
        "boot_loader": {
            "name": "grub_debian",
            "firmware": "efi",
            "trial_possible": True,
            "trial_reason": "",
        },
        "gpus": [gpu(0), gpu(1)],
        "processes_source": "nvml",
        "driver": {
            "modprobe_override": None,
            "rivals_kept_off": True,
            "module_options": [],
            "userspace_version": "595.58.03",
            "userspace_origin": {"by": "packages", "packages": ["libcuda1"]},
            "userspace_archive": {"releases": {}, "held": []},
            "firmware": ["595.58.03"],
            "module_files": [],
            "on_trial": False,
        },
        "toolchain": {
            "distribution": "debian",
            "initramfs": "initramfs-tools",
            "missing": [],
            "kernels": [kernel(RELEASE)],
        },
        "dkms": {"version": "3.0.10", "modules": [], "error": None},
        "watchdog": {
            "identity": "iTCO_wdt",
            "active": False,
            "settable": True,
            "in_trial": "watchdog iTCO_wdt resets a hang",
        },
        "drain": None,
        "disk": {"/boot": 400 * MIB, "/usr": 9000 * MIB, "/var": 9000 * MIB},
    }
    for name, value in changes.items():
        part, _, key = name.partition("__")
        if key:
            good[part][key] = value
        else:
            good[part] = value
    return good


def kernel(release: str, **changes: Any) -> dict[str, Any]:
    """Return the toolchain's record of a kernel that has all it needs."""
    return {
        "release": release,
        "version": "6.1.153",
        "compiler": GCC,
        "compiler_found": GCC,
        "resize_arguments": 3,
        "headers_package": None,
        **changes,
    }


def ask(name: str, intent: Intent = DRIVER, **changes: Any) -> Gate:
    """Return one gate's answer for a good host with changes, and hold it to what all promise."""
    answer = next(gate for gate in evaluate(facts(**changes), intent) if gate.name == name)
    assert answer.read
    assert answer.want
    assert bool(answer.remedy) is not answer.passed
    return answer
