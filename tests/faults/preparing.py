# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The disk that all faults of a release begin with: the lab's, with what the subjects bring along.

Two builds of the simulated driver, made on a copy of the same disk so that the host has no trace of
the compile, and a fork's tree for each of them with the compile done.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from ansible_collections.gpufleet.p2p.plugins.module_utils._host.commands import run
from support.driver_hosts import (
    ARCHIVE,
    EXPORT,
    SIMULATED,
    Host,
    bring_collection,
    copy_source,
)

from gpufleet.lab.image import Image
from gpufleet.lab.kind import GuestKind
from gpufleet.lab.paths import cache_directory, lab_files
from gpufleet.lab.progress import Reporter
from gpufleet.lab.sources import machine_sources

from .guest_disk import entered
from .scratch import Scratch
from .subjects import FORKS, OTHER_ARCHIVE, StepFailed

RELEASES = ("bullseye", "bookworm", "trixie")
_ARCHIVES = (ARCHIVE, OTHER_ARCHIVE)


def golden_disk(release: str, user: Path) -> Path:
    """Return the lab's raw disk of a release that starts by BIOS and GRUB, made if it has to be.

    Args:
        release: Debian's name of it.
        user: a directory; the disk is kept for as long as it is there.
    """
    image = Image(
        cache_directory(), lab_files() / "simulated_driver", Reporter(), GuestKind(release)
    )
    if not image.disk.exists():
        image.ensure_base([machine_sources(release=release)])
    image.ensure_golden(user)
    return image.disk


def base_disk(release: str, directory: Path, scratch: Scratch) -> Path:
    """Return the disk that the release's faults begin with; made once and kept."""
    base = scratch.directory / f"{directory.name}-base.raw"
    if base.exists():
        return base
    directory.mkdir(parents=True, exist_ok=True)
    image = golden_disk(release, directory)
    golden = scratch.directory / f"{image.parent.name}.raw"
    if not golden.exists():
        scratch.copy(image, f"{golden.name}.partial").replace(golden)
    # Builds are the same whatever the product's other parts are: made once for a lab's disk.
    brought = directory.parent / f"brought-{image.parent.name}"
    if not brought.exists():
        partial_builds = brought.with_suffix(".partial")
        with scratch.borrowed(golden) as disk, entered(disk, directory / "root") as host:
            _build(host, partial_builds)
        partial_builds.rename(brought)
    partial = scratch.copy(golden, f"{base.name}.partial")
    with entered(partial, directory / "root") as host:
        bring_collection(host.root)
        host.run("python3", "-m", "compileall", "-q", "/opt/gpufleet", check=False)
        run(["cp", "-a", f"{brought}/srv/.", str(host.path("/srv"))], timeout=600)
    partial.replace(base)
    return base


def _build(host: Host, brought: Path) -> None:
    bring_collection(host.root)
    copy_source(host)
    shutil.rmtree(brought, ignore_errors=True)
    (brought / "srv").mkdir(parents=True)
    for archive, patches in zip(_ARCHIVES, (EXPORT["patches"], []), strict=True):
        result = host.module("dkms_module", **{**EXPORT, "archive": archive, "patches": patches})
        if result.get("failed"):
            raise StepFailed(f"build of {archive}: {result.get('msg')}")
        for path in (archive, f"{archive}.json"):
            if host.path(path).exists():
                shutil.copy2(host.path(path), brought / path.lstrip("/"))
    for fork, patched in zip(FORKS, (True, False), strict=True):
        shutil.copytree(SIMULATED / "kernel", host.path(fork), symlinks=True)
        if patched:
            run(
                ["patch", "-s", "-d", str(host.path(fork)), "-p1"],
                stdin=(SIMULATED / "patches/peer-to-peer.patch").read_text(),
            )
        host.run("make", "-C", fork, "modules", "-j2", f"KERNEL_UNAME={host.kernel}")
        run(["cp", "-a", str(host.path(fork)), str(brought / "srv")], timeout=600)
