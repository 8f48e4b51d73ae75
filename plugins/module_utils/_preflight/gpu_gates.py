# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Gates on the GPUs themselves: are there enough, of a kind that can, and free to be touched."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .._driver.catalogue import LOST, UNKNOWN
from .._driver.registry import version_order
from .._gpu.generation import SUPPORTED, is_supported
from .gate import MIB, Facts, Gate, Intent, mib, names_of

Gpu = Mapping[str, Any]

# Every NVIDIA GPU has a BAR1 of this size or less until it is resized, and none of the supported
# generations has that little memory.
_UNRESIZED_BAR1 = 256 * MIB
# The first patched branch that prefers NVLink to BAR1 where a pair has both.
_NVLINK_KEPT_FROM = "595.58.03"
_NVIDIA_DRIVER = "nvidia"
_TAKERS = {
    "vfio-pci": "return the GPU from the virtual machine it is passed to, or leave this host out:"
    " identity domains are unsuitable for hosts that give devices to guests",
    "nouveau": "deny the module nouveau in /etc/modprobe.d, refresh the initramfs and reboot",
    "nova_core": "deny the module nova_core in /etc/modprobe.d, refresh the initramfs and reboot",
}


def gpu_count(facts: Facts, intent: Intent) -> Gate:
    """Enough GPUs were matched for there to be a pair."""
    gpus = facts["gpus"]
    count = len(gpus)
    passed = count >= intent.minimum_gpus
    return Gate(
        "gpu_count",
        passed,
        read=f"{count}: {names_of(gpus)}" if gpus else "0",
        want=f"at least {intent.minimum_gpus} GPUs",
        remedy=""
        if passed
        else "check that the GPUs are seated and that p2p_gpu_match names them (lspci -nn)",
    )


def gpu_kernel_driver(facts: Facts, intent: Intent) -> Gate:
    """No other kernel driver holds a GPU."""
    taken = [gpu for gpu in facts["gpus"] if gpu["kernel_driver"] in _TAKERS]
    takers = sorted({gpu["kernel_driver"] for gpu in taken})
    drivers = sorted({gpu["kernel_driver"] or "none" for gpu in facts["gpus"]})
    return Gate(
        "gpu_kernel_driver",
        not taken,
        read="; ".join(f"{gpu['bdf']} bound to {gpu['kernel_driver']}" for gpu in taken)
        or ", ".join(drivers)
        or "no GPU",
        want=f"{_NVIDIA_DRIVER} or no driver",
        remedy="; ".join(_TAKERS[taker] for taker in takers),
    )


def rebar_too_small(facts: Facts, intent: Intent) -> Gate:
    """BAR1 covers the whole memory of each GPU: what lies outside cannot be reached by a peer."""
    small = [gpu for gpu in facts["gpus"] if not _is_bar1_enough(gpu, intent)]
    shown = small or list(facts["gpus"])
    unknown = [gpu for gpu in facts["gpus"] if gpu["memory_bytes"] is None]
    note = ""
    if unknown and not small:
        note = f"memory size unknown without NVML: {names_of(unknown)}; verification decides"
    return Gate(
        "rebar_too_small",
        not small,
        read="; ".join(f"{gpu['bdf']} BAR1 {_size(gpu['bar1_bytes'])}" for gpu in shown)
        or "no GPU",
        want="; ".join(f"{gpu['bdf']} {_wanted_bar1(gpu, intent)}" for gpu in shown)
        or "BAR1 of at least the GPU's memory",
        remedy="; ".join(dict.fromkeys(_bar1_remedy(gpu) for gpu in small)),
        note=note,
    )


def generation_supported(facts: Facts, intent: Intent) -> Gate:
    """Each GPU is of a generation on which the driver works, by the catalogue if it is there."""
    gpus = facts["gpus"]
    entry = intent.known_build
    supported = entry.generations if entry and entry.generations else SUPPORTED
    refused = [gpu for gpu in gpus if not is_supported(gpu["generation"], supported)]
    known = sorted({gpu["generation"] for gpu in gpus if gpu["generation"]})
    notes = []
    if len(known) > 1:
        notes.append("mixed generations: only GPUs of one generation reach each other")
    unknown = [gpu for gpu in gpus if gpu["generation"] in (None, "unknown")]
    if unknown:
        notes.append(f"generation unknown: {names_of(unknown)}; verification decides")
    return Gate(
        "generation_supported",
        not refused,
        read="; ".join(f"{gpu['bdf']} {gpu['generation'] or 'unknown'}" for gpu in gpus)
        or "no GPU",
        want=", ".join(supported) + (f" for {entry.name}" if entry else ""),
        remedy=_generation_remedy(refused),
        note="; ".join(notes),
    )


