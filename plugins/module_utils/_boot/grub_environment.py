# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""GRUB's environment block: the 1024 bytes that GRUB itself can rewrite while booting.

Written here as a whole and renamed into place: grub-editenv truncates the file before it writes,
so a power cut at that instant leaves an empty block.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from .._host.files import FileChange, atomic_write, mode_of, read_bytes
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
            remedy="recreate it with grub-editenv (grub2-editenv on Fedora and openSUSE): create",
        )
    return {
        match[1].decode("utf-8", "surrogateescape"): re.sub(
            rb"\\(.)", rb"\1", match[2], flags=re.DOTALL
        ).decode("utf-8", "surrogateescape")
        for match in _ASSIGNMENT.finditer(data[len(_HEADER) :])
    }


def updated(data: bytes, name: str, value: str | None) -> bytes:
    """Return the block with ``name`` set to ``value``, or without it where value is None.

    A value takes the place of the former one, as grub-editenv has it; everything else, comments
    included, stays as it was.

    Raises:
        BootConfigurationRefused: the block is malformed, or full.
    """
    parse(data)
    body = data[len(_HEADER) :].rstrip(b"#")
    assignment = re.compile(
        rb"^" + re.escape(name.encode()) + rb"=(?:\\.|[^\\\n])*\n", re.MULTILINE | re.DOTALL
    )
    line = b""
    if value is not None:
        escaped = re.sub(rb"([\\\n])", rb"\\\1", value.encode("utf-8", "surrogateescape"))
        line = name.encode() + b"=" + escaped + b"\n"
    former = assignment.search(body)
    at = former.start() if former else len(body)
    kept = assignment.sub(b"", body[:at]) + line + assignment.sub(b"", body[at:])
    result = _HEADER + kept
    if len(result) > BLOCK_BYTES:
        raise BootConfigurationRefused(
            "grub_environment_full",
            read=f"{len(result)} bytes needed",
            want=f"at most {BLOCK_BYTES}",
            remedy="remove unused variables with: grub-editenv - unset NAME (grub2-editenv on"
            " Fedora and openSUSE)",
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
            want="a file on the file system that GRUB has its configuration on",
            remedy=f"replace the link by a file: grub-editenv {path} create",
        )
    data = read_bytes(path)
    if data is None:
        raise BootConfigurationRefused(
            "grub_environment_missing",
            read=f"no {path}",
            want="GRUB's environment block, in which a one-shot boot is recorded",
            remedy=f"create it with: grub-editenv {path} create",
        )
    parse(data)
    return data


def set_variable(name: str, path: Path, variable: str, value: str | None) -> SetVariable:
    """Return the step that sets ``variable`` of the block at ``path``.

    Raises:
        BootConfigurationRefused: the block could not take it.
    """
    block = read(path)
    updated(block, variable, value)
    return SetVariable(name, path, variable, parse(block).get(variable), value)


@dataclass(frozen=True)
class SetVariable:
    """A step that sets one variable of the block, or removes it where ``after`` is None.

    It reads the block when it is applied: others write their own variables into it meanwhile, the
    step before this one and ``grub2-set-bootflag`` at each login.
    """

    name: str
    path: Path
    variable: str
    before: str | None
    after: str | None

    def apply(self) -> bool:
        """Set the variable; return whether the block changed.

        Raises:
            BootConfigurationRefused: the block is malformed or full; it is untouched.
            OSError: the file system refused; the block is untouched.
        """
        return self._set(self.after)

    def undo(self) -> None:
        """Put back the former value."""
        self._set(self.before)

    def _set(self, value: str | None) -> bool:
        block = updated(read(self.path), self.variable, value)
        return atomic_write(self.path, block, mode=mode_of(self.path, 0o644), settled=True)

    def as_diff(self) -> dict[str, str]:
        """Return Ansible's diff record, of the one variable."""
        before, after = (self._line(value) for value in (self.before, self.after))
        return FileChange(self.path, before, after).as_diff()

    def _line(self, value: str | None) -> bytes | None:
        line = f"{self.variable}={value}\n"
        return None if value is None else line.encode("utf-8", "surrogateescape")
