# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""GRUB as its own project installs it: grub-mkconfig and one /etc/default/grub, without drop-ins.

So it is on Arch (/boot/grub, grub-mkconfig) and openSUSE (/boot/grub2, grub2-mkconfig). Whoever
runs the generator next, a kernel package or an administrator, finds our line in the same file.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from .._host.files import read_bytes
from . import grub_defaults, own_line
from .cmdline import Parameter, from_arguments
from .grub_config import CONFIG, DIRECTORY
from .grub_generated import VARIABLE, GeneratedGrub, arguments
from .grub_tools import GrubTools
from .interface import Step

_DIRECTORIES = {"grub": DIRECTORY, "grub2": Path("boot/grub2")}
_PROGRAM_PLACES = ("usr/bin", "usr/sbin")


class GrubMkconfig(GeneratedGrub):
    """The configuration in /etc/default/grub and /boot/grub or grub2 of the tree at ``root``."""

    name = "grub_mkconfig"
    own_source = own_line.OWN_SOURCE

    def __init__(
        self,
        root: Path = Path("/"),
        *,
        prefix: str = "grub",
        firmware: str = "bios",
        vendor: str | None = None,
        tools: GrubTools | None = None,
    ) -> None:
        self.program_prefix = prefix
        self.directory = _DIRECTORIES[prefix]
        super().__init__(root, firmware=firmware, vendor=vendor, tools=tools)

    def own_parameters(self) -> tuple[Parameter, ...] | None:
        """Return what our line appends; None where there is none."""
        values = own_line.values_of(read_bytes(self.root / grub_defaults.MAIN) or b"")
        return None if values is None else from_arguments(arguments(values.default)).parameters

    def own_steps(self, parameters: Sequence[Parameter] | None) -> list[Step]:
        """Return what writes or removes our line; nothing where it is so."""
        line = None if parameters is None else grub_defaults.appending(VARIABLE, parameters)
        return own_line.line_step(self.root, line)

    def sources(
        self, parameters: Sequence[Parameter], scratch: Path
    ) -> list[tuple[Path, Path, bool]]:
        """Return the one file, without our line and then our line alone."""
        line = grub_defaults.appending(VARIABLE, parameters)
        return [(*pair, False) for pair in own_line.planned_sources(self.root, line, scratch)]


def recognise(root: Path, firmware: str, vendor: str | None) -> GrubMkconfig | None:
    """Return the boot loader of a host that has all of its evidence, else None.

    The generator, the file that it reads and the one that it writes have to be there, and no
    update-grub: then it is a Debian, whose generator reads drop-ins too.
    """
    if (root / "usr/sbin/update-grub").exists():
        return None
    for prefix, directory in _DIRECTORIES.items():
        programs = [root / place / f"{prefix}-mkconfig" for place in _PROGRAM_PLACES]
        files = [root / directory / CONFIG, root / grub_defaults.MAIN]
        if any(path.is_file() for path in programs) and all(path.is_file() for path in files):
            return GrubMkconfig(root, prefix=prefix, firmware=firmware, vendor=vendor)
    return None
