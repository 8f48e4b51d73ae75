# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Why pairs fail or are slow, from the host's own evidence: a code, what was read, what to do."""

from __future__ import annotations

from collections.abc import Sequence

from .._gpu.cuda import ERROR_REMEDIES, GPU_UNAVAILABLE, USERSPACE_MISMATCH
from .._host.iommu import IDENTITY
from .gpu_causes import (
    counted_causes,
    exclusive_causes,
    nvlink_causes,
    structural_gpu_causes,
)
from .host_evidence import Evidence, gpus_of
from .ipc_codes import IPC_FAILED, IPC_UNSUPPORTED
from .link_causes import is_explained, link_causes
from .logged_causes import iommu_faults, logged_causes
from .path import is_nvlink
from .result import FAIL, NOT_APPLICABLE, WARN, Bandwidth, Cause, Gpu, Pair
from .verdict import (
    ASYMMETRIC,
    CEILING_UNKNOWN,
    GENERATION_UNSUPPORTED,
    MIXED_GENERATIONS,
    ONE_WAY,
    P2P_UNSUPPORTED,
    SLOW,
    SLOWER_THAN_OFF,
    SM_SLOW,
    TOO_FAST,
    fastest,
    sm_slow_ways,
)

_TRANSLATING = ("DMA", "DMA-FQ")
_NO_KERNELS = ("no_jit", "ptx_too_new")

# What to do about a symptom that nothing on the host explains.
_SYMPTOM_REMEDIES = {
    **ERROR_REMEDIES,
    "data_mirrored": "the peer mapping is private to the writer: use another driver build, or do "
    "without peer-to-peer on this host (NCCL_P2P_DISABLE=1)",
    "data_aliased": "the driver maps too small a window: check that BAR1 is resizable and as large "
    "as the memory in the firmware's settings",
    "data_stale": "earlier data is delivered: use another driver build; do not use peer-to-peer",
    "data_bit_flip": "check the risers, the link's error counters and the GPU's memory",
    "data_dropped": "the platform does not forward peer writes between these ports: move the "
    "cards behind one root port or switch, or do without peer-to-peer (NCCL_P2P_DISABLE=1)",
    "data_corrupted": "use another driver build; do not use peer-to-peer on this pair",
    "ping_pong_failed": "writes of a running kernel do not arrive in order: do not use "
    "peer-to-peer on this pair (NCCL_P2P_DISABLE=1); check ACS and relaxed ordering",
    IPC_FAILED: "programs of several processes (NCCL, vLLM) do not work on this pair: use another "
    "driver build, or set NCCL_P2P_DISABLE=1 for them",
    IPC_UNSUPPORTED: "let processes share GPU memory: run them in one container with one user, and "
    "see dmesg for what refused; programs of one process are not concerned",
    ONE_WAY: "detach displays and consoles from the GPUs; a direction that fails alone points to "
    "a BAR1 that is partly taken",
    "measurement_hung": "look for Xid, DMAR and IO_PAGE_FAULT lines in dmesg; reboot if a process "
    "in state D was left",
    "cuda_unavailable": "install libcuda1 (or the .run userspace) of the loaded module's version",
    "gpu_missing_in_cuda": "check MIG, compute mode and dmesg for a GPU that fell off the bus",
    "measurement_died": "run p2p_verify again with this pair alone and look at dmesg",
    "gpu_memory_short": "stop the programs that hold GPU memory, then run again",
    "mig_enabled": "turn MIG off (nvidia-smi -mig 0) to use peer-to-peer between whole GPUs",
    "compute_prohibited": "set the compute mode to default (nvidia-smi -c 0)",
    P2P_UNSUPPORTED: "load the peer-to-peer build of the driver",
    TOO_FAST: "the data cannot have crossed the link: check for a display on the GPUs and for the "
    "mailbox fall-back (BAR1 smaller than memory)",
    SLOW: "check the slot, the riser and the link's width under load",
    SM_SLOW: "NCCL and other programs that copy by kernels get this rate: turn Relaxed Ordering on "
    "in the firmware, and ACS redirection off; reads alone are slow on some platforms",
    SLOWER_THAN_OFF: "this pair is better off without: set NCCL_P2P_DISABLE=1 for programs on it",
    ASYMMETRIC: "check the link of the GPU that is slower to write, and its NUMA node",
    CEILING_UNKNOWN: "run as root on bare metal, where the links can be read",
}
# A child tells its refusals by their own codes; one more must not cost the whole result.
_UNFORESEEN_REMEDY = "look at the pair's detail and at dmesg, then run again with this pair alone"
# The symptom that needs no words of its own where a cause is found.
_EXPLAINS = {
    "stock_module_loaded": P2P_UNSUPPORTED,
    "confidential_compute": P2P_UNSUPPORTED,
    "compute_exclusive": GPU_UNAVAILABLE,
    USERSPACE_MISMATCH: USERSPACE_MISMATCH,
}