def _generation_remedy(refused: list[Gpu]) -> str:
    if not refused:
        return ""
    names = names_of(refused)
    if all(is_supported(gpu["generation"]) for gpu in refused):
        return (
            f"choose a driver for {names} (gpufleet driver list), or leave it out by p2p_gpu_match"
        )
    return f"leave {names} out by p2p_gpu_match: the patch claims peer-to-peer there and loses data"


def gpus_busy(facts: Facts, intent: Intent) -> Gate:
    """Nothing runs on the GPUs that a new driver or a reboot would kill."""
    busy = [
        f"{gpu['bdf']}: {process['name']} (process {process['pid']})"
        for gpu in facts["gpus"]
        for process in gpu["processes"]
    ]
    unknown = facts["processes_source"] == "unknown"
    read = "; ".join(busy) or ("unknown: NVML is silent" if unknown else "no process")
    passed = intent.allow_busy or intent.drains or not (busy or unknown)
    accepted = "allowed by p2p_allow_busy" if intent.allow_busy else "p2p_drain has it ended first"
    return Gate(
        "gpus_busy",
        passed,
        read=read,
        want="no process on any GPU",
        remedy=""
        if passed
        else "drain the host (p2p_drain does it), or set p2p_allow_busy=true to lose that work",
        note=accepted if passed and (busy or unknown) else "",
    )


def gpu_display(facts: Facts, intent: Intent) -> Gate:
    """No display is attached; never refuses, since only a measurement tells whether it hurts."""
    attached = [gpu for gpu in facts["gpus"] if gpu["display"]]
    unknown = [gpu for gpu in facts["gpus"] if gpu["display"] is None]
    note = ""
    if attached:
        note = (
            "a display or console takes part of BAR1 and can break peer access to that GPU;"
            " use another adapter for the console if verification fails"
        )
    elif unknown:
        note = f"unknown without NVML: {names_of(unknown)}"
    return Gate(
        "gpu_display",
        True,
        read=f"attached to {names_of(attached)}" if attached else "none seen",
        want="no display on any GPU",
        note=note,
    )


def gpu_mig(facts: Facts, intent: Intent) -> Gate:
    """No GPU is cut into instances, which have no peer access."""
    cut = [gpu for gpu in facts["gpus"] if gpu["mig"]]
    return Gate(
        "gpu_mig",
        not cut,
        read=f"MIG on at {names_of(cut)}" if cut else "MIG off",
        want="MIG off",
        remedy="switch it off with nvidia-smi -mig 0, or leave the GPU out by p2p_gpu_match"
        if cut
        else "",
    )


def nvlink_lost(facts: Facts, intent: Intent) -> Gate:
    """The driver to install does not give up NVLinks that are in use."""
    linked = [gpu for gpu in facts["gpus"] if gpu["nvlinks_active"]]
    want = f"no active NVLink, or a patched driver from {_NVLINK_KEPT_FROM} on"
    version = intent.driver_version
    if version is None or not linked:
        read = f"NVLink active on {names_of(linked)}" if linked else "no active NVLink"
        return Gate("nvlink_lost", True, read, want)
    entry = intent.known_build
    if entry is not None and entry.nvlink != UNKNOWN:
        lost = entry.nvlink == LOST
    else:
        lost = version_order(version) < version_order(_NVLINK_KEPT_FROM)
    passed = not lost or intent.allow_nvlink_loss
    return Gate(
        "nvlink_lost",
        passed,
        read=f"NVLink active on {names_of(linked)}; driver {version}",
        want=want,
        remedy=""
        if passed
        else f"choose a driver from {_NVLINK_KEPT_FROM} on: older branches force BAR1",
        note="loss allowed by p2p_allow_nvlink_loss" if lost and passed else "",
    )


def _is_bar1_enough(gpu: Gpu, intent: Intent) -> bool:
    bar1, memory = gpu["bar1_bytes"], gpu["memory_bytes"]
    if bar1 is None:
        return False
    if memory is None:
        return bool(bar1 > _UNRESIZED_BAR1)
    return bool(bar1 >= memory + intent.bar1_headroom_mib * MIB)


def _wanted_bar1(gpu: Gpu, intent: Intent) -> str:
    if gpu["memory_bytes"] is None:
        return f"more than {mib(_UNRESIZED_BAR1)}"
    return f"at least {mib(gpu['memory_bytes'] + intent.bar1_headroom_mib * MIB)}"


def _bar1_remedy(gpu: Gpu) -> str:
    largest = gpu["bar1_max_bytes"]
    firmware = "switch on Above 4G Decoding and Resizable BAR in the host's firmware"
    if largest is None:
        return f"{firmware}; if they are on, update the GPU's VBIOS"
    if gpu["memory_bytes"] is not None and largest < gpu["memory_bytes"]:
        return f"update the GPU's VBIOS: this one offers {mib(largest)} at most"
    return f"{firmware}: the GPU offers {mib(largest)}"


def _size(size: int | None) -> str:
    return "not assigned" if size is None else mib(size)
