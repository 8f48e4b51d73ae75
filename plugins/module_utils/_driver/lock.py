# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lock: a driver build resolved to commit and checksums, which later runs are held to.

The lock is data of the inventory (variables p2p_driver and p2p_driver_lock in one file), so that it
is reviewed and versioned with it. What a run is asked to build is compared with the lock before
anything is fetched, and what was fetched before anything is built.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .._host.errors import GpufleetError
from .faults import SpecificationInvalid
from .specification import DriverBuild, parse

SCHEMA = 1
_CONTENT = re.compile(r"[0-9a-f]{64}")


class LockInvalid(GpufleetError):
    """The lock is not one of this schema."""


class LockMismatch(GpufleetError):
    """What is to be built is not what was locked."""


@dataclass(frozen=True)
class Lock:
    """A locked build.

    Attributes:
        choice: what the operator asked for.
        build: the build, with commit and checksums.
        content: SHA-256 over the source's files and the patches, as driver_source returns it in
            ``key``: the same for a repository, a mirror of it, or an archive of its content.
    """

    choice: str
    build: DriverBuild
    content: str

    def as_dict(self) -> dict[str, Any]:
        """Return the value of p2p_driver_lock."""
        return {
            "schema": SCHEMA,
            "choice": self.choice,
            "build": self.build.as_dict(),
            "content": self.content,
        }


def parse_lock(data: object) -> Lock:
    """Return the lock that ``data`` (the value of p2p_driver_lock) describes.

    Raises:
        LockInvalid: another schema, or a build or checksum that is none.
    """
    if not isinstance(data, Mapping) or data.get("schema") != SCHEMA:
        schema = data.get("schema") if isinstance(data, Mapping) else None
        raise _invalid(f"schema {schema!r}")
    content = data.get("content")
    if not isinstance(content, str) or not _CONTENT.fullmatch(content):
        raise _invalid(f"content {content!r}")
    try:
        build = parse(data.get("build"), "p2p_driver_lock.build")
    except SpecificationInvalid as error:
        raise _invalid(error.read) from error
    return Lock(str(data.get("choice", "")), build, content)


def require_locked(build: DriverBuild, lock: Lock) -> None:
    """Refuse a build that differs from the locked one in anything that is compiled.

    Registry and userspace are settings of the hosts and no part of the lock.

    Raises:
        LockMismatch: naming every field that differs.
    """
    asked, locked = _compiled(build), _compiled(lock.build)
    different = [name for name in asked if asked[name] != locked[name]]
    if different:
        raise LockMismatch(
            "driver_lock_mismatch",
            read="; ".join(f"p2p_driver.{name}: {asked[name]}" for name in different),
            want="; ".join(f"p2p_driver.{name}: {locked[name]}" for name in different),
            remedy="run gpufleet driver lock again and review what changed, or take p2p_driver back"
            " to what was locked",
        )


def require_content(key: str, lock: Lock) -> None:
    """Refuse a source whose content is not what was locked.

    Raises:
        LockMismatch.
    """
    if key != lock.content:
        raise LockMismatch(
            "driver_lock_content_mismatch",
            read=f"source and patches with content {key}",
            want=f"content {lock.content}, as it was locked for {lock.choice}",
            remedy="find out who changed the source or a patch; lock again if the change is wanted",
        )


def _compiled(build: DriverBuild) -> dict[str, Any]:
    # A patch is what it contains: the same file below another path is the same patch.
    return {
        "version": build.version,
        "source": build.source.as_dict(),
        "patches": [patch.sha256 or patch.location for patch in build.patches],
    }


def _invalid(read: str) -> LockInvalid:
    return LockInvalid(
        "driver_lock_invalid",
        read=read,
        want=f"a lock of schema {SCHEMA} that gpufleet driver lock wrote",
        remedy="run gpufleet driver lock again",
    )
