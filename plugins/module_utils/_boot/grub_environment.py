# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""GRUB's environment block: the 1024 bytes that GRUB itself can rewrite while booting.

Written here as a whole and renamed into place: grub-editenv truncates the file before it writes,
so a power cut at that instant leaves an empty block.
"""

from __future__ import annotations

import re
from pathlib import Path

from .._host.files import read_bytes
from .interface import BootConfigurationRefused

BLOCK_BYTES = 1024
_HEADER = b"# GRUB Environment Block\n"
# A value ends at a line end that no backslash precedes (grub-core/lib/envblk.c).
_ASSIGNMENT = re.compile(rb"([^=\n#][^=\n]*)=((?:\\.|[^\\\n])*)\n", re.DOTALL)


def parse(data: bytes) -> dict[str, str]:
    """Return the variables in order.

    Raises:
        BootConfigurationRefused: not a block that GRUB would accept.
    """
    if len(data) != BLOCK_BYTES or not data.startswith(_HEADER):
        raise BootConfigurationRefused(
            "grub_environment_unusable",
            read=f"{len(data)} bytes that begin {data[:24]!r}",
            want=f"{BLOCK_BYTES} bytes that begin {_HEADER.decode().strip()!r}",
            remedy="recreate it with: grub-editenv /boot/grub/grubenv create",
        )
    return {
        match[1].decode("utf-8", "surrogateescape"): re.sub(
            rb"\\(.)", rb"\1", match[2], flags=re.DOTALL
        ).decode("utf-8", "surrogateescape")
        for match in _ASSIGNMENT.finditer(data[len(_HEADER) :])
    }


def updated(data: bytes, name: str, value: str | None) -> bytes:
    """Return the block with ``name`` set to ``value``, or without it where value is None.

    Everything else, comments included, stays as it was.

    Raises:
        BootConfigurationRefused: the block is malformed, or full.
    """
    parse(data)
    body = data[len(_HEADER) :].rstrip(b"#")
    key = name.encode()
    kept = re.sub(
        rb"^" + re.escape(key) + rb"=(?:\\.|[^\\\n])*\n", b"", body, flags=re.MULTILINE | re.DOTALL
    )
    if value is not None:
        escaped = re.sub(rb"([\\\n])", rb"\\\1", value.encode("utf-8", "surrogateescape"))
        kept += key + b"=" + escaped + b"\n"
    result = _HEADER + kept
    if len(result) > BLOCK_BYTES:
        raise BootConfigurationRefused(
            "grub_environment_full",
            read=f"{len(result)} bytes needed",
            want=f"at most {BLOCK_BYTES}",
            remedy="remove unused variables with: grub-editenv /boot/grub/grubenv unset NAME",
        )
    return result.ljust(BLOCK_BYTES, b"#")


def read(path: Path) -> bytes:
    """Return the block's bytes.

    Raises:
        BootConfigurationRefused: absent, a link, or not a block that GRUB would accept.
    """
    if path.is_symlink():
        raise BootConfigurationRefused(
            "grub_environment_is_a_link",
            read=f"{path} points to {path.readlink()}",
            want="a file on the file system of /boot/grub",
            remedy="replace the link by a file: grub-editenv /boot/grub/grubenv create",
        )
    data = read_bytes(path)
    if data is None:
        raise BootConfigurationRefused(
            "grub_environment_missing",
            read=f"no {path}",
            want="GRUB's environment block, in which a one-shot boot is recorded",
            remedy="create it with: grub-editenv /boot/grub/grubenv create",
        )
    parse(data)
    return data
