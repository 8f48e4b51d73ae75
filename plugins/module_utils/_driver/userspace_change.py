# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""NVIDIA's libraries brought to another release: by apt, or by NVIDIA's installer; and back."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from .._host.commands import run
from .._host.errors import GpufleetError
from .._host.files import atomic_write, sha256_of
from .._host.userspace import userspace_version
from .presence import firmware_releases
from .userspace_packages import (
    Package,
    available_versions,
    held_by_host,
    install,
    installed_packages,
    installed_versions,
    obtainable,
)
from .userspace_record import RECORD, Held

INSTALL_SECONDS = 1800.0


class UserspaceRefused(GpufleetError):
    """The libraries are not, and cannot be made, those of the driver's release."""


@dataclass(frozen=True)
class Means:
    """How libraries of another release may be replaced; with none of both they have to be there.

    Attributes:
        runfile: NVIDIA's installer, run with --no-kernel-modules.
        sha256: what the installer's checksum has to be.
        packages: whether apt may bring the packages that are installed to the release.
    """

    runfile: Path | None = None
    sha256: str | None = None
    packages: bool = False


def bring_packages(
    release: str, present: str | None, before: Held, *, check: bool
) -> tuple[tuple[Package, ...], Held]:
    """Have apt bring the packages of the present release to the one that is wanted.

    Returns the packages as they are then, and the record.

    Raises:
        UserspaceRefused: the archive does not have it for all of them, or one is on hold.
        CommandFailed: apt refused.
    """
    packages = installed_packages(present) if present else ()
    wanted = obtainable(packages).get(release)
    if wanted is None:
        raise UserspaceRefused(
            "userspace_not_in_archive",
            read=f"{_told(present)}; apt does not have {release} for"
            f" {', '.join(p.name for p in packages) or 'any package of them'}",
            want=f"packages of {release} for all of them",
            remedy=f"apt-get update, or add the archive that has {release}; install the packages"
            " first where there are none",
        )
    held = held_by_host(packages, before.selections)
    if held:
        raise UserspaceRefused(
            "userspace_held",
            read=f"on hold: {', '.join(held)}",
            want="packages that may be upgraded, or a hold that gpufleet set",
            remedy=f"apt-mark unhold {' '.join(held)}",
        )
    # Where it has come from through several releases, the first is the one to go back to.
    versions = {**{p.name: p.version for p in packages}, **before.versions}
    after = replace(before, versions=versions)
    if not check:
        # The record first: a release that nobody remembers would never come back.
        atomic_write(RECORD, after.as_json())
        install(wanted)
        _require_present(release, "what apt told, and /var/log/apt/term.log")
    return tuple(Package(name, wanted[name], "install") for name in sorted(wanted)), after


def bring_by_installer(
    release: str, present: str | None, means: Means, before: Held, *, check: bool
) -> Held:
    """Have NVIDIA's installer bring the libraries, without its kernel modules.

    Raises:
        UserspaceRefused: there is no installer, it is not the one that was meant, or packages
            brought the libraries that are here.
        CommandFailed: it failed.
    """
    runfile = means.runfile
    if runfile is None:
        raise UserspaceRefused(
            "userspace_version_mismatch",
            read=_told(present),
            want=f"libraries of {release}",
            remedy=f"install NVIDIA's userspace {release}, or give its installer (runfile, sha256)",
        )
    if present is not None and installed_packages(present):
        raise UserspaceRefused(
            "userspace_of_packages",
            read=f"{_told(present)}, installed by packages",
            want="no packages that the installer would overwrite",
            remedy=f"upgrade the packages to {release} instead, or remove them first",
        )
    found = sha256_of(runfile)
    if found != means.sha256:
        raise UserspaceRefused(
            "runfile_checksum_mismatch",
            read=f"{runfile}: sha256 {found}",
            want=f"sha256 {means.sha256}",
            remedy="fetch the installer again, or correct the checksum after comparing it with"
            " NVIDIA's",
        )
    after = replace(before, installed=True)
    if not check:
        atomic_write(RECORD, after.as_json())
        run(["sh", str(runfile), "--silent", "--no-kernel-modules"], timeout=INSTALL_SECONDS)
        _require_present(release, "/var/log/nvidia-installer.log")
    return after


def _require_present(release: str, log: str) -> None:
    """Refuse libraries or firmware of another release, whatever the installing command said."""
    if release not in firmware_releases(Path("/")):
        raise UserspaceRefused(
            "firmware_missing",
            read=f"after the installation: no gsp_*.bin in /lib/firmware/nvidia/{release}",
            want="the GSP firmware of the release, without which no open module runs",
            remedy=f"read {log}; install the firmware of {release} (Debian: firmware-nvidia-gsp)",
        )
    found = userspace_version(Path("/"))
    if found != release:
        raise UserspaceRefused(
            "userspace_version_mismatch",
            read=f"after the installation: {_told(found)}",
            want=f"libraries of {release}",
            remedy=f"read {log}",
        )


def moved(held: Held) -> dict[str, str]:
    """Return the packages that are to go back to another version, with that version.

    Raises:
        UserspaceRefused: apt does not have it any more.
    """
    now = installed_versions(list(held.versions))
    back = {name: v for name, v in held.versions.items() if now.get(name, v) != v}
    available = available_versions(list(back))
    gone = [f"{name}={v}" for name, v in back.items() if v not in available[name]]
    if gone:
        raise UserspaceRefused(
            "userspace_not_restorable",
            read=f"apt does not have {', '.join(gone)} any more",
            want="the packages as they were before gpufleet brought them to another release",
            remedy="install those versions by hand, from an archive or a cache that has them, then"
            " run again",
        )
    return back


def _told(release: str | None) -> str:
    return f"libraries of {release}" if release else "no libcuda.so.1 and no libnvidia-ml.so.1"
