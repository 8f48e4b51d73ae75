# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""GRUB's own programs, called the way that cannot damage what is in place."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path
from typing import Protocol

from .._host.commands import CommandFailed, run
from .interface import BootConfigurationRefused

# os-prober and a slow disk; grub-mkconfig itself takes seconds.
_GENERATE_SECONDS = 300.0
_LANGUAGE = re.compile(r"^\s*set lang=(\w+)$", re.MULTILINE)


class GrubTools(Protocol):
    """What the loaders need of the installed GRUB."""

    def generate(self, like: bytes) -> bytes:
        """Return a newly generated grub.cfg in the language of the one given."""

    def check(self, script: bytes) -> None:
        """Raise BootConfigurationRefused where the script is not well-formed."""


class InstalledGrub:
    """The grub-mkconfig and grub-script-check of this host, or grub2-... with that prefix."""

    def __init__(self, prefix: str = "grub") -> None:
        self._mkconfig = f"{prefix}-mkconfig"
        self._script_check = f"{prefix}-script-check"

    def generate(self, like: bytes) -> bytes:
        """Return what grub-mkconfig makes of the present configuration.

        It writes into a private directory: update-grub and ``grub-mkconfig -o`` copy over the
        live file with cat, which a crash or a full disk interrupts half-way.

        The generator translates titles and writes ``set lang=``, so it runs in the language in
        which ``like`` was made; otherwise every run would change lines that are not ours.

        Raises:
            CommandFailed, CommandMissing, CommandTimedOut.
        """
        found = _LANGUAGE.search(like.decode("utf-8", "replace"))
        language = f"{found[1]}.UTF-8" if found else "C"
        with tempfile.TemporaryDirectory(prefix="gpufleet-grub-") as directory:
            output = Path(directory) / "grub.cfg"
            run(
                [self._mkconfig, "-o", str(output)],
                timeout=_GENERATE_SECONDS,
                env={"LANG": language, "LC_ALL": "", "LANGUAGE": ""},
            )
            return output.read_bytes()

    def check(self, script: bytes) -> None:
        """Run grub-script-check on the script.

        Raises:
            BootConfigurationRefused: with the line that grub-script-check names.
        """
        with tempfile.TemporaryDirectory(prefix="gpufleet-grub-") as directory:
            path = Path(directory) / "grub.cfg"
            path.write_bytes(script)
            try:
                run([self._script_check, str(path)])
            except CommandFailed as error:
                raise BootConfigurationRefused(
                    "grub_script_malformed",
                    read=error.read,
                    want="a configuration that grub-script-check accepts",
                    remedy="look for syntax errors in /etc/default/grub, /etc/grub.d and"
                    " /boot/grub/custom.cfg",
                ) from error
