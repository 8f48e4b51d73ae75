# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""GRUB as Debian and Ubuntu install it: an appending drop-in in /etc/default/grub.d."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from .._host.files import read_bytes
from . import grub_defaults
from .cmdline import Parameter, from_arguments
from .grub_config import DIRECTORY, ENVIRONMENT
from .grub_generated import VARIABLE, GeneratedGrub, arguments
from .interface import Step, WriteFile

DROP_IN = grub_defaults.DIRECTORY / "zz-gpufleet.cfg"
GRUBENV = DIRECTORY / ENVIRONMENT

_DROP_IN_HEADER = """\
# Written by gpufleet (kernel_cmdline); taken away again by kernel_cmdline with state: absent.
# It appends: what other files set stays, and the kernel lets the later parameter win.
"""


def drop_in_text(parameters: Sequence[Parameter]) -> str:
    """Return the drop-in that appends ``parameters`` to what the files before it set."""
    return f"{_DROP_IN_HEADER}{grub_defaults.appending(VARIABLE, parameters)}\n"


class GrubDebian(GeneratedGrub):
    """The configuration under /etc/default/grub* and /boot/grub of the tree at ``root``."""

    name = "grub_debian"
    own_source = DROP_IN

    def own_parameters(self) -> tuple[Parameter, ...] | None:
        """Return what the drop-in appends; None where there is no drop-in."""
        drop_in = self.root / DROP_IN
        if not drop_in.is_file():
            return None
        return from_arguments(arguments(grub_defaults.evaluate([drop_in])[0].default)).parameters

    def own_steps(self, parameters: Sequence[Parameter] | None) -> list[Step]:
        """Return what writes or removes the drop-in; nothing where it is so."""
        drop_in = self.root / DROP_IN
        present = read_bytes(drop_in)
        wanted = None if parameters is None else drop_in_text(parameters).encode()
        if present == wanted:
            return []
        name = "remove the drop-in" if wanted is None else "write the drop-in"
        return [WriteFile(name, drop_in, present, wanted)]

    def sources(
        self, parameters: Sequence[Parameter], scratch: Path
    ) -> list[tuple[Path, Path, bool]]:
        """Return the files of /etc/default/grub* in order, with the planned drop-in."""
        drop_in = self.root / DROP_IN
        planned = scratch / DROP_IN.name
        planned.write_text(drop_in_text(parameters), encoding="utf-8")
        others = grub_defaults.files(self.root, without=drop_in)
        later = [path for path in others if _sorts_after_ours(path, self.root)]
        return [
            *((path, path, False) for path in others if path not in later),
            (planned, drop_in, False),
            *((path, path, True) for path in later),
        ]


def _sorts_after_ours(path: Path, root: Path) -> bool:
    directory = root / grub_defaults.DIRECTORY
    return path.parent == directory and path.name.encode() > DROP_IN.name.encode()
