# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Everything that gates, roles and reports judge a host by, read in one pass.

The order of reading goes from files to NVML to the few commands, and nothing is changed. What
cannot be known here (NVML without a driver, ACS without root) is told as unknown: it is for the
gates to say what an unknown means.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from .._boot.detect import detect
from .._drain.note import read_note
from .._driver import dkms
from .._driver.identity import installed_module, loaded_module, modprobe_override
from .._driver.modprobe_options import foreign_settings
from .._driver.presence import firmware_releases, module_files, userspace_origin
from .._driver.registry_in_force import keys_in_force, running_parameters
from .._driver.rivals import are_kept_off
from .._driver.trial import is_on_trial
from .._driver.userspace_hold import archive_state
from .._gpu.nvml import NvmlDevice, NvmlUnavailable, open_nvml
from .._host.acs import AcsState, read_acs
from .._host.cpu import read_cpu
from .._host.device_users import DeviceUser, device_minors, device_users
from .._host.errors import GpufleetError
from .._host.iommu import IDENTITY, UNKNOWN
from .._host.kernel import Kernel, read_kernel
from .._host.pci import DEFAULT_GPU_MATCH, read_devices
from .._host.pci_address import normalise_bdf
from .._host.secure_boot import read_secure_boot
from .._host.userspace import userspace_version
from .._host.watchdog import read_watchdog
from .gpus import gpu_records, matching_gpus
from .toolchain import toolchain_record

SCHEMA = 1
Record = dict[str, Any]

_MODULE = "nvidia"
NO_ARCHIVE: Record = {"releases": {}, "held": []}
# Where a driver build, its sources, and the boot files of a trial go.
_DISK_PATHS = ("/boot", "/usr", "/var")


def collect(
    root: Path = Path("/"),
    gpu_match: Sequence[str] = DEFAULT_GPU_MATCH,
    pynvml_source: str | None = None,
) -> Record:
    """Return the host's facts, schema 1, as plain data (the p2p_facts module documents them).

    Args:
        root: where the host's file system begins.
        gpu_match: ``vendor:device:class-prefix`` patterns of the functions that are GPUs.
        pynvml_source: as open_nvml takes it; None to import an installed one.

    Raises:
        PciPatternInvalid: a pattern in ``gpu_match`` does not have that form.
        StateUnreadable: the note of a drained host is damaged.
    """
    devices = read_devices(root)
    told, nvml_record = _ask_nvml(pynvml_source)
    found = matching_gpus(devices, gpu_match)
    users = {} if nvml_record["nvml"] else _users_by_gpu(root)
    gpus = gpu_records(root, devices, found, told, users)
    kernel = read_kernel(root)
    driver = driver_record(root, kernel.release)
    bridges = sorted({bdf for gpu in gpus for bdf in gpu["upstream"]})
    return {
        "schema": SCHEMA,
        "kernel": kernel_record(kernel),
        "cpu": asdict(read_cpu(root)),
        "iommu": iommu_record(root, gpus),
        "secure_boot": asdict(read_secure_boot(root)),
        "boot_loader": boot_loader_record(root),
        "gpus": gpus,
        "processes_source": processes_source(
            nvml=nvml_record["nvml"],
            module_loaded=driver["loaded"],
            all_gpus_known=all(gpu.bdf in users for gpu in found),
        ),
        "acs": [acs_record(read_acs(root, bdf)) for bdf in bridges],
        "driver": {**driver, **nvml_record},
        "dkms": dkms_record(root),
        "toolchain": toolchain_record(root, kernel),
        "disk": free_bytes(root, _DISK_PATHS),
        "watchdog": watchdog_record(root),
        "drain": note.as_dict() if (note := read_note(root)) else None,
    }


def kernel_record(kernel: Kernel) -> Record:
    """Return the running kernel and the installed ones as plain data."""
    compiler = kernel.compiler
    return {
        "release": kernel.release,
        "architecture": kernel.architecture,
        "cmdline": kernel.cmdline,
        "boot_id": kernel.boot_id,
        "compiler": compiler and {"identity": compiler.identity, "text": compiler.text},
        "headers": kernel.headers,
        "installed": list(kernel.installed),
        "with_headers": list(kernel.with_headers),
    }


def iommu_record(root: Path, gpus: Sequence[Mapping[str, Any]]) -> Record:
    """Return whether there is an IOMMU, and what it does to the GPUs.

    ``default_domain`` is ``none`` (no GPU is behind one), ``identity`` (every GPU's group passes
    addresses through), ``translated`` (at least one translates) or ``unknown``.
    """
    groups = {gpu["bdf"]: gpu["iommu_group"] for gpu in gpus if gpu["iommu_group"] is not None}
    types = {group["type"] for group in groups.values()}
    if not types:
        domain = "none"
    elif types == {IDENTITY}:
        domain = IDENTITY
    else:
        domain = "translated" if types - {IDENTITY, UNKNOWN} else UNKNOWN
    present = bool(groups) or _has_entries(root / "sys/kernel/iommu_groups")
    return {"present": present, "default_domain": domain, "gpu_groups": groups}


