# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Our words in texts that hold parameters and nothing else, where no generator puts them together.

Such a text is the ``options`` of a boot entry, ``kernelopts`` in grubenv, or /etc/kernel/cmdline.
Ours are appended. What each text was before is recorded, because words alone do not tell whose they
are: an administrator may have written the same ones, and a killed run some of them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from .._host.files import read_bytes
from .._host.foreign_text import parse_json
from .grub_config import own_span
from .grub_script import quoted, read_words
from .interface import STATE_DIRECTORY, StateFile, Step

RECORD = STATE_DIRECTORY / "options.json"
_SCHEMA = 1

Words = tuple[str, ...]


@dataclass(frozen=True)
class OptionsRecord:
    """What was appended: ``runs`` of words, any of which may be in a text while one run replaces
    another, and ``before``, each text without them by the name of its place.
    """

    runs: tuple[Words, ...] = ()
    before: Mapping[str, str] = field(default_factory=dict)

    def base_of(self, place: str, text: str) -> str:
        """Return the text of a place without our words.

        Where somebody else has changed it since, or kernel-install has copied it into the entry of
        a new kernel, it is the text without the last of our runs in it.
        """
        before = self.before.get(place)
        if before is not None and text in {before, *(appended(before, run) for run in self.runs)}:
            return before
        for run in sorted(self.runs, key=len, reverse=True):
            words = read_words(text)
            span = own_span(words, run)
            if span is not None:
                start, end = words[span[0]].start, words[span[1] - 1].end
                start -= text[:start].endswith(" ")
                return text[:start] + text[end:]
        return text

    def having(self, run: Words, texts: Mapping[str, str]) -> OptionsRecord:
        """Return the record for a change to ``run`` of places that have ``texts`` now."""
        runs = self.runs if run in self.runs else (*self.runs, run)
        known = {place: self.base_of(place, text) for place, text in texts.items()}
        return OptionsRecord(runs, known)


def appended(text: str, words: Iterable[str]) -> str:
    """Return ``text`` with ``words`` behind it, quoted for GRUB."""
    more = quoted(words)
    return f"{text} {more}" if more else text


def read_record(root: Path) -> OptionsRecord | None:
    """Return the record; None where there is none or it cannot be understood."""
    data = read_bytes(root / RECORD)
    if data is None:
        return None
    try:
        fields = parse_json(data)
        if fields["schema"] != _SCHEMA:
            return None
        runs = tuple(tuple(map(str, run)) for run in fields["runs"])
        return OptionsRecord(
            runs, {str(name): str(text) for name, text in fields["before"].items()}
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        # Written whole or not at all, so this is no record of ours.
        return None


def record_step(root: Path, name: str, record: OptionsRecord | None) -> list[Step]:
    """Return the step that keeps ``record``, or drops it for None; empty if nothing to do."""
    path = root / RECORD
    before, after = read_bytes(path), None if record is None else _encoded(record)
    return [] if before == after else [StateFile(name, path, before, after, 0o600)]


def settling_steps(root: Path, record: OptionsRecord, run: Words) -> list[Step]:
    """Return what ends a change: of the runs in ``record``, ``run`` alone is left in the texts."""
    settled = replace(record, runs=(run,))
    if settled == record:
        return []
    path, name = root / RECORD, "record the appended words"
    return [StateFile(name, path, _encoded(record), _encoded(settled), 0o600)]


def _encoded(record: OptionsRecord) -> bytes:
    fields = {"schema": _SCHEMA, "runs": record.runs, "before": record.before}
    return (json.dumps(fields, indent=2, sort_keys=True) + "\n").encode()
