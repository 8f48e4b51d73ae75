# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Our driver switched off: the build stays with DKMS, the distribution's modules are loaded.

DKMS would install the build again for the next kernel, so an override beside its own configuration
says that it must not. The source tree, whose checksum identifies the build, stays as it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from .._host.files import atomic_write, remove
from .dkms import DkmsPackage, DkmsTrees, failure
from .initramfs import STATE_DIRECTORY, Initramfs, restore
from .install import Target, prune, prune_state
from .removal import kernels_of, owned_files
from .standby import DESTINATIONS, standby

#: DKMS sources NAME.conf here after the package's own dkms.conf, and so does that (source.py).
OVERRIDES = Path("/etc/dkms")

_OVERRIDE = """\
# Written by gpufleet: the driver is switched off (p2p_driver_state: disabled), so DKMS must not
# install it for the next kernel. Taken away when the driver is installed or removed.
AUTOINSTALL=""
"""


def override_file(name: str) -> Path:
    """Return DKMS's override for the package."""
    return OVERRIDES / f"{name}.conf"


def is_held_off(name: str) -> bool:
    """Return whether DKMS is told not to install the package by itself."""
    path = override_file(name)
    return path.is_file() and path.read_text(encoding="utf-8") == _OVERRIDE


def let_dkms_install(name: str) -> bool:
    """Take our override away; return whether there was one. An override of others stays."""
    return is_held_off(name) and remove(override_file(name))


def installed_kernels(package: DkmsPackage, state: Path = STATE_DIRECTORY) -> Sequence[str]:
    """Return the kernels for which any of the package's modules is installed."""
    targets = (Target(package, kernel, state) for kernel in kernels_of(package, state))
    return [
        target.kernel
        for target in targets
        if package.is_active(target.kernel) or owned_files(target)
    ]


def disable(
    name: str,
    versions: Sequence[str],
    trees: DkmsTrees | None = None,
    *,
    state: Path = STATE_DIRECTORY,
    boot: Path = Path("/boot"),
) -> None:
    """Take the package's modules out of every kernel, and keep DKMS from putting them back.

    Raises:
        DkmsFailed: a kernel still has them.
        InitramfsRefused: an image that contains them could not be generated without them.
        OSError: the override could not be written; nothing was taken out.
    """
    # First, so that a kernel installed meanwhile does not bring the modules back.
    atomic_write(override_file(name), _OVERRIDE.encode())
    for version in versions:
        package = DkmsPackage(name, version, trees or DkmsTrees())
        for kernel in installed_kernels(package, state):
            _take_out(Target(package, kernel, state))
            restore(Initramfs(kernel, boot, state))
    prune_state(state)


def _take_out(target: Target) -> None:
    owned = owned_files(target)
    with standby([target.kernel], target.package.trees.install):
        result = target.package.uninstall(target.kernel)
        # DKMS finds an installed file by its modinfo version, so it leaves damaged ones behind.
        for path in owned:
            path.unlink(missing_ok=True)
        prune(target.modules, DESTINATIONS)
    if target.package.is_active(target.kernel):
        raise failure(
            "dkms_uninstall_failed",
            result,
            want=f"{target.package.name} taken out of kernel {target.kernel}",
            remedy="mend what DKMS names, then run again",
        )
