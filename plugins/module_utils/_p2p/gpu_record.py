# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The GPUs and the driver of a host as the result records them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .decode import Reader


@dataclass(frozen=True)
class Driver:
    """The loaded NVIDIA module.

    Attributes:
        version: userspace-visible version, e.g. ``595.58.03``; None where NVML does not tell.
        build_id: GNU build-id of the running nvidia.ko, lower-case hex; None when not loaded.
        patched: True if build_id is the expected one, False if another, None if nothing was
            expected (a module cannot be told from its name or version).
    """

    version: str | None
    build_id: str | None
    patched: bool | None

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return {"version": self.version, "build_id": self.build_id, "patched": self.patched}

    @classmethod
    def from_dict(cls, data: object) -> Driver:
        """Return the Driver in ``data``; raises MalformedResult."""
        return cls.read(Reader(data, "driver"))

    @classmethod
    def read(cls, reader: Reader) -> Driver:
        return cls(
            reader.optional("version", reader.text),
            reader.optional("build_id", reader.text),
            reader.optional("patched", reader.flag),
        )


@dataclass(frozen=True)
class GpuLink:
    """A GPU's own PCIe link as trained: generation 1-6 and lanes; None where unreadable.

    ``under_load`` tells whether it was read while copying: an idle link may sit at generation 1.
    """

    gen: int | None
    width: int | None
    under_load: bool
    max_gen: int | None
    max_width: int | None

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return {
            "gen": self.gen,
            "width": self.width,
            "under_load": self.under_load,
            "max_gen": self.max_gen,
            "max_width": self.max_width,
        }

    @classmethod
    def read(cls, reader: Reader) -> GpuLink:
        return cls(
            reader.optional("gen", reader.integer),
            reader.optional("width", reader.integer),
            reader.flag("under_load"),
            reader.optional("max_gen", reader.integer),
            reader.optional("max_width", reader.integer),
        )


@dataclass(frozen=True)
class GpuProcess:
    """A process that held a context on the GPU when the run began."""

    pid: int
    name: str
    memory_bytes: int | None

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return {"pid": self.pid, "name": self.name, "memory_bytes": self.memory_bytes}

    @classmethod
    def read(cls, reader: Reader) -> GpuProcess:
        return cls(
            reader.integer("pid"),
            reader.text("name"),
            reader.optional("memory_bytes", reader.integer),
        )


@dataclass(frozen=True)
class GpuState:
    """What a GPU was set to when the run began, beside what it is.

    Attributes:
        compute_mode: default, exclusive_process, exclusive_thread, prohibited or unknown.
        mig: whether it is divided into instances.
        confidential_compute: whether it is in that mode; None where the driver does not tell.
        boot_vga: whether the firmware chose it as display.
        framebuffers: the console's framebuffers in its memory.
        connectors: outputs with a monitor.
        nvlink_ports, nvlink_active: links that the driver lists, and those that are up.
    """

    compute_mode: str = "unknown"
    mig: bool = False
    confidential_compute: bool | None = None
    boot_vga: bool = False
    framebuffers: tuple[str, ...] = ()
    connectors: tuple[str, ...] = ()
    nvlink_ports: int = 0
    nvlink_active: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return {
            "compute_mode": self.compute_mode,
            "mig": self.mig,
            "confidential_compute": self.confidential_compute,
            "boot_vga": self.boot_vga,
            "framebuffers": list(self.framebuffers),
            "connectors": list(self.connectors),
            "nvlink_ports": self.nvlink_ports,
            "nvlink_active": self.nvlink_active,
        }

    @classmethod
    def read(cls, reader: Reader) -> GpuState:
        return cls(
            compute_mode=reader.text("compute_mode"),
            mig=reader.flag("mig"),
            confidential_compute=reader.optional("confidential_compute", reader.flag),
            boot_vga=reader.flag("boot_vga"),
            framebuffers=reader.texts("framebuffers"),
            connectors=reader.texts("connectors"),
            nvlink_ports=reader.integer("nvlink_ports"),
            nvlink_active=reader.integer("nvlink_active"),
        )


@dataclass(frozen=True)
class GpuCounters:
    """Errors a GPU counted during the run; None where it does not count them.

    ``pcie_replays`` are packets its link sent again; ``ecc_corrected`` and ``ecc_uncorrected``
    are words of its memory that were wrong.
    """

    pcie_replays: int | None = None
    ecc_corrected: int | None = None
    ecc_uncorrected: int | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return {
            "pcie_replays": self.pcie_replays,
            "ecc_corrected": self.ecc_corrected,
            "ecc_uncorrected": self.ecc_uncorrected,
        }

    @classmethod
    def read(cls, reader: Reader) -> GpuCounters:
        return cls(
            reader.optional("pcie_replays", reader.integer),
            reader.optional("ecc_corrected", reader.integer),
            reader.optional("ecc_uncorrected", reader.integer),
        )


@dataclass(frozen=True)
class Gpu:
    """One GPU of the host.

    Attributes:
        index: position by PCI address, the same as CUDA's with CUDA_DEVICE_ORDER=PCI_BUS_ID.
        bdf: PCI address with a four-digit domain, lower case: ``0000:01:00.0``.
        compute_capability: ``"12.0"``.
        generation: turing, ampere, ada, hopper, blackwell …
        memory_bytes, bar1_bytes: sizes; None where not told.
        numa_node: None on a host without NUMA information.
        display: whether a display or console is attached.
    """

    index: int
    uuid: str
    bdf: str
    name: str
    compute_capability: str | None
    generation: str | None
    memory_bytes: int | None
    bar1_bytes: int | None
    link: GpuLink
    numa_node: int | None
    display: bool
    processes: tuple[GpuProcess, ...]
    state: GpuState = GpuState()
    counters: GpuCounters = GpuCounters()

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return {
            "index": self.index,
            "uuid": self.uuid,
            "bdf": self.bdf,
            "name": self.name,
            "compute_capability": self.compute_capability,
            "generation": self.generation,
            "memory_bytes": self.memory_bytes,
            "bar1_bytes": self.bar1_bytes,
            "link": self.link.to_dict(),
            "numa_node": self.numa_node,
            "display": self.display,
            "processes": [process.to_dict() for process in self.processes],
            "state": self.state.to_dict(),
            "counters": self.counters.to_dict(),
        }

    @classmethod
    def from_dict(cls, data: object) -> Gpu:
        """Return the Gpu in ``data``; raises MalformedResult."""
        return cls.read(Reader(data, "gpu"))

    @classmethod
    def read(cls, reader: Reader) -> Gpu:
        return cls(
            index=reader.integer("index"),
            uuid=reader.text("uuid"),
            bdf=reader.text("bdf"),
            name=reader.text("name"),
            compute_capability=reader.optional("compute_capability", reader.text),
            generation=reader.optional("generation", reader.text),
            memory_bytes=reader.optional("memory_bytes", reader.integer),
            bar1_bytes=reader.optional("bar1_bytes", reader.integer),
            link=GpuLink.read(reader.child("link")),
            numa_node=reader.optional("numa_node", reader.integer),
            display=reader.flag("display"),
            processes=tuple(GpuProcess.read(item) for item in reader.children("processes")),
            state=GpuState.read(reader.child("state")) if reader.has("state") else GpuState(),
            counters=GpuCounters.read(reader.child("counters"))
            if reader.has("counters")
            else GpuCounters(),
        )
