# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""systemd-boot's trial entry: a copy of the default entry, under a name that is never the default.

systemd-boot removes the EFI variable LoaderEntryOneShot before it starts what the variable names,
so whatever becomes of that boot, the one after it takes the default entry.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from .boot_entry import BootEntry
from .boot_menu import Menu, partitions
from .cmdline import Parameter, wanted
from .efi_variables import (
    FEATURE_ONE_SHOT,
    ONE_SHOT,
    OneShotTool,
    SelectOnce,
    loader_features,
    loader_variable,
    writing_obstacle,
)
from .interface import (
    BootConfigurationRefused,
    Step,
    Trial,
    TrialRefused,
    TrialSupport,
    WriteFile,
)
from .option_text import with_words, without_words, words_of

# In systemd-boot's order a lone letter comes after every longer word and every number, so that
# the entry, which has no sort-key either, is the last of all.
_PREFIX = "a-gpufleet-trial-"
_IDENTITY = re.compile(re.escape(_PREFIX) + r"(?P<token>[0-9a-f]{16})\.conf")
_DROPPED = re.compile(r"^[ \t]*sort-key[ \t].*\n?", re.MULTILINE)
_TITLE = re.compile(r"^[ \t]*title[ \t]+(.*)$", re.MULTILINE)


def identity_of(token: str) -> str:
    """Return the id of the entry that tries ``token``."""
    return f"{_PREFIX}{token}.conf"


def token_of(identity: str) -> str | None:
    """Return the token of an id made by ``identity_of``; None for every other text."""
    match = _IDENTITY.fullmatch(identity)
    return match["token"] if match else None


def trial_entries(root: Path) -> list[Path]:
    """Return the files of trial entries on the mounted partitions."""
    return [
        path
        for partition in partitions(root)
        for path in sorted((partition / "loader/entries").glob(f"{_PREFIX}*.conf"))
        if token_of(path.name)
    ]


def render(entry: BootEntry, trial: Trial, old: Sequence[Sequence[Parameter]]) -> BootEntry:
    """Return the trial's entry.

    Everything of the default entry is kept as written, but for title and sort-key, and in its
    options gpufleet's old words (one run of ``old``), which give way to the trial's
    parameters, its token, the watchdog's time and ``panic=``.
    """
    words = words_of(wanted(trial.parameters))
    words += trial.own_texts
    options = with_words(without_words(entry.options, *map(words_of, old)), words)
    text = _DROPPED.sub("", entry.with_options(options).text)
    titled = _TITLE.sub(lambda match: f"title      gpufleet trial of {match[1]}", text, count=1)
    return replace(entry, identity=identity_of(trial.token), text=titled)


def support(root: Path, menu: Menu) -> TrialSupport:
    """Tell whether systemd-boot can start an entry once on this host."""
    obstacle = writing_obstacle(root)
    if not loader_features(root) & FEATURE_ONE_SHOT:
        loader = loader_variable(root, "LoaderInfo") or "the boot loader"
        obstacle = f"{loader} does not say that it knows one-shot entries (LoaderFeatures)"
    if obstacle is None:
        try:
            default = menu.default()
            text = _DROPPED.sub("", default.text)
            stand_in = replace(default, identity=identity_of("0" * 16), text=text)
            if menu.with_entry(stand_in).default() != default:
                obstacle = "the trial entry would come before the default entry in the menu"
        except BootConfigurationRefused as refusal:
            obstacle = refusal.read
    return TrialSupport(obstacle is None, obstacle or "")


def next_boot_token(root: Path) -> str | None:
    """Return the token of the trial entry that the next boot takes, or None."""
    token = token_of(loader_variable(root, ONE_SHOT) or "")
    held = [token_of(path.name) for path in trial_entries(root)]
    return token if token in held else None


def steps_to_arm(root: Path, tool: OneShotTool, entry: BootEntry) -> list[Step]:
    """Return: write the trial entry, remove those of other trials, select it for one boot.

    Raises:
        TrialRefused: somebody else has selected a one-shot boot.
    """
    selected = loader_variable(root, ONE_SHOT) or None
    if selected and token_of(selected) is None:
        raise TrialRefused(
            "next_entry_taken",
            read=f"{ONE_SHOT} is {selected}",
            want="no one-shot boot that somebody else has asked for",
            remedy="reboot once, or clear it: bootctl set-oneshot ''",
        )
    before = entry.path.read_bytes() if entry.path.exists() else None
    steps: list[Step] = []
    if before != entry.data:
        steps.append(WriteFile("write the trial entry", entry.path, before, entry.data))
    if selected != entry.identity:
        steps.append(SelectOnce("select it for one boot", root, tool, selected, entry.identity))
    steps += [
        WriteFile("remove the former trial entry", path, path.read_bytes(), None)
        for path in trial_entries(root)
        if path != entry.path
    ]
    return steps


def steps_to_disarm(root: Path, tool: OneShotTool) -> list[Step]:
    """Return: take the selection back, then remove the entries, each if it is there."""
    selected = loader_variable(root, ONE_SHOT) or None
    steps: list[Step] = []
    if selected and token_of(selected):
        steps.append(SelectOnce("clear the selection", root, tool, selected, None))
    steps += [
        WriteFile("remove the trial entry", path, path.read_bytes(), None)
        for path in trial_entries(root)
    ]
    return steps
