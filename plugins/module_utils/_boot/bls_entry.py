# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Boot Loader Specification entries as GRUB's blscfg reads them: keys, variables, order.

The format is that of https://uapi-group.org/specifications/specs/boot_loader_specification, read
the way of grub-core/commands/blscfg.c, which is laxer and stricter in places. blscfg pastes the
value of ``options`` into the text of a menu entry, so GRUB's quoting rules hold in it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cmp_to_key
from pathlib import Path

from .._host.foreign_text import decimal
from .interface import BootConfigurationRefused

ENTRIES = Path("boot/loader/entries")
OPTIONS = "options"
_SUFFIX = ".conf"
_RESCUE = "-0-rescue"
_BLANKS = " \t"
# A variable takes the blank behind it along, and its value brings one (expand_val()).
_VARIABLE = re.compile(r"\$([A-Za-z0-9_]+) ?", re.ASCII)
_SEGMENT = re.compile(r"[0-9]+|[A-Za-z]+|[~+]", re.ASCII)


@dataclass(frozen=True)
class BlsEntry:
    """One entry file; ``keys`` are what GRUB reads of it, with the offsets of each value."""

    path: Path
    text: str
    keys: tuple[tuple[str, int, int], ...]

    @property
    def identity(self) -> str:
        """What ``saved_entry`` and ``next_entry`` call the entry: the file's name."""
        return self.path.name[: -len(_SUFFIX)]

    @property
    def is_rescue(self) -> bool:
        """Whether it is the rescue entry that the installer made, to be left as it is."""
        return _RESCUE in self.identity

    def value(self, key: str) -> str | None:
        """Return the first value of ``key``, the only one that GRUB takes, or None."""
        for name, start, end in self.keys:
            if name == key:
                return self.text[start:end]
        return None

    def with_value(self, key: str, value: str) -> str:
        """Return the file's text with another value of ``key``, which it must have."""
        start, end = next((start, end) for name, start, end in self.keys if name == key)
        return self.text[:start] + value + self.text[end:]


def parse_entry(path: Path, data: bytes) -> BlsEntry:
    """Return the entry in ``data``, the content of the file ``path``."""
    text = data.decode("utf-8", "surrogateescape")
    keys, offset = [], 0
    for line in text.split("\n"):
        body = line.lstrip(_BLANKS)
        end = offset + len(line)
        offset = end + 1
        if body.startswith("#"):
            continue
        # The first space ends the key; a tab does only where there is no space.
        key, separator, rest = body.partition(" " if " " in body else "\t")
        if not separator or not rest:
            break  # GRUB reads no further than a line without a value
        keys.append((key, end - len(rest.lstrip(_BLANKS)), end))
    return BlsEntry(path, text, tuple(keys))


def read_entries(root: Path) -> list[BlsEntry]:
    """Return the entries of the tree at ``root`` in the order of GRUB's menu, newest first.

    Raises:
        OSError: an entry cannot be read.
    """
    paths = [
        path
        for path in (root / ENTRIES).glob(f"*{_SUFFIX}")
        if not path.name.startswith(".") and path.name != _SUFFIX
    ]
    entries = [parse_entry(path, path.read_bytes()) for path in sorted(paths)]
    bootable = [entry for entry in entries if entry.value("linux") is not None]
    return sorted(bootable, key=cmp_to_key(_compare_entries), reverse=True)


def expand(text: str, variables: Mapping[str, str]) -> str:
    """Return ``text`` with each ``$name`` replaced by its value, or by nothing."""

    def value_of(match: re.Match[str]) -> str:
        value = variables.get(match[1])
        return "" if value is None else f"{value} "

    return _VARIABLE.sub(value_of, text)


def default_of(entries: Sequence[BlsEntry], selector: str) -> BlsEntry:
    """Return the entry that a ``default`` value selects: by id, title, or place in the menu.

    GRUB takes the first entry where the value names none.

    Raises:
        BootConfigurationRefused: there are no entries, or the place is one behind the last.
    """
    for entry in entries:
        if selector in {entry.identity, entry.value("title")}:
            return entry
    place = decimal(selector) or 0
    if place >= len(entries):
        raise BootConfigurationRefused(
            "default_entry_unknown",
            read=f"default={selector!r} and {len(entries)} entries in /{ENTRIES}",
            want="a default entry of /boot/loader/entries",
            remedy="choose one with: grubby --set-default=/boot/vmlinuz-RELEASE",
        )
    return entries[place]


def _compare_entries(left: BlsEntry, right: BlsEntry) -> int:
    """Compare as blscfg does, which takes the name for one of a package: name-version-release."""
    for one, two in zip(_split(left.identity), _split(right.identity)):
        order = compare_versions(one, two)
        if order:
            return order
    return 0


def _split(identity: str) -> tuple[str, str, str]:
    name, version, release, *_rest = (*identity.rsplit("-", 2), "", "")
    return name, version, release


def compare_versions(left: str, right: str) -> int:
    """Return 1, 0 or -1 as ``left`` is newer than, as new as, or older than ``right``.

    The order is that of RPM's versions: digits by number, letters by their bytes, digits newer than
    letters, "~" older than anything and than the end, "+" older than anything but the end.
    """
    ours, theirs = _SEGMENT.findall(left), _SEGMENT.findall(right)
    for one, two in zip([*ours, ""], [*theirs, ""]):
        ranks = _rank(one), _rank(two)
        if ranks != ranks[::-1]:
            return 1 if ranks[0] > ranks[1] else -1
    return 0


def _rank(segment: str) -> tuple[int, int, str]:
    """Return what orders a segment among those that may stand in its place; "" is the end."""
    if segment.isdigit():
        digits = segment.lstrip("0")
        return 4, len(digits), digits
    return {"~": 0, "": 1, "+": 2}.get(segment, 3), 0, segment
