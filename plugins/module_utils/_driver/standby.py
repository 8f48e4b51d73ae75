# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The driver that a host has now, kept loadable while DKMS exchanges the files.

DKMS takes the former modules away before it copies the new ones and flushes nothing, while depmod's
index names files by their paths: a power cut in between leaves an index of files that are gone or
empty, and a host without a driver. So copies are set aside, and a line of depmod.d lets the index
name them until all of the exchange is on the disk. depmod replaces its index by renaming, so
modprobe finds the former driver or the new one, whole.

A kernel's module directory has a link to its copies only: DKMS looks for files of a module's name
all over that directory and moves one away as the "original module" (dkms 3.2, earlier ones on other
distributions than Debian). It follows no links to directories; depmod does.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from .._host.commands import run
from .._host.files import atomic_write, remove, remove_empty, sync_directory
from .identity import DRIVER_MODULES, resolved_path

#: Link below a kernel's module directory; not among those that depmod prefers by itself.
DIRECTORY = "gpufleet-standby"
#: Beside the kernels' module directories, so that SELinux takes the copies for modules, too.
COPIES = ".gpufleet-standby"
#: Where DKMS installs to, by distribution; all of them outrank kernel/ in depmod's order.
DESTINATIONS = ("updates/dkms", "updates", "extra")
#: Not on the disk: once power is back the index alone tells that an exchange was interrupted.
CONFIGURATION = Path("/run/depmod.d/gpufleet-standby.conf")

_DEPMOD_SECONDS = 300.0
_HEADER = "# Written by gpufleet while it exchanges the driver; removed at the end.\n"
_ON_STANDBY = "".join(f"override {name} * {DIRECTORY}\n" for name in DRIVER_MODULES)


@contextlib.contextmanager
def standby(kernels: Sequence[str], install_tree: Path = Path("/lib/modules")) -> Iterator[None]:
    """Keep what modprobe finds for these kernels loadable while the block changes the files.

    At the end, of an error too, the index names what lies in the usual directories. An interrupted
    one is taken over: its copies are what the host had.

    Args:
        kernels: releases.
        install_tree: where the kernels' module directories lie.

    Raises:
        OSError: the copies could not be made; nothing was changed.
        CommandFailed: depmod failed.
    """
    kernels = sorted({*kernels, *kernels_on_standby(install_tree)})
    _set_aside(kernels, install_tree)
    try:
        yield
        # DKMS flushes nothing, and the index must not name files whose data is not on the disk.
        os.sync()
    finally:
        end(kernels, install_tree)


def end(kernels: Sequence[str], install_tree: Path = Path("/lib/modules")) -> None:
    """Let the index name the usual files again, then drop the copies."""
    lines = [line for kernel in kernels for line in _usual_places(kernel, install_tree)]
    atomic_write(CONFIGURATION, (_HEADER + "".join(lines)).encode())
    _index(kernels)
    for kernel in kernels:
        _drop(kernel, install_tree)
    remove(CONFIGURATION)
    remove_empty(CONFIGURATION.parent)
    # Where there is no other file, it was a copy that was named again.
    _index(kernels)


def kernels_on_standby(install_tree: Path) -> set[str]:
    """Return the kernels for which an interrupted exchange left copies."""
    found = install_tree.iterdir() if install_tree.is_dir() else ()
    return {path.name for path in found if (path / DIRECTORY).is_symlink()}


def run_depmod(kernel: str) -> None:
    """Write the kernel's module dependency files anew."""
    run(["depmod", "-a", kernel], timeout=_DEPMOD_SECONDS)


def _set_aside(kernels: Sequence[str], install_tree: Path) -> None:
    fresh = [kernel for kernel in kernels if not _is_on_standby(kernel, install_tree)]
    try:
        for kernel in fresh:
            _copy_modules(kernel, install_tree)
        os.sync()
        atomic_write(CONFIGURATION, (_HEADER + _ON_STANDBY).encode())
    except OSError:
        for kernel in fresh:
            _drop(kernel, install_tree)
        raise
    _index([kernel for kernel in fresh if (install_tree / kernel / DIRECTORY).is_dir()])


def _is_on_standby(kernel: str, install_tree: Path) -> bool:
    """Return whether the index names copies that are there, as an interrupted run left them."""
    path = resolved_path(Path("/"), kernel, DRIVER_MODULES[0])
    return path is not None and path.is_file() and path.parent == install_tree / kernel / DIRECTORY


def _copy_modules(kernel: str, install_tree: Path) -> None:
    link = install_tree / kernel / DIRECTORY
    found = [resolved_path(Path("/"), kernel, name) for name in DRIVER_MODULES]
    held = [path for path in found if path and path.is_file() and path.parent != link]
    _drop(kernel, install_tree)
    if held:
        copies = install_tree / COPIES / kernel
        copies.mkdir(parents=True)
        for path in held:
            shutil.copy2(path, copies)
        sync_directory(copies.parent)
        link.symlink_to(Path("..", COPIES, kernel))
        sync_directory(link.parent)


def _drop(kernel: str, install_tree: Path) -> None:
    """Remove the copies, and last what tells that there were any."""
    shutil.rmtree(install_tree / COPIES / kernel, ignore_errors=True)
    remove_empty(install_tree / COPIES)
    (install_tree / kernel / DIRECTORY).unlink(missing_ok=True)


def _usual_places(kernel: str, install_tree: Path) -> Iterator[str]:
    """Yield lines of depmod.d for the modules that lie where a copy would have the same rank."""
    tree = install_tree / kernel
    places: dict[str, list[str]] = {name: [] for name in DRIVER_MODULES}
    for directory, _folders, files in os.walk(tree):
        place = str(Path(directory).relative_to(tree))
        for file in files:
            name, dot, _compression = file.partition(".ko")
            if dot and name in places:
                places[name].append(place)
    # A pattern: what a kernel's release has besides letters and digits stands for itself.
    release = re.sub(r"[.+]", lambda match: f"[{match[0]}]", kernel)
    for name, found in places.items():
        if found and not set(found) & set(DESTINATIONS):
            yield f"override {name} {release} {found[0]}\n"


def _index(kernels: Sequence[str]) -> None:
    for kernel in kernels:
        run_depmod(kernel)
    os.sync()