def causes_of(evidence: Evidence) -> tuple[Cause, ...]:
    """Return the causes of what is not a pass, those of the host first, then bare symptoms.

    Data that goes wrong is reported as a symptom only where the host explains nothing.
    """
    failed = [pair for pair in evidence.pairs if pair.verdict == FAIL]
    lacking = [pair for pair in evidence.pairs if pair.verdict in (FAIL, WARN)]
    structural = [
        *_module_causes(evidence, failed),
        *_iommu_causes(evidence, failed),
        *iommu_faults(evidence),
        *structural_gpu_causes(evidence, failed),
    ]
    others = [
        *_userspace_causes(evidence, failed),
        *exclusive_causes(evidence),
        *logged_causes(evidence),
        *counted_causes(evidence),
        *nvlink_causes(evidence),
    ]
    links = link_causes(evidence, lacking)
    pairings = _pairing_causes(evidence)
    explained = {_EXPLAINS[c.code] for c in (*structural, *others) if c.code in _EXPLAINS}
    symptoms = _symptoms(evidence, lacking, explained, data_too=not structural)
    few = [_too_few(evidence.gpus)] if not evidence.pairs else []
    return (*few, *structural, *others, *links, *symptoms, *pairings)


def _too_few(gpus: Sequence[Gpu]) -> Cause:
    return Cause(
        "too_few_gpus",
        f"{len(gpus)} GPU to look at",
        "give at least two GPUs in devices, or check that the driver lists them",
    )


def _module_causes(evidence: Evidence, failed: Sequence[Pair]) -> list[Cause]:
    """A module without peer-to-peer, or another one than was installed."""
    expected, loaded = evidence.expected_build_id, evidence.driver.build_id
    other = expected is not None and loaded != expected
    build = f"running nvidia.ko has build-id {loaded}"
    if expected is not None:
        build += f", expected {expected}"
    # The stock module has NVLink, and hides by it that it lacks the rest.
    joined = [pair for pair in evidence.pairs if is_nvlink(pair.path)]
    candidates = [
        pair for pair in evidence.pairs if pair.verdict != NOT_APPLICABLE and pair not in joined
    ]
    if any(gpu.state.confidential_compute for gpu in evidence.gpus):
        candidates = []  # then every module refuses
    refused = [pair for pair in candidates if P2P_UNSUPPORTED in pair.reasons]
    if refused and len(refused) == len(candidates) and (other or expected is None):
        words = sorted({str(pair.capability.nvml_write) for pair in refused})
        which = "no pair without NVLink" if joined else "no pair"
        read = f"{which} can access its peer (cuDeviceCanAccessPeer 0, NVML {', '.join(words)})"
        return [
            Cause(
                "stock_module_loaded",
                f"{read}; {build}",
                "install and load the peer-to-peer build of the driver (playbook site.yml)",
            )
        ]
    if other and (failed or evidence.driver.patched is False):
        return [
            Cause(
                "wrong_module_loaded",
                build,
                "reboot, or find which module file shadows ours (modinfo -n nvidia)",
            )
        ]
    return []


def _iommu_causes(evidence: Evidence, failed: Sequence[Pair]) -> list[Cause]:
    seen = []
    for gpu in gpus_of(evidence.gpus, failed):
        number, kind = evidence.groups.get(gpu.bdf, (-1, ""))
        if kind in _TRANSLATING:
            seen.append(f"GPU {gpu.index} {gpu.bdf} is in group {number} of type {kind}")
    if not seen:
        return []
    passed_through = any(kind == IDENTITY for _number, kind in evidence.groups.values())
    return [
        Cause(
            "iommu_translating",
            "; ".join(seen),
            "passing through is in force for other GPUs: the kernel keeps translating for devices "
            "behind a port that the firmware marks as external (DMA protection, Thunderbolt or a "
            "cable); turn that off in the firmware, or move the cards to other slots"
            if passed_through
            else "boot with iommu=pt (role iommu_passthrough), so that the groups become identity",
        )
    ]


