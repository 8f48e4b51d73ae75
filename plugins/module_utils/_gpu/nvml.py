# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the NVIDIA management library tells of the GPUs, as plain data.

pynvml is not installed on a target: the action plugin sends the controller's copy along, and it
finds libnvidia-ml.so.1 through the loader. A property that a GPU does not have (fan of a passive
card, MIG of a consumer card) is an error in NVML and None or a neutral value here.
"""

from __future__ import annotations

import base64
import contextlib
import importlib
import sys
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Callable

from .._host.errors import GpufleetError
from .._host.files import read_text
from .._host.pci import Link
from .._host.pci_address import normalise_bdf
from .._host.userspace import library_releases, loaded_release
from .cuda import USERSPACE_MISMATCH

# nvmlGpuP2PCapsIndex_t. Numbers, because NVML_P2P_CAPS_INDEX_READ is a tuple by mistake in every
# release of nvidia-ml-py that was checked.
_P2P_CAPABILITIES = {"read": 0, "write": 1, "nvlink": 2, "atomics": 3, "pci": 4}
# nvmlGpuP2PStatus_t, in nvidia-smi's words: chipset, GPU or topology not supported, disabled by
# registry key, not supported, unknown.
_P2P_STATUS = ("OK", "CNS", "GNS", "TNS", "DR", "NS", "U")
# nvmlComputeMode_t.
_COMPUTE_MODES = ("default", "exclusive_thread", "prohibited", "exclusive_process")
_MAX_NVLINKS = 18  # NVML_NVLINK_MAX_LINKS
_REMOTE_IS_SWITCH = 2  # NVML_NVLINK_DEVICE_TYPE_SWITCH
# Field ids (nvml.h): speed in MB/s of the link given by scopeId; the speed common to all links.
_FIELD_NVLINK_GET_SPEED = 164
_FIELD_NVLINK_SPEED_COMMON = 90
_CLASS_WITHOUT_OUTPUTS = "0302"  # 3D controller
_ECC_CORRECTED, _ECC_UNCORRECTED = 0, 1  # nvmlMemoryErrorType_t
_ECC_VOLATILE = 0  # NVML_VOLATILE_ECC: since the driver was loaded
_CONFIDENTIAL = 1  # NVML_CC_SYSTEM_FEATURE_ENABLED
_LIBRARY_MISMATCH = 18  # NVML_ERROR_LIB_RM_VERSION_MISMATCH


class NvmlUnavailable(GpufleetError):
    """There is no management library, no driver behind it, or it refused a basic question."""


@dataclass(frozen=True)
class Process:
    """A process with a context on a GPU; ``kind`` is ``compute`` or ``graphics``."""

    pid: int
    name: str
    memory_bytes: int | None
    kind: str = "compute"


@dataclass(frozen=True)
class NvLink:
    """One NVLink port. ``bytes_per_second`` is one direction's speed, None where not told."""

    index: int
    active: bool
    remote_bdf: str | None
    bytes_per_second: int | None
    remote_is_switch: bool = False


@dataclass(frozen=True)
class Counters:
    """Errors a GPU has counted since the driver was loaded; None where it does not count them.

    ``pcie_replays`` are packets its link had to send again, the others words of its memory.
    """

    pcie_replays: int | None = None
    ecc_corrected: int | None = None
    ecc_uncorrected: int | None = None


@dataclass(frozen=True)
class NvmlDevice:
    """One GPU; ``index`` is its position by PCI address. Sizes are bytes, None where not told.

    ``display_attached``: a monitor is connected; ``display_active``: a display is initialised,
    perhaps headless. Ask ``has_display``.
    """

    index: int
    uuid: str
    bdf: str
    name: str
    compute_capability: tuple[int, int]
    memory_bytes: int | None
    bar1_bytes: int | None
    link: Link
    max_link: Link
    display_attached: bool
    display_active: bool
    compute_mode: str
    mig: bool
    processes: tuple[Process, ...]
    nvlinks: tuple[NvLink, ...]
    replay_count: int | None

    def has_display(self, pci_class: str) -> bool:
        """Return whether a display is on the GPU, given its PCI class (six hexadecimal digits).

        A 3D controller has no outputs, whatever NVML says: of an H200, driver 580 says "attached".
        """
        has_outputs = not pci_class.startswith(_CLASS_WITHOUT_OUTPUTS)
        return self.display_active or (self.display_attached and has_outputs)


