# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A driver build's source, from its description to a packed, verified, described archive."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

from .._host.files import atomic_write, read_text
from .._host.foreign_text import parse_json
from .bundle import Bundle, bundle
from .distribution import distribution_source
from .fetch import Obtained, obtain
from .lock import parse_lock, require_content, require_locked
from .registry import module_parameters
from .source import describe
from .specification import DriverBuild, parse

# What source.describe() tells, and in which form.
_DESCRIPTION = {"version": str, "prebuilt": bool, "modules": list, "resize_arguments": list}


def locked_source(
    data: object, lock_data: object, cache: Path, *, source: Path | None = None
) -> dict[str, Any]:
    """Return what the module driver_source returns for a build's description and its lock.

    The order is from cheap to dear: description, lock, fetch, checksums, content, patches.

    Args:
        data: the value of p2p_driver.
        lock_data: the value of p2p_driver_lock, None for none.
        cache: folder that keeps downloads, checkouts and archives.
        source: the source where it is here already.

    Raises:
        SpecificationInvalid, LockInvalid, LockMismatch: before anything is fetched.
        SourceUnavailable, DistributionSourceMissing, SourceRefused: by what was fetched.
    """
    build = parse(data)
    lock = None if lock_data is None else parse_lock(lock_data)
    if lock is not None:
        require_locked(build, lock)
    packed, obtained = pack(build, cache, source=source)
    if lock is not None:
        require_content(packed.key, lock)
    return {
        "changed": packed.changed,
        "archive": str(packed.archive),
        "key": packed.key,
        "patches": [str(patch) for patch in obtained.patches],
        "build": build.as_dict(),
        "description": _description(build, packed, obtained, cache),
        "module_parameters": module_parameters(build.registry_numbers()),
    }


def pack(build: DriverBuild, cache: Path, *, source: Path | None = None) -> tuple[Bundle, Obtained]:
    """Fetch and verify what a build is made of, and pack it by its content.

    Raises:
        SourceUnavailable, DistributionSourceMissing, SourceRefused.
    """
    if build.source.kind != "distribution" or source is not None:
        obtained = obtain(build, cache, source=source)
        return bundle(
            obtained.source, obtained.patches, version=build.version, cache=cache
        ), obtained
    wanted = build.source
    with tempfile.TemporaryDirectory(prefix="gpufleet-source-") as directory:
        tree = distribution_source(
            wanted.location, build.version, Path(directory) / "tree", sha256=wanted.sha256
        )
        obtained = obtain(build, cache, source=tree)
        packed = bundle(tree, obtained.patches, version=build.version, cache=cache)
    return packed, Obtained(packed.archive, obtained.patches)


def _description(
    build: DriverBuild, packed: Bundle, obtained: Obtained, cache: Path
) -> dict[str, Any]:
    """Return the patched source's description, kept beside the archive: staging takes seconds."""
    kept = cache / f"{packed.key}.json"
    known = _known_description(read_text(kept))
    if known is not None:
        return known
    described = describe(
        packed.archive, obtained.patches, version=build.version, scratch=cache
    ).as_dict()
    atomic_write(kept, json.dumps(described).encode())
    return described


def _known_description(text: str | None) -> dict[str, Any] | None:
    """Return the description in a file of the cache; None where it is none and has to be made."""
    try:
        fields = parse_json(text or "")
        whole = all(isinstance(fields[name], kind) for name, kind in _DESCRIPTION.items())
    except (ValueError, KeyError, TypeError):
        return None
    return dict(fields) if whole else None
