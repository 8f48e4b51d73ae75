# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How far a build is: objects compiled, by its log, of those that the source names.

The log is the only thing that a running build shows. A driver's makefiles name every source in
lists, so the number to come is known before; generated files make it a percent or two too small.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from .._host.files import read_text

# " [ nvidia            ]  CC           generated/g_bindata.c" of the resource manager's makefiles,
# "  CC [M]  /…/kernel-open/nvidia/nv.o" of kbuild.
_COMPILED = re.compile(r"(?m)^\s*(?:\[ [\w-]+ +\]\s+)?(?:CC|CXX)(?: \[M\])?\s+\S")
_LISTED = re.compile(r"(?m)^SRCS(?:_CXX)? \+= \S")
_NAMED = re.compile(r"[\w./-]+\.c\b")
_LISTS = ("src/nvidia/srcs.mk", "src/nvidia-modeset/srcs.mk")


@dataclass(frozen=True)
class Progress:
    """Objects compiled and expected (None: the source does not tell), and the log's path."""

    objects: int
    expected: int | None
    log: Path


def compiled_objects(log: str) -> int:
    """Return how many objects a build's log says were compiled."""
    return len(_COMPILED.findall(log))


def expected_objects(tree: Path) -> int | None:
    """Return how many objects a build of the source tree compiles, None where it does not say."""
    count = sum(len(_LISTED.findall(read_text(tree / name) or "")) for name in _LISTS)
    named, modules = set(), set()
    for path in (tree / "kernel-open").glob("*/*.Kbuild"):
        named |= set(_NAMED.findall(read_text(path) or ""))
        modules.add(path.parent.name)
    # Each module has one more object, with its version information.
    return count + len(named) + len(modules) if named else None


def running_build(directory: Path, name: str, version: str) -> Progress | None:
    """Return the progress of the newest build of a package below a builder's directory, or None.

    ``directory`` holds one folder for each content; where a build has ended no log is left there.
    """
    logs = sorted(
        directory.glob(f"*/dkms/{name}/{version}/build/make.log"), key=_changed, reverse=True
    )
    for log in logs:
        text = read_text(log)
        if text is not None:
            home = log.parents[4]
            tree = home / "source" / f"{name}-{version}"
            return Progress(compiled_objects(text), expected_objects(tree), log)
    return None


def _changed(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0.0