def _userspace_causes(evidence: Evidence, failed: Sequence[Pair]) -> list[Cause]:
    """Return which libraries are of another release than the module, where CUDA refused them."""
    loaded, source = evidence.loaded_release
    others = {name: found for name, found in evidence.libraries.items() if found != loaded}
    refused = any(USERSPACE_MISMATCH in pair.reasons for pair in failed)
    if not refused or loaded is None or not others:
        return []
    words = ", ".join(f"{name} is {found}" for name, found in others.items())
    return [
        Cause(
            USERSPACE_MISMATCH,
            f"the loaded module is {loaded} ({source}), {words}",
            ERROR_REMEDIES[USERSPACE_MISMATCH],
        )
    ]


def _pairing_causes(evidence: Evidence) -> list[Cause]:
    named = (
        (MIXED_GENERATIONS, "use GPUs of one generation together: see groups"),
        (GENERATION_UNSUPPORTED, "use Ampere or newer: the drivers lose data on older GPUs"),
        ("mig_enabled", _SYMPTOM_REMEDIES["mig_enabled"]),
        ("compute_prohibited", _SYMPTOM_REMEDIES["compute_prohibited"]),
    )
    by_index = {gpu.index: gpu for gpu in evidence.gpus}
    causes = []
    for code, remedy in named:
        pairs = [p for p in evidence.pairs if p.verdict == NOT_APPLICABLE and code in p.reasons]
        if pairs:
            kinds = sorted(
                {
                    " and ".join(
                        sorted(
                            f"{by_index[end].name} ({by_index[end].generation})"
                            for end in (pair.source, pair.target)
                        )
                    )
                    for pair in pairs
                }
            )
            causes.append(Cause(code, f"{len(pairs)} pairs: " + "; ".join(kinds), remedy))
    return causes


def _symptoms(
    evidence: Evidence, lacking: Sequence[Pair], explained: set[str], *, data_too: bool
) -> list[Cause]:
    found: dict[str, list[Pair]] = {}
    for pair in lacking:
        for code in pair.reasons:
            is_data = code.startswith("data_") or code in (ONE_WAY, "ping_pong_failed")
            if is_data and not data_too:
                continue
            if code not in explained and not is_explained(evidence, pair, code):
                found.setdefault(code, []).append(pair)
    return [_symptom(code, pairs) for code, pairs in found.items()]


def _symptom(code: str, pairs: Sequence[Pair]) -> Cause:
    where = ", ".join(f"{pair.source}>{pair.target}" for pair in pairs)
    remedy = _SYMPTOM_REMEDIES.get(code, _UNFORESEEN_REMEDY)
    return Cause(code, f"{where}: {_figures(code, pairs[0])}", remedy)


def _figures(code: str, pair: Pair) -> str:
    if code in _NO_KERNELS:
        return "the driver could not compile kernels: only copy engines were judged"
    if code == CEILING_UNKNOWN:
        return "no link of the path could be read"
    return _rates(code, pair) or pair.detail or "no more is known"


def _rates(code: str, pair: Pair) -> str:
    """Return the measured figures that a code rests on; empty where it rests on none."""
    bandwidth, latency = pair.bandwidth, pair.latency
    on, off, ceiling = bandwidth.on.uni, bandwidth.off.uni, bandwidth.ceiling
    text = ""
    if code == TOO_FAST and ceiling:
        way, rate = fastest(bandwidth)
        text = f"{way} {rate:.1f} GB/s, ceiling {ceiling:.1f} GB/s"
    elif code == SM_SLOW:
        text = "; ".join(_beside_copy_engine(bandwidth, way) for way in sm_slow_ways(bandwidth))
    elif code == SLOW and on is not None and ceiling:
        text = f"{on:.1f} GB/s, ceiling {ceiling:.1f} GB/s"
    elif code == SLOWER_THAN_OFF and on is not None and off is not None and on < off:
        text = f"on {on:.1f}, off {off:.1f} GB/s"
    elif code == SLOWER_THAN_OFF:
        text = f"latency on {latency.on:.1f}, off {latency.off:.1f} us"
    elif code == ASYMMETRIC and on is not None:
        text = f"{on:.1f} GB/s, the other way differs by more than 15 %"
    return text


def _beside_copy_engine(bandwidth: Bandwidth, way: str) -> str:
    engine = bandwidth.copy_read if way == "sm_read" else bandwidth.on
    return f"{way} {getattr(bandwidth, way).uni:.1f} GB/s, by copy engine {engine.uni:.1f} GB/s"