class Nvml:
    """An initialised management library; made by open_nvml."""

    def __init__(self, pynvml: ModuleType) -> None:
        self._pynvml: Any = pynvml
        self._handles = self._ordered_handles()

    def driver_version(self) -> str:
        """Return the driver's version, e.g. ``595.58.03``.

        Raises:
            NvmlUnavailable: the library refused.
        """
        return str(self._ask(self._pynvml.nvmlSystemGetDriverVersion))

    def devices(self) -> list[NvmlDevice]:
        """Return every GPU, ordered by PCI address.

        Raises:
            NvmlUnavailable: a GPU does not answer for its identity, e.g. fell off the bus.
        """
        return [self._device(index) for index in range(len(self._handles))]

    def link(self, index: int) -> Link:
        """Return the GPU's PCIe link as trained at this moment."""
        handle = self._handle(index)
        return Link(
            self._optional(self._pynvml.nvmlDeviceGetCurrPcieLinkGeneration, handle),
            self._optional(self._pynvml.nvmlDeviceGetCurrPcieLinkWidth, handle),
        )

    def counters(self, index: int) -> Counters:
        """Return the GPU's error counters at this moment."""
        handle = self._handle(index)

        def ecc(kind: int) -> Any:
            return self._known("nvmlDeviceGetTotalEccErrors", handle, kind, _ECC_VOLATILE)

        return Counters(
            pcie_replays=self._known("nvmlDeviceGetPcieReplayCounter", handle),
            ecc_corrected=ecc(_ECC_CORRECTED),
            ecc_uncorrected=ecc(_ECC_UNCORRECTED),
        )

    def confidential_compute(self) -> bool | None:
        """Return whether the GPUs are in confidential-computing mode; None where not told."""
        state = self._known("nvmlSystemGetConfComputeState")
        return None if state is None else int(state.ccFeature) == _CONFIDENTIAL

    def p2p_status(self, source: int, target: int) -> dict[str, str]:
        """Return what the driver claims for an ordered pair: capability to status word.

        Keys: read, write, nvlink, atomics, pci. Values: OK, CNS, GNS, TNS, DR, NS, U.
        """
        first, second = self._handle(source), self._handle(target)
        status: dict[str, str] = {}
        for name, number in _P2P_CAPABILITIES.items():
            value = self._optional(self._pynvml.nvmlDeviceGetP2PStatus, first, second, number)
            known = value is not None and 0 <= value < len(_P2P_STATUS)
            status[name] = _P2P_STATUS[value] if known else "U"
        return status

    def _ordered_handles(self) -> list[tuple[str, Any]]:
        count = self._ask(self._pynvml.nvmlDeviceGetCount)
        handles = [self._ask(self._pynvml.nvmlDeviceGetHandleByIndex, i) for i in range(count)]
        return sorted(((self._bdf(handle), handle) for handle in handles), key=lambda pair: pair[0])

    def _handle(self, index: int) -> Any:
        return self._handles[index][1]

    def _bdf(self, handle: Any) -> str:
        return normalise_bdf(_text(self._ask(self._pynvml.nvmlDeviceGetPciInfo, handle).busId))

    def _device(self, index: int) -> NvmlDevice:
        nvml = self._pynvml
        bdf, handle = self._handles[index]
        memory = self._optional(nvml.nvmlDeviceGetMemoryInfo, handle)
        bar1 = self._optional(nvml.nvmlDeviceGetBAR1MemoryInfo, handle)
        mode = self._optional(nvml.nvmlDeviceGetComputeMode, handle)
        mig = self._optional(nvml.nvmlDeviceGetMigMode, handle)
        return NvmlDevice(
            index=index,
            uuid=_text(self._ask(nvml.nvmlDeviceGetUUID, handle)),
            bdf=bdf,
            name=_text(self._ask(nvml.nvmlDeviceGetName, handle)),
            compute_capability=self._ask(nvml.nvmlDeviceGetCudaComputeCapability, handle),
            memory_bytes=None if memory is None else int(memory.total),
            bar1_bytes=None if bar1 is None else int(bar1.bar1Total),
            link=self.link(index),
            max_link=Link(
                self._optional(nvml.nvmlDeviceGetMaxPcieLinkGeneration, handle),
                self._optional(nvml.nvmlDeviceGetMaxPcieLinkWidth, handle),
            ),
            display_attached=bool(self._optional(nvml.nvmlDeviceGetDisplayMode, handle)),
            display_active=bool(self._optional(nvml.nvmlDeviceGetDisplayActive, handle)),
            compute_mode=_COMPUTE_MODES[mode]
            if mode is not None and mode < len(_COMPUTE_MODES)
            else "unknown",
            mig=bool(mig and mig[0]),
            processes=self._processes(handle),
            nvlinks=self._nvlinks(handle),
            replay_count=self._optional(nvml.nvmlDeviceGetPcieReplayCounter, handle),
        )

    def _processes(self, handle: Any) -> tuple[Process, ...]:
        nvml = self._pynvml
        found: dict[int, Process] = {}
        for kind, question in (
            ("graphics", nvml.nvmlDeviceGetGraphicsRunningProcesses),
            ("compute", nvml.nvmlDeviceGetComputeRunningProcesses),
        ):
            for entry in self._optional(question, handle) or ():
                used = entry.usedGpuMemory
                found[entry.pid] = Process(
                    entry.pid,
                    self._process_name(entry.pid),
                    None if used is None else int(used),
                    kind,
                )
        return tuple(found[pid] for pid in sorted(found))

    def _process_name(self, pid: int) -> str:
        name = self._optional(self._pynvml.nvmlSystemGetProcessName, pid)
        if name:
            return _text(name)
        # A process of another container or user: NVML may not tell, the kernel may.
        return (read_text(Path(f"/proc/{pid}/comm")) or "unknown").strip()

    def _nvlinks(self, handle: Any) -> tuple[NvLink, ...]:
        nvml = self._pynvml
        links: list[NvLink] = []
        for index in range(_MAX_NVLINKS):
            state = self._optional(nvml.nvmlDeviceGetNvLinkState, handle, index)
            if state is None:
                # Consumer cards have none, and a card's links are numbered without gaps.
                break
            remote = self._optional(nvml.nvmlDeviceGetNvLinkRemotePciInfo, handle, index)
            kind = self._optional(nvml.nvmlDeviceGetNvLinkRemoteDeviceType, handle, index)
            links.append(
                NvLink(
                    index=index,
                    active=bool(state),
                    remote_bdf=_remote_address(remote) if state else None,
                    bytes_per_second=self._nvlink_speed(handle, index) if state else None,
                    remote_is_switch=kind == _REMOTE_IS_SWITCH,
                )
            )
        return tuple(links)

    def _nvlink_speed(self, handle: Any, index: int) -> int | None:
        fields = [(_FIELD_NVLINK_GET_SPEED, index), (_FIELD_NVLINK_SPEED_COMMON, 0)]
        values = self._optional(self._pynvml.nvmlDeviceGetFieldValues, handle, fields) or ()
        for value in values:
            if value.nvmlReturn == 0 and value.value.uiVal > 0:
                return int(value.value.uiVal) * 1_000_000
        return None

    def _optional(self, question: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return question(*arguments)
        except self._pynvml.NVMLError:
            return None

    def _known(self, name: str, *arguments: Any) -> Any:
        """Return the answer; None also where this pynvml is older than the question."""
        question = getattr(self._pynvml, name, None)
        return None if question is None else self._optional(question, *arguments)

    def _ask(self, question: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return question(*arguments)
        except self._pynvml.NVMLError as error:
            raise unavailable(f"{question.__name__}: {error}") from error


@contextlib.contextmanager
def open_nvml(pynvml_source: str | None, root: Path = Path("/")) -> Iterator[Nvml]:
    """Initialise the management library for the length of a with block.

    Args:
        pynvml_source: pynvml.py, compressed by zlib and in base64; None to import an installed one.
        root: where versions are looked up if the library and the module do not fit.

    Raises:
        NvmlUnavailable: no pynvml, no libnvidia-ml.so.1, or no driver that answers; with the code
            ``userspace_mismatch`` where library and module are of different releases.
    """
    pynvml: Any = _load_pynvml(pynvml_source)
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        if getattr(error, "value", None) == _LIBRARY_MISMATCH:
            raise _mismatch(f"nvmlInit: {error}", root) from error
        raise unavailable(f"nvmlInit: {error}") from error
    try:
        yield Nvml(pynvml)
    finally:
        with contextlib.suppress(pynvml.NVMLError):
            pynvml.nvmlShutdown()


def unavailable(read: str) -> NvmlUnavailable:
    """Return the error for what NVML said."""
    return NvmlUnavailable(
        "nvml_unavailable",
        read=read,
        want="libnvidia-ml.so.1 of the loaded driver to answer",
        remedy="install the NVIDIA userspace of the loaded module's version and load the module",
    )


def _mismatch(read: str, root: Path) -> NvmlUnavailable:
    release, source = loaded_release(root)
    found = library_releases(root)
    words = [f"module {release} ({source})"] if release else []
    words += [f"{library} {version}" for library, version in found.items()]
    return NvmlUnavailable(
        USERSPACE_MISMATCH,
        read="; ".join([read, *words]),
        want="libraries of exactly the loaded module's release",
        remedy="install the NVIDIA userspace of the loaded module's version, or reboot if the "
        "module on disk is already of the libraries' version",
    )


def _load_pynvml(packed: str | None) -> ModuleType:
    if packed is None:
        try:
            return importlib.import_module("pynvml")
        except ImportError as error:
            raise unavailable(f"import pynvml: {error}") from error
    try:
        code = compile(zlib.decompress(base64.b64decode(packed)), "pynvml.py", "exec")
    except (ValueError, zlib.error, SyntaxError) as error:
        raise unavailable(f"the pynvml that came along: {error}") from error
    # Not by search path: a target may have the unrelated "pynvml" package installed.
    module = ModuleType("pynvml")
    # It looks itself up by name while it is loaded, to make its error classes.
    sys.modules["pynvml"] = module
    exec(code, module.__dict__)
    return module


def _remote_address(info: Any) -> str | None:
    text = "" if info is None else _text(info.busId)
    return normalise_bdf(text) if text else None


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
