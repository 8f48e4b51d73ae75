# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hashes of what an image is made from, by which it is found again."""

from __future__ import annotations

import fnmatch
import hashlib
import os
from collections.abc import Iterable
from pathlib import Path

KEY_DIGITS = 16
# What a build in the checkout leaves beside the sources.
BUILT = (
    *("*.o", "*.ko", "*.mod", "*.mod.c", "*.cmd", "*.o_binary", "*.symvers", "modules.order"),
    *("*.so", "*.so.*", "_out", "build", "__pycache__"),
)


def content_key(directory: Path, words: Iterable[str], parts: Iterable[str] = (".",)) -> str:
    """Return a hash of words and of files, by which a layer made from them is found again.

    Args:
        directory: whose files' paths, executable bits and contents count; not what a build left.
        words: what else counts.
        parts: the subdirectories that count.
    """
    digest = hashlib.sha256()
    for word in words:
        digest.update(word.encode() + b"\0")
    paths = (path for part in parts for path in sorted((directory / part).rglob("*")))
    for path in paths:
        relative = path.relative_to(directory)
        if path.is_file() and not any(_is_built(name) for name in relative.parts):
            content = path.read_bytes()
            executable = os.access(path, os.X_OK)
            digest.update(f"{relative.as_posix()}\0{executable}\0{len(content)}\0".encode())
            digest.update(content)
    return digest.hexdigest()[:KEY_DIGITS]


def _is_built(name: str) -> bool:
    return any(fnmatch.fnmatch(name, pattern) for pattern in BUILT)
