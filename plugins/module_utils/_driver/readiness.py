# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a kernel, once booted, would load our driver: all of it, and nothing else.

DKMS rebuilds for a new kernel by itself, skips the rebuild where headers are missing, and reports
success for a part of the modules; so the files are looked at, whatever it said.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .._host.errors import GpufleetError
from .._host.files import read_text
from .._host.kernel import release_order
from .dkms import DkmsPackage, DkmsTrees
from .elf import ModuleUnreadable, build_id_of, modinfo_of, module_bytes
from .identity import DRIVER_MODULES, modprobe_override, resolved_path
from .initramfs import Initramfs, stale_parts
from .manifest import module_file
from .removal import present_versions
from .signing import Trust, read_trust

_BUILT_MODULE = re.compile(r'^\s*BUILT_MODULE_NAME\[\d+\]="?([\w-]+)"?\s*$', re.MULTILINE)


@dataclass(frozen=True)
class Readiness:
    """One kernel's; ``faults`` say in words why it is not ready, none where it is."""

    kernel: str
    version: str | None
    faults: tuple[str, ...]

    @property
    def is_ready(self) -> bool:
        """Whether the kernel would load our driver, whole."""
        return not self.faults


def readiness(
    name: str, kernel: str, *, trees: DkmsTrees | None = None, root: Path = Path("/")
) -> Readiness:
    """Return whether DKMS package ``name`` is installed for ``kernel`` with all its modules."""
    places = trees or DkmsTrees()
    package = active_package(name, kernel, places)
    if package is None:
        return Readiness(kernel, None, (_why_not_installed(name, kernel, places),))
    trust = read_trust(root)
    faults = [
        fault
        for module in expected_modules(package)
        for fault in _faults_of_module(package, kernel, module, root, trust)
    ]
    override = modprobe_override(root, kernel, "nvidia")
    if override is not None:
        faults.append(f"modprobe nvidia runs: {override}")
    faults += _faults_of_image(kernel, root)
    return Readiness(kernel, package.version, tuple(faults))


def active_package(name: str, kernel: str, trees: DkmsTrees) -> DkmsPackage | None:
    """Return the version of the package that DKMS holds to be installed, None where it has none."""
    link = DkmsPackage(name, "", trees).active_link(kernel)
    if not link.is_symlink():
        return None
    # .../NAME/VERSION/KERNEL/ARCH
    package = DkmsPackage(name, link.resolve().parent.parent.name, trees)
    return package if package.is_active(kernel) else None


def whole_build(name: str, kernel: str, trees: DkmsTrees) -> DkmsPackage | None:
    """Return the newest version that DKMS has built whole for ``kernel``, or None."""
    versions = sorted(present_versions(name, trees), key=release_order, reverse=True)
    for version in versions:
        package = DkmsPackage(name, version, trees)
        directory = package.build_directory(kernel) / "module"
        if all(module_file(directory, module) for module in expected_modules(package)):
            return package
    return None


def expected_modules(package: DkmsPackage) -> Sequence[str]:
    """Return the modules that the package's dkms.conf declares; the driver's five without one."""
    text = read_text(package.source_directory / "dkms.conf") or ""
    return _BUILT_MODULE.findall(text) or DRIVER_MODULES


def _why_not_installed(name: str, kernel: str, trees: DkmsTrees) -> str:
    if not (trees.install / kernel / "build/include").is_dir():
        return f"{name}: not built, the kernel's headers are missing"
    logs = sorted((trees.state / name).glob("*/build/make.log"))
    return f"{name}: not built; read {logs[-1]}" if logs else f"{name}: not built by DKMS"


def _faults_of_module(
    package: DkmsPackage, kernel: str, name: str, root: Path, trust: Trust
) -> list[str]:
    built = module_file(package.build_directory(kernel) / "module", name)
    if built is None:
        return [f"{name}: not built"]
    path = resolved_path(root, kernel, name)
    if path is None or not path.is_file():
        return [f"{name}: not installed"]
    try:
        image = module_bytes(path)
        build_id = build_id_of(image, str(path))
        wanted = build_id_of(module_bytes(built), str(built))
        magic = modinfo_of(image, str(path)).get("vermagic", "").partition(" ")[0]
    except (ModuleUnreadable, OSError) as error:
        return [f"{name}: {error.read if isinstance(error, ModuleUnreadable) else error}"]
    if build_id is None or build_id != wanted:
        return [f"{name}: {path} is another build than DKMS's"]
    if not trust.accepts(path):
        return [f"{name}: {path} is not signed by an enrolled key, which Secure Boot demands"]
    return [] if magic == kernel else [f"{name}: {path} was compiled for {magic or 'no kernel'}"]


def _faults_of_image(kernel: str, root: Path) -> list[str]:
    image = Initramfs(kernel, boot=root / "boot", root=root)
    try:
        stale = stale_parts(image)
    except GpufleetError as error:
        return [f"{image.image}: {error.read}"]
    return [f"{image.image}: holds another version of {', '.join(stale)}"] if stale else []
