# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What of a driver lies on this host: module files, GSP firmware, and who brought the libraries."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from .._host.commands import CommandFailed, CommandMissing, CommandTimedOut, run
from .._host.files import read_text
from .._host.userspace import library_files

Record = dict[str, Any]

PACKAGES, RUNFILE, UNKNOWN = "packages", "runfile", "unknown"
_FIRMWARE = ("lib/firmware/nvidia", "usr/lib/firmware/nvidia")
_RELEASE = re.compile(r"\d{3}(\.\d+)+")
_MODULE_FILE = re.compile(r"^nvidia(-current(-open)?)?\.ko(\.(xz|zst|gz))?$")
# NVIDIA's installer leaves its uninstaller; packages do not have it.
_UNINSTALLERS = ("usr/bin/nvidia-uninstall", "usr/local/bin/nvidia-uninstall")


def firmware_releases(root: Path) -> list[str]:
    """Return the driver releases whose GSP firmware is there, without which no open module runs."""
    found = set()
    for directory in _FIRMWARE:
        for folder in (root / directory).glob("*"):
            if _RELEASE.fullmatch(folder.name) and any(folder.glob("gsp*.bin*")):
                found.add(folder.name)
    return sorted(found)


def module_files(root: Path, release: str) -> list[str]:
    """Return every file below a kernel's modules that is an nvidia module, whoever owns it.

    Paths are relative to /lib/modules/RELEASE.
    """
    base = root / "lib/modules" / release
    return sorted(
        str(path.relative_to(base)) for path in base.rglob("nvidia*.ko*") if _is_module(path)
    )


def _is_module(path: Path) -> bool:
    return _MODULE_FILE.match(path.name) is not None


def userspace_origin(root: Path) -> Record:
    """Return how the libraries were installed: ``by`` and the ``packages`` that own them.

    ``by`` is packages, runfile, unknown, or None where there are no libraries.
    """
    library = next(iter(library_files(root).values()), None)
    if library is None:
        return {"by": None, "packages": []}
    packages = _owners(root, library)
    if packages:
        return {"by": PACKAGES, "packages": packages}
    installed = any((root / path).is_file() for path in _UNINSTALLERS)
    return {"by": RUNFILE if installed else UNKNOWN, "packages": []}


def _owners(root: Path, library: Path) -> list[str]:
    """Return the packages that brought a file, by dpkg's lists or rpm."""
    # With a merged /usr, dpkg's list may have the path without it.
    names = {f"/{library}", "/" + str(library).partition("usr/")[2], f"/usr/{library}"}
    owners = set()
    for path in (root / "var/lib/dpkg/info").glob("*.list"):
        lines = (read_text(path) or "").splitlines()
        if names & set(lines):
            owners.add(path.name.removesuffix(".list").partition(":")[0])
    if owners or not (root / "var/lib/rpm").is_dir():
        return sorted(owners)
    try:
        format_ = ["--queryformat", "%{NAME}\n"]
        told = run(["rpm", "--root", str(root), "-qf", *format_, f"/{library}"]).stdout
    except (CommandMissing, CommandFailed, CommandTimedOut):
        return []
    return sorted(set(told.split()))
