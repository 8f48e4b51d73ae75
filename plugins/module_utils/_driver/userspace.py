# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which release of NVIDIA's userspace libraries a host has: it must equal the module's exactly."""

from __future__ import annotations

import os
import re
from pathlib import Path

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
_VERSIONED = re.compile(r"^lib[a-z-]+\.so\.(\d+(?:\.\d+)+)$")
_MAX_LINKS = 16


def userspace_version(root: Path) -> str | None:
    """Return the driver release of libcuda or libnvidia-ml, such as "595.58.03", or None.

    The release is the suffix of the file that the loader's name (libcuda.so.1) leads to, through
    Debian's alternatives where they are used; libnvidia-ml is asked where there is no libcuda.
    """
    for library in _LIBRARIES:
        for directory in _LIBRARY_DIRECTORIES:
            found = _release_behind(root, Path(directory) / f"{library}.1")
            if found is not None:
                return found
    return None


def _release_behind(root: Path, link: Path) -> str | None:
    """Follow ``link`` (relative to root), keeping absolute targets below root."""
    current = link
    for _link in range(_MAX_LINKS):
        path = root / current
        if not path.is_symlink():
            match = _VERSIONED.match(current.name)
            return match.group(1) if match and path.is_file() else None
        target = str(path.readlink())
        joined = target.lstrip("/") if target.startswith("/") else str(current.parent / target)
        current = Path(os.path.normpath(joined))
    return None
