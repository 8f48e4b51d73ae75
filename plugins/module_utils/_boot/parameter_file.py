# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The files from which new boot entries take their kernel parameters, one class for each kind.

What is written is what the host's own tool reads the next time that it makes an entry, so that a
new kernel boots as the present ones do.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .._host.files import read_bytes
from .._host.foreign_text import parse_json
from .cmdline import CommandLine, Parameter, parse
from .interface import BootConfigurationRefused
from .option_text import with_words, without_words, words_of

KERNEL_CMDLINE = Path("etc/kernel/cmdline")
VENDOR_CMDLINE = Path("usr/lib/kernel/cmdline")
KERNELSTUB = Path("etc/kernelstub/configuration")

Runs = Sequence[Sequence[Parameter]]


class ParameterFile(ABC):
    """A file of kernel parameters; ``path`` is where it lies below the root."""

    path: Path

    @abstractmethod
    def line(self, data: bytes) -> CommandLine:
        """Return the parameters in a file of these bytes."""

    @abstractmethod
    def edited(self, data: bytes, taken: Runs, put: Sequence[Parameter]) -> bytes:
        """Return the file with one run of parameters replaced.

        Args:
            data: the file as it is.
            taken: runs of parameters; the longest that the file has is taken out.
            put: what comes last in it.
        """

    def read(self, root: Path) -> bytes | None:
        """Return the file's bytes, None where it is not there."""
        return read_bytes(root / self.path)


class KernelCmdline(ParameterFile):
    """/etc/kernel/cmdline: words, which kernel-install and proxmox-boot-tool put into entries.

    Lines that begin with # are comments to kernel-install from systemd 254 on, and are left alone.
    ``first_line`` tells that nothing after the first line counts, as proxmox-boot-tool has it.
    """

    path = KERNEL_CMDLINE

    def __init__(self, *, first_line: bool = False) -> None:
        self._first_line = first_line

    def _lines(self, data: bytes) -> tuple[list[str], list[int]]:
        """Return all lines with their ends, and which of them count."""
        lines = data.decode("utf-8", "surrogateescape").splitlines(keepends=True) or [""]
        if self._first_line:
            return lines, [0]
        counted = [n for n, text in enumerate(lines) if not text.lstrip().startswith("#")]
        words = [n for n in counted if lines[n].strip()] or counted
        return (lines, words) if words else ([*lines, ""], [len(lines)])

    def line(self, data: bytes) -> CommandLine:
        """Return the parameters, initrd= apart, which tools leave out."""
        lines, counted = self._lines(data)
        return parse(" ".join(lines[n] for n in counted)).without(["BOOT_IMAGE", "initrd"])

    def edited(self, data: bytes, taken: Runs, put: Sequence[Parameter]) -> bytes:
        """Return the file with one run of parameters replaced."""
        lines, counted = self._lines(data)
        for number in reversed(counted):
            kept = without_words(lines[number], *map(words_of, taken))
            if kept != lines[number]:
                lines[number] = kept
                break
        lines[counted[-1]] = with_words(lines[counted[-1]], words_of(put))
        return "".join(lines).encode("utf-8", "surrogateescape")


class KernelstubConfiguration(ParameterFile):
    """Pop!_OS's /etc/kernelstub/configuration: a JSON document with a list of options.

    It is written as kernelstub's own save_config() does.
    """

    path = KERNELSTUB

    def line(self, data: bytes) -> CommandLine:
        """Return the user's options, which kernelstub puts behind root= and ro.

        Raises:
            BootConfigurationRefused: the document is not kernelstub's.
        """
        return parse(" ".join(self._options(self._document(data))))

    def edited(self, data: bytes, taken: Runs, put: Sequence[Parameter]) -> bytes:
        """Return the document with one run of options replaced.

        Raises:
            BootConfigurationRefused: the document is not kernelstub's.
        """
        document = self._document(data)
        options = self._options(document)
        for run in sorted(taken, key=len, reverse=True):
            words = words_of(run)
            starts = range(len(options) - len(words), -1, -1) if words else ()
            start = next((s for s in starts if options[s : s + len(words)] == words), None)
            if start is not None:
                del options[start : start + len(words)]
                break
        document["user"]["kernel_options"] = [*options, *words_of(put)]
        return json.dumps(document, indent=2).encode()

    @staticmethod
    def _document(data: bytes) -> dict[str, Any]:
        try:
            document = parse_json(data)
            options = document["user"]["kernel_options"]
            if all(isinstance(option, str) for option in options) and isinstance(options, list):
                return dict(document)
            read = f"kernel_options is {options!r}"
        except (ValueError, KeyError, TypeError) as error:
            read = f"{type(error).__name__}: {error}"
        raise BootConfigurationRefused(
            "kernelstub_configuration_unreadable",
            read=f"/{KERNELSTUB}: {read}",
            want="a document with a list of options in user, kernel_options",
            remedy="run kernelstub once, which brings its configuration up to date",
        )

    @staticmethod
    def _options(document: dict[str, Any]) -> list[str]:
        # kernelstub leaves empty items behind where it joined quoted words.
        return list(document["user"]["kernel_options"])
