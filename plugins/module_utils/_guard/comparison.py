# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The running host beside the record of its last good verification: what has gone since."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from .._boot.cmdline import CommandLine, format_parameter, parse
from .._driver.identity import installed_module, loaded_module
from .._driver.modprobe_options import OPTIONS_FILE
from .._driver.registry_file import parameters_in_file
from .._driver.registry_in_force import registry_in_force, running_parameters
from .._host.errors import GpufleetError
from .._host.files import read_bytes, read_text
from .._host.iommu import IDENTITY, group_of
from .._host.kernel import running_release
from .._host.pci import DEFAULT_GPU_MATCH, matches, read_devices
from .._host.userspace import userspace_version
from .alarm import Finding
from .record import GpuState, HostState, Record

NO_IOMMU = "none"
_MODULE = "nvidia"
# What a changed command line can take from the GPUs; "quiet" may come and go.
_NAMES = frozenset(
    {"iommu", "iommu_passthrough", "intel_iommu", "amd_iommu", "pci", "pcie_acs_override"}
)


def concerning(line: CommandLine) -> tuple[str, ...]:
    """Return the parameters that concern IOMMU and PCI, in order."""
    return tuple(
        format_parameter(parameter)
        for parameter in line.parameters
        if parameter.key.replace(".", "_") in _NAMES
    )


def read_state(root: Path = Path("/"), gpu_match: Sequence[str] = DEFAULT_GPU_MATCH) -> HostState:
    """Return the host's state; nothing of it takes the driver's libraries or disturbs a GPU.

    Raises:
        PciPatternInvalid: a pattern in ``gpu_match`` is malformed.
    """
    gpus = []
    for bdf, device in read_devices(root).items():
        if matches(device, gpu_match):
            group = group_of(root, bdf)
            largest = max(device.bar_bytes, default=0)
            gpus.append(GpuState(bdf, NO_IOMMU if group is None else group.type, largest))
    loaded = loaded_module(root, _MODULE)
    ours = parameters_in_file(read_bytes(root / str(OPTIONS_FILE).lstrip("/")))
    return HostState(
        kernel=running_release(root),
        parameters=concerning(parse(read_text(root / "proc/cmdline") or "")),
        driver_version=loaded.version if loaded else None,
        build_id=loaded.build_id if loaded else None,
        userspace_version=userspace_version(root),
        gpus=tuple(gpus),
        registry=tuple(registry_in_force(running_parameters(root) or {}, ours)),
    )


def installed_build_id(root: Path, kernel: str) -> str | None:
    """Return the build-id of the nvidia module that is installed for ``kernel``, or None."""
    try:
        module = installed_module(root, kernel, _MODULE)
    except GpufleetError:
        # A damaged file; readiness names it.
        return None
    return module.build_id if module else None


def compare(record: Record, now: HostState, installed: str | None) -> tuple[Finding, ...]:
    """Return what differs from the record in a way that can cost peer-to-peer.

    Args:
        installed: build-id of the module that is installed for the running kernel. Another kernel
            than the record's has another build, which DKMS made; then this is what has to run.
    """
    was = record.state
    return (
        *_driver(was, now, installed),
        *_registry(was, now),
        *_userspace(was, now),
        *_parameters(was, now),
        *_gpus(was, now),
    )


def _driver(was: HostState, now: HostState, installed: str | None) -> Iterator[Finding]:
    if was.driver_version is None:
        return
    if now.driver_version is None:
        yield Finding(
            "driver_not_loaded",
            read="no nvidia module in the running kernel",
            want=f"driver {was.driver_version}",
            remedy="read the kernel log (journalctl -k -g nvidia), then modprobe nvidia",
        )
        return
    expected = was.build_id if now.kernel == was.kernel else installed
    if now.driver_version != was.driver_version:
        yield Finding(
            "driver_version_changed",
            read=f"driver {now.driver_version}",
            want=f"driver {was.driver_version}, which was verified",
            remedy="find out who installed it (/var/log/apt/history.log), then run site.yml again",
        )
    elif now.build_id is None or now.build_id != expected:
        yield Finding(
            "driver_replaced",
            read=f"running nvidia module of build-id {now.build_id or 'unknown'}",
            want=f"build-id {expected or 'of an installed module'}",
            remedy="look for another driver package and a stale initramfs, then run site.yml",
        )


def _registry(was: HostState, now: HostState) -> Iterator[Finding]:
    if was.registry is None or now.driver_version is None or was.registry == now.registry:
        return
    yield Finding(
        "driver_registry_changed",
        read=f"registry keys in force: {' '.join(now.registry or ()) or 'none'}",
        want=" ".join(was.registry) or "none, as verified",
        remedy="look for nvidia in /etc/modprobe.d and /proc/cmdline, then run site.yml again",
    )


def _userspace(was: HostState, now: HostState) -> Iterator[Finding]:
    if was.userspace_version is None or now.driver_version is None:
        return
    if now.userspace_version != now.driver_version:
        yield Finding(
            "userspace_mismatch",
            read=f"libraries of {now.userspace_version or 'no driver'}",
            want=f"{now.driver_version}, as the running module",
            remedy=f"install NVIDIA's userspace {now.driver_version} again and hold it",
        )


def _parameters(was: HostState, now: HostState) -> Iterator[Finding]:
    if was.parameters != now.parameters:
        yield Finding(
            "kernel_parameters_changed",
            read=" ".join(now.parameters) or "no parameter for IOMMU or PCI",
            want=" ".join(was.parameters) or "none, as verified",
            remedy="look at /etc/default/grub and its drop-ins, then run site.yml again",
        )


def _gpus(was: HostState, now: HostState) -> Iterator[Finding]:
    found = {gpu.bdf: gpu for gpu in now.gpus}
    missing = [gpu.bdf for gpu in was.gpus if gpu.bdf not in found]
    if missing:
        yield Finding(
            "gpu_missing",
            read=f"not on the bus: {', '.join(missing)}",
            want=f"{len(was.gpus)} GPUs",
            remedy="read the kernel log for Xid and AER messages; reseat or power-cycle",
        )
    there = [(gpu, found[gpu.bdf]) for gpu in was.gpus if gpu.bdf in found]
    translated = [f"{n.bdf} {n.iommu}" for w, n in there if w.iommu != n.iommu and _translates(n)]
    if translated:
        yield Finding(
            "iommu_translates",
            read=f"IOMMU group types: {', '.join(translated)}",
            want=f"{IDENTITY}, as verified",
            remedy="compare /proc/cmdline with the boot loader's files, then run site.yml again",
        )
    shrunk = [f"{n.bdf} {n.bar_bytes >> 20} MiB" for w, n in there if n.bar_bytes < w.bar_bytes]
    if shrunk:
        yield Finding(
            "bar1_shrunk",
            read=", ".join(shrunk),
            want=", ".join(f"{w.bdf} {w.bar_bytes >> 20} MiB" for w, n in there),
            remedy="see that Above 4G Decoding and Resizable BAR are still on in the firmware",
        )


def _translates(gpu: GpuState) -> bool:
    return gpu.iommu not in (IDENTITY, NO_IOMMU)
