# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""systemd-boot's menu: its entries in their order, and the one that boots by default.

After config_select_default_entry() and boot_entry_compare() of systemd 250 to 257
(src/boot/efi/boot.c). Earlier versions sort the other way round and do not set the feature bit of
sort-key; with those the default is known only where exactly one entry is configured to be it.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path

from .._host.files import read_text
from .boot_device import parse_mountinfo
from .boot_entry import ENTRIES, BootEntry, read_entries
from .efi_variables import FEATURE_SORT_KEY, loader_features, loader_variable
from .interface import BootConfigurationRefused

LOADER_CONF = Path("loader/loader.conf")
# Where kernel-install and bootctl look for the partitions, in their order.
PLACES = (Path("efi"), Path("boot"), Path("boot/efi"))
_SAVED = "@saved"
_DEFAULT = re.compile(r"^[ \t]*default[ \t]+(\S.*?)[ \t\r]*$", re.MULTILINE)
_COUNTER = re.compile(r"\+(?P<left>\d+)(?:-\d+)?\.conf$")
# A turn of strverscmp_improved(): what is passed over, the marks in order, digits or letters.
_SEGMENT = re.compile(
    r"[^0-9A-Za-z~^.-]*(?P<tilde>~?)(?P<dash>-?)(?P<caret>\^?)(?P<dot>\.?)"
    r"(?P<segment>[0-9]+|[A-Za-z]*)"
)


def version_key(text: str) -> tuple[tuple[int | str, ...], ...]:
    """Return what orders texts as systemd's strverscmp_improved() does.

    A text is read in turns. In each, "~" comes before the end of the text, that before "-", that
    before "^" and that before "."; then numbers, which compare by value, come after letters.
    """
    key: list[tuple[int | str, ...]] = []
    # Some part of each match is there, but for the one at the end of the text.
    for match in _SEGMENT.finditer(text):
        marks = [match[name] == "" for name in ("tilde", "dash", "caret", "dot")]
        if match.end("tilde") == len(text):
            key.append((marks[0], False))
            break
        segment = match["segment"]
        is_number = segment.isdigit()
        value = segment.lstrip("0") if is_number else segment
        key.append((marks[0], True, *marks[1:], is_number, len(value) if is_number else 0, value))
    return tuple(key)


def _compare(left: BootEntry, right: BootEntry) -> int:
    """Return below 0 where ``left`` stands higher in the menu, above 0 where ``right`` does."""
    keys = [(_tries_left(e) == 0, not e.value("sort-key")) for e in (left, right)]
    if keys[0] != keys[1]:
        return -1 if keys[0] < keys[1] else 1
    if left.value("sort-key"):
        for field in ("sort-key", "machine-id"):
            mine, theirs = left.value(field) or "", right.value(field) or ""
            if mine != theirs:
                return -1 if mine < theirs else 1
        older = _older_first(left.value("version") or "", right.value("version") or "")
        if older:
            return -older
    return -_older_first(left.identity.lower(), right.identity.lower())


def _older_first(left: str, right: str) -> int:
    first, second = version_key(left), version_key(right)
    return (first > second) - (first < second)


def _tries_left(entry: BootEntry) -> int | None:
    match = _COUNTER.search(entry.identity)
    return int(match["left"]) if match else None


