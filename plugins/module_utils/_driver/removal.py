# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Our driver taken off a host again: modules, DKMS state, sources, and its copy in the initramfs.

Only what the package itself put there is removed. The distribution's modules were never moved, so
they are what modprobe resolves afterwards.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from .._host.files import sha256_of
from .dkms import DkmsPackage, DkmsTrees, failure
from .initramfs import STATE_DIRECTORY, Initramfs, restore
from .install import (
    Target,
    destination_files,
    end_journal,
    prune,
    prune_state,
)
from .manifest import module_file
from .standby import DESTINATIONS, kernels_on_standby, standby


def present_versions(name: str, trees: DkmsTrees) -> tuple[str, ...]:
    """Return the versions of the package of which anything is on the host, whole or not."""
    found = {path.parent.name for path in (trees.state / name).glob("*/source")}
    found |= {path.parent.name for path in (trees.state / name).glob("*/build")}
    # VERSION/KERNEL/ARCHITECTURE/module
    found |= {path.parents[2].name for path in (trees.state / name).glob("*/*/*/module")}
    found |= {path.name[len(name) + 1 :] for path in trees.source.glob(f"{name}-[0-9]*")}
    return tuple(sorted(found))


def remove_version(
    name: str,
    version: str,
    trees: DkmsTrees | None = None,
    *,
    state: Path = STATE_DIRECTORY,
    boot: Path = Path("/boot"),
) -> None:
    """Remove one version of the package from every kernel of the host.

    Raises:
        DkmsFailed: a kernel's module directory still holds the version's modules.
        InitramfsRefused: an image that contains them could not be generated without them.
    """
    package = DkmsPackage(name, version, trees or DkmsTrees())
    targets = [Target(package, kernel, state) for kernel in kernels_of(package, state)]
    owned = {target.kernel: owned_files(target) for target in targets}
    with standby([target.kernel for target in targets], package.trees.install):
        result = package.remove_all() if package.is_added() else None
        for target in targets:
            # DKMS finds an installed file by its modinfo version, so it leaves damaged ones behind.
            for path in owned[target.kernel]:
                path.unlink(missing_ok=True)
            prune(target.modules, DESTINATIONS)
    for target in targets:
        if package.is_active(target.kernel):
            package.active_link(target.kernel).unlink()
        if target.journal.exists():
            end_journal(target)
    _drop_state(package)
    if result is not None and package.is_added():
        raise failure(
            "dkms_remove_failed",
            result,
            want=f"{name}/{version} unregistered",
            remedy="mend what DKMS names, then run again",
        )
    for target in targets:
        restore(Initramfs(target.kernel, boot, state))
    prune_state(state)


def kernels_of(package: DkmsPackage, state: Path) -> Sequence[str]:
    """Return the kernels for which the version is built or installed, or was being installed."""
    built = {path.parent.parent.name for path in package.state_directory.glob("*/*/module")}
    prefix = "installing-"
    dying = {path.stem[len(prefix) :] for path in state.glob(f"{prefix}*.json")}
    return sorted(built | dying | kernels_on_standby(package.trees.install))


def owned_files(target: Target) -> tuple[Path, ...]:
    """Return the destination's files that this version put there."""
    files = destination_files(target)
    if target.package.is_active(target.kernel) or target.journal.exists():
        return files
    build = target.package.build_directory(target.kernel) / "module"
    ours = []
    for path in files:
        built = module_file(build, path.name.partition(".ko")[0])
        if built is not None and sha256_of(built) == sha256_of(path):
            ours.append(path)
    return tuple(ours)


def _drop_state(package: DkmsPackage) -> None:
    """Remove what DKMS leaves of a version: its source, and the remains of interrupted runs."""
    for directory in (package.state_directory, package.source_directory):
        if directory.is_dir():
            shutil.rmtree(directory)
    prune(package.trees.state, (package.name,))
