# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""NVIDIA's installer on the controller: what it would bring, and whether it is the one meant.

It is a shell script with an archive behind it (makeself). The script's head names the driver:
``label="NVIDIA Accelerated Graphics Driver for Linux-x86_64 595.58.03"``; so does the file's name,
NVIDIA-Linux-x86_64-595.58.03.run.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from .._host.files import sha256_of

_HEAD_BYTES = 1 << 16
_LABEL = re.compile(rb'(?m)^label="?NVIDIA [^"\n]* (\d+(?:\.\d+)+)"?\s*$')
_NAME = re.compile(r"NVIDIA-Linux-\w+-(\d+(?:\.\d+)+)(?:-[\w-]+)?\.run")


@dataclass(frozen=True)
class Installer:
    """The file as it was given and as it is.

    Attributes:
        path: where it is on the controller.
        expected: the checksum that it has to have.
        sha256: the one that it has; None where there is no such file.
        release: the driver's release that it brings; None where neither head nor name tells.
    """

    path: str
    expected: str
    sha256: str | None
    release: str | None

    @property
    def is_the_one(self) -> bool:
        """Whether the file is there and the one that was meant."""
        return self.sha256 is not None and self.sha256 == self.expected


def inspect(path: str, expected: str) -> Installer:
    """Return what an installer is; reads it whole for its checksum."""
    file = Path(path).expanduser()
    try:
        with file.open("rb") as stream:
            head = stream.read(_HEAD_BYTES)
        return Installer(path, expected, sha256_of(file), release_of(head, file.name))
    except OSError:
        return Installer(path, expected, None, None)


def release_of(head: bytes, name: str) -> str | None:
    """Return the driver's release by an installer's first bytes, else by its name, or None."""
    label = _LABEL.search(head)
    if label is not None:
        return label.group(1).decode("ascii")
    named = _NAME.fullmatch(name)
    return named.group(1) if named else None