@dataclass(frozen=True)
class Menu:
    """What systemd-boot offers.

    ``patterns`` are the configured defaults, the stronger first; ``sorts_by_key`` tells of version
    250 or later; ``has_images`` of unified kernel images, whose place in the order is unknown.
    """

    entries: tuple[BootEntry, ...]
    patterns: tuple[str, ...] = ()
    sorts_by_key: bool = True
    has_images: bool = False

    def ordered(self) -> list[BootEntry]:
        """Return the entries as the menu shows them."""
        return sorted(self.entries, key=functools.cmp_to_key(_compare))

    def default(self) -> BootEntry:
        """Return the entry that boots where nobody chooses.

        Raises:
            BootConfigurationRefused: it cannot be told, or boots no Linux kernel from here.
        """
        entry = self._default()
        missing = entry.missing_files()
        if entry.value("linux") is None or missing:
            raise BootConfigurationRefused(
                "default_entry_not_bootable",
                read=f"the default entry {entry.identity} "
                + (f"names {', '.join(missing)}, not there" if missing else "names no kernel"),
                want="a default entry whose kernel and initial file system exist",
                remedy="run kernel-install add for the kernel, or choose another default with"
                " bootctl set-default",
            )
        return entry

    def _default(self) -> BootEntry:
        for pattern in self.patterns:
            matching = [entry for entry in self.ordered() if _matches(entry, pattern)]
            if len(matching) == 1 or (matching and self.sorts_by_key):
                return _first(matching)
        if not self.entries or not self.sorts_by_key or self.has_images:
            raise BootConfigurationRefused(
                "default_entry_unknown",
                read=f"{len(self.entries)} boot entries"
                + (", unified kernel images beside them" if self.has_images else "")
                + (f", default {', '.join(self.patterns)}" if self.patterns else ", no default"),
                want="one entry that is known to boot by default",
                remedy="choose it: bootctl set-default ID (bootctl list shows the ids)",
            )
        return _first(self.ordered())

    def with_entry(self, entry: BootEntry) -> Menu:
        """Return the menu as it is with one more entry."""
        return replace(self, entries=(*self.entries, entry))


def _first(ordered: Sequence[BootEntry]) -> BootEntry:
    """Return the first entry in the menu's order.

    Raises:
        BootConfigurationRefused: another one stands as high, as 00.conf does beside 0.conf. Which
            of them systemd-boot shows first is up to the directory.
    """
    first = ordered[0]
    equal = [entry.identity for entry in ordered if _compare(first, entry) == 0]
    if set(equal) != {first.identity}:
        raise BootConfigurationRefused(
            "default_entry_unknown",
            read=f"{', '.join(sorted(equal))}: names that are the same version to systemd-boot",
            want="one entry that is known to boot by default",
            remedy="choose it: bootctl set-default ID; or rename one of them",
        )
    return first


def _matches(entry: BootEntry, pattern: str) -> bool:
    identity = entry.identity.lower()
    # Versions before 247, and kernelstub to this day, name entries without the suffix.
    return any(fnmatchcase(name, pattern.lower()) for name in (identity, identity[: -len(".conf")]))


def partitions(root: Path) -> list[Path]:
    """Return where the EFI and the extended boot partition are mounted."""
    mounted = {
        mount.point
        for mount in parse_mountinfo(read_text(root / "proc/self/mountinfo") or "")
        if mount.filesystem == "vfat"
    }
    return [root / place for place in PLACES if f"/{place}" in mounted]


def read_menu(root: Path = Path("/"), *, without: Iterable[str] = ()) -> Menu:
    """Return the menu of the boot loader that started this system.

    Args:
        root: the system's tree.
        without: ids that are left out.

    Raises:
        BootConfigurationRefused: no partition with entries is mounted.
    """
    places = partitions(root)
    left_out = set(without)
    entries = [e for place in places for e in read_entries(place) if e.identity not in left_out]
    if not entries:
        raise BootConfigurationRefused(
            "boot_entries_missing",
            read=f"no entries in {ENTRIES} of a FAT file system at "
            + ", ".join(f"/{place}" for place in PLACES),
            want="the partition that systemd-boot was started from, mounted",
            remedy="mount the EFI partition, then run again; bootctl status names it",
        )
    return Menu(
        tuple(entries),
        _patterns(root, places),
        sorts_by_key=bool(loader_features(root) & FEATURE_SORT_KEY),
        has_images=any(any((place / "EFI/Linux").glob("*.efi")) for place in places),
    )


def _patterns(root: Path, places: Sequence[Path]) -> tuple[str, ...]:
    """Return the configured defaults: the EFI variable's, then that of loader.conf."""
    values = [loader_variable(root, "LoaderEntryDefault")]
    for place in places:
        text = read_text(place / LOADER_CONF) or ""
        # The last one counts.
        values += [match[1] for match in reversed(list(_DEFAULT.finditer(text)))]
    saved = loader_variable(root, "LoaderEntryLastBooted")
    chosen = [saved if value == _SAVED else value for value in values]
    return tuple(value for value in chosen if value)
