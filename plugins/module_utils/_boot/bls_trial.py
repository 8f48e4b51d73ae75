# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A trial as a BLS entry of its own: a copy of the default entry with other options.

GRUB sorts entries by their names as RPM sorts packages. "~" sorts below everything, so the trial
is the last in the menu, whatever the machine's id, and no place in the menu changes its meaning.
"""

from __future__ import annotations

from pathlib import Path

from . import grub_trial_entry
from .bls_entry import ENTRIES, OPTIONS, BlsEntry, parse_entry
from .cmdline import wanted
from .interface import Trial
from .options_record import appended

_LOWEST = "~"
_TITLE = "title"


def identity_of(token: str) -> str:
    """Return the id of the entry that tries ``token``."""
    return _LOWEST + grub_trial_entry.identity_of(token)


def token_of(identity: str) -> str | None:
    """Return the token of an id made by ``identity_of``; None for every other text."""
    if not identity.startswith(_LOWEST):
        return None
    return grub_trial_entry.token_of(identity[len(_LOWEST) :])


def path_of(root: Path, token: str) -> Path:
    """Return where the entry that tries ``token`` is."""
    return root / ENTRIES / f"{identity_of(token)}.conf"


def held_trials(root: Path) -> list[Path]:
    """Return the trial entries that are there; a killed run leaves one behind."""
    found = (root / ENTRIES).glob(f"{_LOWEST}*.conf")
    return sorted(path for path in found if token_of(path.stem) is not None)


def render(default: BlsEntry, options: str, trial: Trial) -> bytes:
    """Return the file of the entry that boots ``default`` with ``options`` and the trial's.

    The trial's are its parameters, its token, the watchdog's time, and ``panic=`` last, so that it
    is the one that counts. Everything else is as in the default entry, but for the title.
    """
    words = [parameter.text for parameter in wanted(trial.parameters)]
    words += trial.own_texts
    text = default.with_value(OPTIONS, appended(options, words))
    title = default.value(_TITLE)
    if title is not None:
        entry = parse_entry(default.path, text.encode("utf-8", "surrogateescape"))
        text = entry.with_value(_TITLE, f"gpufleet trial of {title}")
    return text.encode("utf-8", "surrogateescape")
