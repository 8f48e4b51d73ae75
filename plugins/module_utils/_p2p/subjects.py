# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The GPUs a run is about: who was asked for, what they are, and whether they are free."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from .._gpu.generation import generation_of, is_supported
from .._gpu.nvml import NvmlDevice
from .._host.console import Console, read_console
from .._host.errors import GpufleetError
from .._host.iommu import IommuGroup, group_of
from .._host.pci import Link, PciDevice, matches
from .._host.pci_address import normalise_bdf
from .result import NO_IOMMU, Gpu, GpuCounters, GpuLink, GpuProcess, GpuState
from .verdict import GENERATION_UNSUPPORTED, MIXED_GENERATIONS

_UNKNOWN_LINK = Link(None, None)


class DeviceUnknown(GpufleetError):
    """``devices`` names a GPU that the host does not have."""


class GpusBusy(GpufleetError):
    """Programs are using the GPUs, and the run was not told to go on regardless."""


@dataclass(frozen=True)
class Subject:
    """One GPU as NVML, the PCI tree and the IOMMU see it."""

    nvml: NvmlDevice
    pci: PciDevice
    group: IommuGroup | None
    console: Console

    @property
    def index(self) -> int:
        """Its number by PCI address."""
        return self.nvml.index

    @property
    def generation(self) -> str:
        """Its architecture's name."""
        return generation_of(self.nvml.compute_capability)

    @property
    def iommu_type(self) -> str:
        """The type of its IOMMU group, or ``none``."""
        return NO_IOMMU if self.group is None else self.group.type

    def state(self, confidential_compute: bool | None) -> GpuState:
        """Return what the GPU is set to."""
        device, console = self.nvml, self.console
        return GpuState(
            compute_mode=device.compute_mode,
            mig=device.mig,
            confidential_compute=confidential_compute,
            boot_vga=console.boot_vga,
            framebuffers=console.framebuffers,
            connectors=console.connectors,
            nvlink_ports=len(device.nvlinks),
            nvlink_active=sum(link.active for link in device.nvlinks),
        )

    def to_gpu(
        self, link: Link, *, under_load: bool, state: GpuState, counters: GpuCounters
    ) -> Gpu:
        """Return the GPU as the result has it, with its link as last read."""
        device = self.nvml
        most = device.max_link if device.max_link != _UNKNOWN_LINK else self.pci.max_link
        return Gpu(
            index=device.index,
            uuid=device.uuid,
            bdf=device.bdf,
            name=device.name,
            compute_capability="{}.{}".format(*device.compute_capability),
            generation=self.generation,
            memory_bytes=device.memory_bytes,
            bar1_bytes=device.bar1_bytes,
            link=GpuLink(link.gen, link.width, under_load, most.gen, most.width),
            numa_node=self.pci.numa_node,
            display=device.has_display(self.pci.pci_class),
            processes=tuple(
                GpuProcess(process.pid, process.name, process.memory_bytes)
                for process in device.processes
            ),
            state=state,
            counters=counters,
        )


def subjects_of(
    root: Path,
    nvml_devices: Sequence[NvmlDevice],
    pci_devices: Mapping[str, PciDevice],
    gpu_match: Sequence[str],
    selection: Sequence[str],
) -> tuple[Subject, ...]:
    """Return the GPUs to look at, ordered by index.

    Args:
        gpu_match: patterns of PCI ids; a GPU that none matches is left out.
        selection: indices, UUIDs or PCI addresses; empty for all.

    Raises:
        DeviceUnknown: a selector names no GPU.
    """
    found = [
        Subject(
            device,
            pci_devices[device.bdf],
            group_of(root, device.bdf),
            read_console(root, device.bdf),
        )
        for device in nvml_devices
        if device.bdf in pci_devices and matches(pci_devices[device.bdf], gpu_match)
    ]
    if not selection:
        return tuple(found)
    chosen = {_find(found, selector).index for selector in selection}
    return tuple(subject for subject in found if subject.index in chosen)


def refuse_busy(subjects: Sequence[Subject]) -> None:
    """Raise GpusBusy, naming them, where compute programs hold contexts on the GPUs.

    A display server holds one on every desktop; it disturbs little and is told as display.
    """
    holders = [
        f"GPU {subject.index}: {process.name} (pid {process.pid})"
        for subject in subjects
        for process in subject.nvml.processes
        if process.kind == "compute"
    ]
    if holders:
        raise GpusBusy(
            "gpus_busy",
            read="; ".join(holders),
            want="no program on the GPUs: it would disturb the figures, and be disturbed",
            remedy="stop these programs, choose other GPUs with devices, or set allow_busy",
        )


def obstacles_of(source: Subject, target: Subject) -> tuple[str, ...]:
    """Return why a pair is not expected to work; the measurement may prove otherwise."""
    if source.generation != target.generation:
        return (MIXED_GENERATIONS,)
    if not is_supported(source.generation):
        return (GENERATION_UNSUPPORTED,)
    return ()


def exclusions_of(source: Subject, target: Subject) -> tuple[str, ...]:
    """Return why a pair cannot be measured at all."""
    devices = (source.nvml, target.nvml)
    codes = []
    if any(device.mig for device in devices):
        codes.append("mig_enabled")
    if any(device.compute_mode == "prohibited" for device in devices):
        codes.append("compute_prohibited")
    return tuple(codes)


def _find(subjects: Sequence[Subject], selector: str) -> Subject:
    text = selector.strip()
    for subject in subjects:
        if text in (str(subject.index), subject.nvml.uuid):
            return subject
        if ":" in text and normalise_bdf(text) == subject.nvml.bdf:
            return subject
    known = ", ".join(f"{s.index} {s.nvml.uuid} {s.nvml.bdf}" for s in subjects)
    raise DeviceUnknown(
        "device_unknown",
        read=selector,
        want=f"one of: {known or 'none, the driver lists no GPU'}",
        remedy="name GPUs by index, UUID or PCI address",
    )