def boot_loader_record(root: Path) -> Record:
    """Return the boot loader's name and whether it can try an entry once.

    ``name`` is None where no supported one was found; ``reason`` and ``remedy`` say why and what
    to do.
    """
    try:
        loader = detect(root)
        trial = loader.trial_support()
    except GpufleetError as error:
        return {"name": None, "reason": error.read, "remedy": error.remedy}
    return {
        "name": loader.name,
        "firmware": loader.firmware,
        "trial_possible": trial.possible,
        "trial_reason": trial.reason,
    }


def driver_record(root: Path, release: str) -> Record:
    """Return the running NVIDIA module, the one modprobe would load, and whether they agree.

    ``matches`` is None where either build id is unknown. ``modprobe_override`` is the command
    that modprobe.d puts in the place of loading the file, None where it does not.
    ``rivals_kept_off`` tells whether our file keeps nouveau and nova off. ``registry`` are
    the resource manager's keys that the running module was loaded with, None where none runs.
    ``on_trial`` tells whether a driver is loaded in trial boots alone.
    """
    loaded = loaded_module(root, _MODULE)
    installed, error = None, None
    try:
        installed = installed_module(root, release, _MODULE)
    except GpufleetError as damage:
        error = str(damage)
    running = loaded.build_id if loaded else None
    on_disk = installed.build_id if installed else None
    parameters = running_parameters(root)
    return {
        "loaded": loaded is not None,
        "version": loaded.version if loaded else None,
        "build_id": running,
        "installed": None if installed is None else asdict(installed),
        "installed_error": error,
        "matches": None if running is None or on_disk is None else running == on_disk,
        "modprobe_override": modprobe_override(root, release, _MODULE),
        "rivals_kept_off": are_kept_off(root),
        "module_options": [asdict(setting) for setting in foreign_settings(root)],
        "registry": None if parameters is None else keys_in_force(parameters),
        "userspace_version": userspace_version(root),
        "userspace_origin": userspace_origin(root),
        # dpkg and apt can only be asked about this host itself.
        "userspace_archive": archive_state() if root == Path("/") else NO_ARCHIVE,
        "firmware": firmware_releases(root),
        "module_files": module_files(root, release),
        "on_trial": is_on_trial(root),
    }


def dkms_record(root: Path) -> Record:
    """Return the release of DKMS (None where absent) and every module version it knows.

    ``modules`` is None where DKMS is there and could not tell, with its words in ``error``.
    """
    version = dkms.version()
    if version is None:
        return {"version": None, "modules": [], "error": None}
    trees = dkms.DkmsTrees(root / "var/lib/dkms", root / "usr/src", root / "lib/modules")
    try:
        entries = dkms.status(None if root == Path("/") else trees)
    except GpufleetError as error:
        return {"version": version, "modules": None, "error": str(error)}
    return {
        "version": version,
        "modules": [_entry_record(entry) for entry in entries],
        "error": None,
    }


def _entry_record(entry: dkms.DkmsEntry) -> Record:
    return {**asdict(entry), "remarks": list(entry.remarks)}


def acs_record(state: AcsState) -> Record:
    """Return a bridge's ACS as plain data: which of RR, CR, EC redirect peer traffic."""
    return {
        "bdf": state.bdf,
        "readable": state.readable,
        "present": state.present,
        "redirect": list(state.redirect),
    }


def processes_source(*, nvml: bool, module_loaded: bool, all_gpus_known: bool) -> str:
    """Return who can tell of processes on the GPUs.

    ``nvml``; without it ``module_not_loaded`` (no process can have a context then) or
    ``device_files``; ``unknown`` where the driver does not list every GPU.
    """
    if nvml:
        return "nvml"
    if not module_loaded:
        return "module_not_loaded"
    return "device_files" if all_gpus_known else "unknown"


def watchdog_record(root: Path) -> Record | None:
    """Return the watchdog as plain data with what it does for a trial boot, None without one."""
    watchdog = read_watchdog(root)
    return None if watchdog is None else {**asdict(watchdog), "in_trial": watchdog.in_words}


def free_bytes(root: Path, paths: Sequence[str]) -> dict[str, int]:
    """Return the bytes that are free to ordinary users below each path that exists."""
    free: dict[str, int] = {}
    for path in paths:
        try:
            figures = os.statvfs(root / path.lstrip("/"))
        except OSError:
            continue
        free[path] = figures.f_bavail * figures.f_frsize
    return free


def _ask_nvml(pynvml_source: str | None) -> tuple[dict[str, NvmlDevice], Record]:
    try:
        with open_nvml(pynvml_source) as nvml:
            told = {device.bdf: device for device in nvml.devices()}
            version = nvml.driver_version()
    except NvmlUnavailable as error:
        return {}, {"nvml": False, "nvml_version": None, "nvml_error": error.read}
    return told, {"nvml": True, "nvml_version": version, "nvml_error": None}


def _users_by_gpu(root: Path) -> dict[str, list[DeviceUser]]:
    """Return who has each GPU's device file open, by address, for the GPUs the driver lists."""
    by_minor = {minor: normalise_bdf(bdf) for bdf, minor in device_minors(root).items()}
    users: dict[str, list[DeviceUser]] = {bdf: [] for bdf in by_minor.values()}
    for user in device_users(root):
        if user.minor in by_minor:
            users[by_minor[user.minor]].append(user)
    return users


def _has_entries(directory: Path) -> bool:
    try:
        return any(directory.iterdir())
    except OSError:
        return False
