# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The running kernel, the installed ones, and which of them modules can be built for."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from .compiler import KernelCompiler, running_compiler
from .files import read_text
from .foreign_text import decimal

#: The parameter that a boot on trial, and no other, has on its command line; its value is a token.
TRIAL_PARAMETER = "gpufleet.trial"


@dataclass(frozen=True)
class Kernel:
    """The running kernel; ``installed`` and ``with_headers`` list releases, oldest first.

    ``boot_id`` is the kernel's random name of this boot, empty where it could not be read;
    ``compiler`` is what the running kernel was built with, None where it does not tell.
    """

    release: str
    architecture: str
    cmdline: str
    boot_id: str
    compiler: KernelCompiler | None
    installed: tuple[str, ...]
    with_headers: tuple[str, ...]

    @property
    def headers(self) -> bool:
        """Whether modules can be built for the running release."""
        return self.release in self.with_headers


def release_order(release: str) -> tuple[tuple[int, int, str], ...]:
    """Return a sort key that puts 6.1.0-9 before 6.1.0-10."""
    parts = [(part, decimal(part)) for part in re.findall(r"[0-9]+|[^0-9]+", release)]
    return tuple((0, 0, part) if number is None else (1, number, "") for part, number in parts)


def running_release(root: Path = Path("/")) -> str:
    """Return the running kernel's release, such as 6.1.0-32-amd64."""
    return (read_text(root / "proc/sys/kernel/osrelease") or os.uname().release).strip()


def read_kernel(root: Path = Path("/")) -> Kernel:
    """Return the kernel facts of the host whose file system begins at ``root``."""
    # A left-over directory of a removed kernel holds DKMS modules at most, no kernel/.
    releases = sorted(
        (path.name for path in _directories(root / "lib/modules") if (path / "kernel").is_dir()),
        key=release_order,
    )
    return Kernel(
        release=running_release(root),
        architecture=(read_text(root / "proc/sys/kernel/arch") or os.uname().machine).strip(),
        cmdline=(read_text(root / "proc/cmdline") or "").strip(),
        boot_id=read_boot_id(root),
        compiler=running_compiler(root),
        installed=tuple(releases),
        with_headers=tuple(release for release in releases if _has_headers(root, release)),
    )


def read_boot_id(root: Path = Path("/")) -> str:
    """Return the random id that the kernel gave itself at boot, empty where there is none."""
    return (read_text(root / "proc/sys/kernel/random/boot_id") or "").strip()


def _has_headers(root: Path, release: str) -> bool:
    build = root / "lib/modules" / release / "build"
    # Debian's link is absolute; below another root it must be followed from there.
    if build.is_symlink():
        target = build.readlink()
        build = root / target.relative_to("/") if target.is_absolute() else build
    return (build / "Makefile").is_file()


def _directories(path: Path) -> list[Path]:
    try:
        return [entry for entry in path.iterdir() if entry.is_dir()]
    except OSError:
        return []
