# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An entry of systemd-boot's menu: a file of the Boot Loader Specification, type 1.

https://uapi-group.org/specifications/specs/boot_loader_specification/
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path

from .cmdline import CommandLine, parse
from .interface import BootConfigurationRefused

ENTRIES = Path("loader/entries")
_FIELD = re.compile(r"^[ \t]*(?P<key>[a-z-]+)[ \t]+(?P<value>\S.*?)[ \t\r]*$", re.MULTILINE)


@dataclass(frozen=True)
class BootEntry:
    """One entry file; ``partition`` is where the file system that it names files on is mounted.

    ``identity`` is the file's name, by which boot loader and bootctl call the entry.
    """

    partition: Path
    identity: str
    text: str

    @property
    def path(self) -> Path:
        """The entry's file."""
        return self.partition / ENTRIES / self.identity

    @property
    def data(self) -> bytes:
        """The file's bytes."""
        return self.text.encode("utf-8", "surrogateescape")

    def value(self, key: str) -> str | None:
        """Return the last value of a key, as systemd-boot takes it; None where it is not there."""
        found = [match["value"] for match in _FIELD.finditer(self.text) if match["key"] == key]
        return found[-1] if found else None

    @property
    def options(self) -> str:
        """The kernel's command line as the file has it.

        Raises:
            BootConfigurationRefused: the entry has none, or more than one line of it.
        """
        return self._options_line()["value"]

    @property
    def line(self) -> CommandLine:
        """The kernel's command line, parsed; systemd-boot itself puts initrd= before it."""
        return parse(self.options)

    def with_options(self, options: str) -> BootEntry:
        """Return the entry with another command line, everything else as it is written."""
        start, end = self._options_line().span("value")
        return replace(self, text=self.text[:start] + options + self.text[end:])

    def _options_line(self) -> re.Match[str]:
        lines = [match for match in _FIELD.finditer(self.text) if match["key"] == "options"]
        if len(lines) != 1:
            raise BootConfigurationRefused(
                "boot_entry_unclear",
                read=f"{self.path} has {len(lines)} lines of options",
                want="exactly one, as kernel-install and kernelstub write it",
                remedy="write the kernel parameters of that entry into one line: options ...",
            )
        return lines[0]

    def missing_files(self) -> list[str]:
        """Return the kernel and initial file systems that are named and not there."""
        named = [m["value"] for m in _FIELD.finditer(self.text) if m["key"] in {"linux", "initrd"}]
        return [name for name in named if not (self.partition / name.lstrip("/")).is_file()]

    def belongs_with(self, other: BootEntry) -> bool:
        """Whether both boot a kernel of the same installed system, by machine id and root.

        Raises:
            BootConfigurationRefused: the entry has more than one line of options.
        """
        if self.value("linux") is None or self.value("options") is None:
            return False
        if self.value("machine-id") != other.value("machine-id"):
            return False
        return self.line.value_of("root") == other.line.value_of("root")


def read_entries(partition: Path) -> list[BootEntry]:
    """Return the entries below a mounted partition by name; hidden files are no entries."""
    directory = partition / ENTRIES
    return [
        BootEntry(partition, path.name, path.read_bytes().decode("utf-8", "surrogateescape"))
        for path in sorted(directory.glob("*.conf"))
        if not path.name.startswith((".", "auto-")) and path.is_file()
    ]
