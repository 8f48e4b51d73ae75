# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which release of NVIDIA's userspace libraries a host has: it must equal the module's exactly.

The module's own comes from /proc/driver/nvidia/version or /sys/module/nvidia/version.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from .files import read_text

_LIBRARY_DIRECTORIES = (
    "usr/lib/x86_64-linux-gnu",
    "usr/lib/aarch64-linux-gnu",
    "usr/lib64",
    "usr/lib",
    "lib/x86_64-linux-gnu",
    "lib64",
    "usr/local/lib",
)
_LIBRARIES = ("libcuda.so", "libnvidia-ml.so")
# "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  595.58.03  Release Build  (root@…) …",
# in the proprietary module "NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.104.05  Sat …".
_NVRM_VERSION = re.compile(r"(?m)^NVRM version: .*?\bKernel Module\b.*? +([0-9]+(?:\.[0-9]+)+)\b")
_VERSION = re.compile(r"[0-9]+(?:\.[0-9]+)+")
_VERSIONED = re.compile(r"^lib[a-z-]+\.so\.(\d+(?:\.\d+)+)$")
_MAX_LINKS = 16


def userspace_version(root: Path) -> str | None:
    """Return the driver release of libcuda or libnvidia-ml, such as "595.58.03", or None.

    The release is the suffix of the file that the loader's name (libcuda.so.1) leads to, through
    Debian's alternatives where they are used; libnvidia-ml is asked where there is no libcuda.
    """
    return next(iter(library_releases(root).values()), None)


def library_releases(root: Path) -> dict[str, str]:
    """Return the release of each of libcuda.so.1 and libnvidia-ml.so.1 that is there."""
    return {
        name: match.group(1)
        for name, path in library_files(root).items()
        if (match := _VERSIONED.match(path.name))
    }


def library_files(root: Path) -> dict[str, Path]:
    """Return the file, relative to ``root``, behind each of the two libraries that is there."""
    found: dict[str, Path] = {}
    for library in _LIBRARIES:
        for directory in _LIBRARY_DIRECTORIES:
            file = _file_behind(root, Path(directory) / f"{library}.1")
            if file is not None:
                found.setdefault(f"{library}.1", file)
    return found


def parse_module_version(text: str) -> str | None:
    """Return the release in the text of /proc/driver/nvidia/version, or None."""
    match = _NVRM_VERSION.search(text)
    return match.group(1) if match else None


def loaded_release(root: Path) -> tuple[str | None, str]:
    """Return the loaded module's release and the file that tells it; None where none does."""
    told = parse_module_version(read_text(root / "proc/driver/nvidia/version") or "")
    if told is not None:
        return told, "/proc/driver/nvidia/version"
    text = (read_text(root / "sys/module/nvidia/version") or "").strip()
    if _VERSION.fullmatch(text):
        return text, "/sys/module/nvidia/version"
    return None, ""


def _file_behind(root: Path, link: Path) -> Path | None:
    """Follow ``link`` (relative to root), keeping absolute targets below root."""
    current = link
    for _link in range(_MAX_LINKS):
        path = root / current
        if not path.is_symlink():
            return current if _VERSIONED.match(current.name) and path.is_file() else None
        target = str(path.readlink())
        joined = target.lstrip("/") if target.startswith("/") else str(current.parent / target)
        current = Path(os.path.normpath(joined))
    return None
