# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Causes that lie in a GPU: what it is set to, what it shows, and the errors it counted."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from .._gpu.cuda import GPU_UNAVAILABLE
from .._gpu.nvlink_models import has_nvlink, prefers_nvlink
from .host_evidence import Evidence, gpus_of, named
from .path import is_nvlink
from .result import FAIL, WARN, Cause, Gpu, GpuCounters, Pair


def structural_gpu_causes(evidence: Evidence, failed: Sequence[Pair]) -> list[Cause]:
    """Return what a GPU of a failed pair is or shows that loses data or forbids access."""
    gpus = gpus_of(evidence.gpus, failed)
    return [
        *_cause(
            "confidential_compute",
            (f"{named(gpu)} is in that mode" for gpu in gpus if gpu.state.confidential_compute),
            "turn confidential computing off for these GPUs: in that mode the driver keeps their "
            "memory from each other's reach over PCI Express",
        ),
        *_cause(
            "bar1_small",
            (
                f"{named(gpu)}: BAR1 {bar1 >> 20} MiB, memory {memory >> 20} MiB"
                for gpu in gpus
                for bar1, memory in _sizes(gpu)
                if bar1 < memory
            ),
            _bar1_remedy(evidence),
        ),
        *_cause(
            "display_attached",
            map(_display, (gpu for gpu in gpus if gpu.display or gpu.state.connectors)),
            "unplug it, or move the display to another adapter",
        ),
        *_cause(
            "console_on_gpu",
            (_console(gpu) for gpu in gpus if gpu.state.framebuffers),
            "move the console to another adapter: choose it as primary display in the firmware, "
            "or boot with video=efifb:off or initcall_blacklist=sysfb_init",
        ),
    ]


def exclusive_causes(evidence: Evidence) -> list[Cause]:
    """Return that a GPU lets one process in alone, where one was kept out."""
    kept_out = [
        pair
        for pair in evidence.pairs
        if pair.verdict in (FAIL, WARN)
        and any(code == GPU_UNAVAILABLE or code.startswith("ipc") for code in pair.reasons)
    ]
    return _cause(
        "compute_exclusive",
        (
            f"{named(gpu)} is in compute mode {gpu.state.compute_mode}"
            for gpu in gpus_of(evidence.gpus, kept_out)
            if gpu.state.compute_mode.startswith("exclusive")
        ),
        "set the compute mode to default (nvidia-smi -c 0), or stop the program that holds the GPU",
    )


def counted_causes(evidence: Evidence) -> list[Cause]:
    """Return the errors that GPUs counted during the run, whatever the verdict."""

    def counted(words: Callable[[GpuCounters], str]) -> Iterable[str]:
        told = ((named(gpu), words(gpu.counters)) for gpu in evidence.gpus)
        return (f"{name}: {text}" for name, text in told if text)

    return [
        *_cause(
            "link_errors",
            counted(_link_errors),
            "reseat the card, change the riser or cable, or set the slot to a lower generation: "
            "the link sends packets again",
        ),
        *_cause(
            "ecc_errors",
            counted(_ecc_errors),
            "look at nvidia-smi -q -d ECC,ROW_REMAPPER, and replace a card whose uncorrected "
            "errors come back",
        ),
    ]


def nvlink_causes(evidence: Evidence) -> list[Cause]:
    """Return NVLink that a peer-to-peer build of the driver has lost.

    Without a bridge no link is active either, so the remedy is for those who have one.
    """
    if evidence.driver.patched is False or prefers_nvlink(evidence.driver.version):
        return []
    claimed = [
        pair
        for pair in evidence.pairs
        if pair.capability.nvml_write == "OK" and not is_nvlink(pair.path)
    ]
    return _cause(
        "nvlink_inactive",
        _without_links(evidence, claimed),
        f"if a bridge is fitted: peer-to-peer builds before 595.58.03 (this is "
        f"{evidence.driver.version}) force PCI Express; use a later one, or the stock driver for "
        "pairs that NVLink joins",
    )


def nvlink_notes(evidence: Evidence) -> list[Cause]:
    """Return NVLink that is there and not active although the driver would use it."""
    if nvlink_causes(evidence):
        return []
    return _cause(
        "nvlink_inactive",
        _without_links(evidence, evidence.pairs),
        "if a bridge is fitted, reseat it and look at nvidia-smi nvlink --status",
    )


def _without_links(evidence: Evidence, pairs: Sequence[Pair]) -> list[str]:
    """Return the GPUs with NVLink and no active link, of which there are two of one model."""
    idle = [
        gpu
        for gpu in gpus_of(evidence.gpus, pairs)
        if not gpu.state.nvlink_active and (gpu.state.nvlink_ports or has_nvlink(gpu.name))
    ]
    names = [gpu.name for gpu in idle]
    return [
        f"{named(gpu)} {gpu.name}: none of {gpu.state.nvlink_ports} NVLinks active"
        if gpu.state.nvlink_ports
        else f"{named(gpu)} {gpu.name}: the model has NVLink, the driver lists none"
        for gpu in idle
        if names.count(gpu.name) > 1
    ]


def _sizes(gpu: Gpu) -> list[tuple[int, int]]:
    """Return the bytes of BAR1 and memory, where both are told."""
    return [(gpu.bar1_bytes, gpu.memory_bytes)] if gpu.bar1_bytes and gpu.memory_bytes else []


def _bar1_remedy(evidence: Evidence) -> str:
    """Return what to change: the board's settings, unless other cards show that they are right."""
    resized = [g for g in evidence.gpus if any(bar1 >= memory for bar1, memory in _sizes(g))]
    if resized:
        return (
            f"the firmware's settings are right, as {named(resized[0])} shows: give these cards a "
            "VBIOS with Resizable BAR (the maker's update), and look for \"can't assign; no "
            'space" in dmesg'
        )
    return "turn on Above 4G Decoding and Resizable BAR in the firmware"


def _display(gpu: Gpu) -> str:
    told = ["the driver says so"] if gpu.display else []
    told += [f"connector {name} is connected" for name in gpu.state.connectors]
    return f"a display is on {named(gpu)} ({', '.join(told)})"


def _console(gpu: Gpu) -> str:
    primary = ", which the firmware chose as display" if gpu.state.boot_vga else ""
    return f"{', '.join(gpu.state.framebuffers)} in the memory of {named(gpu)}{primary}"


def _link_errors(counters: GpuCounters) -> str:
    return f"{counters.pcie_replays} PCIe replays during the run" if counters.pcie_replays else ""


def _ecc_errors(counters: GpuCounters) -> str:
    found = (
        (counters.ecc_corrected, "corrected"),
        (counters.ecc_uncorrected, "uncorrected"),
    )
    words = [f"{number} {kind}" for number, kind in found if number]
    return f"{' and '.join(words)} ECC errors during the run" if words else ""


def _cause(code: str, lines: Iterable[str], remedy: str) -> list[Cause]:
    evidence = "; ".join(lines)
    return [Cause(code, evidence, remedy)] if evidence else []
