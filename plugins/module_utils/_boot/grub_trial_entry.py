# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The trial entry: a copy of the default entry with other parameters, in a marked block."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path

from . import grub_environment
from .cmdline import wanted
from .grub_config import replaced_span, spliced
from .grub_script import Entry, Script, quote
from .interface import BootConfigurationRefused, Trial, TrialRefused

_IDENTITY = "gpufleet-trial-"
_TOKEN = re.compile(r"[0-9a-f]{16}")
_BEGIN = b"\n### BEGIN gpufleet trial entry (removed by boot_trial) ###\n"
_BEGIN_OWN_FILE = b"\n### BEGIN gpufleet trial entry (removed by boot_trial, with this file) ###\n"
_END = b"\n### END gpufleet trial entry ###\n"


def identity_of(token: str) -> str:
    """Return the menu id of the entry that tries ``token``."""
    return _IDENTITY + token


def token_of(identity: str) -> str | None:
    """Return the token of a menu id made by ``identity_of``; None for every other text."""
    token = identity[len(_IDENTITY) :]
    return token if identity.startswith(_IDENTITY) and _TOKEN.fullmatch(token) else None


def refuse_taken(
    block: bytes, environment: Path, own_token: Callable[[str], str | None] = token_of
) -> None:
    """Refuse where somebody else has selected a one-shot boot in ``block``.

    ``own_token`` returns the token of a selection of ours, None for others'.

    Raises:
        TrialRefused: with what ``next_entry`` is.
    """
    selected = grub_environment.parse(block).get("next_entry", "")
    if selected and own_token(selected) is None:
        raise TrialRefused(
            "next_entry_taken",
            read=f"next_entry={selected} in {environment}",
            want="no one-shot boot that somebody else has asked for",
            remedy="reboot once, or clear it: grub-editenv - unset next_entry",
        )


def missing_one_shot(script: Script) -> str | None:
    """Return what grub.cfg lacks for a one-shot entry, or None if it has all.

    The part comes from /etc/grub.d/00_header, which an administrator may have made non-executable.
    """
    one_shot = {
        ("set", "default=${next_entry}"),
        ("set", "next_entry="),
        ("save_env", "next_entry"),
    }
    if one_shot <= {tuple(word.text for word in command.words) for command in script.commands}:
        return None
    return "grub.cfg does not clear next_entry (part of /etc/grub.d/00_header)"


def missing_snippet(script: Script) -> str | None:
    """Return what grub.cfg lacks for a one-shot entry in custom.cfg, or None if it has all."""
    commands = [tuple(word.text for word in command.words) for command in script.commands]
    if ("source", "${config_directory}/custom.cfg") not in commands:
        return "grub.cfg does not source custom.cfg (/etc/grub.d/41_custom)"
    return missing_one_shot(script)


def render(entry: Entry, script: Script, trial: Trial, old_words: Sequence[str]) -> str:
    """Return the trial's menuentry.

    Everything of the default entry is kept as written (modules, search, --unrestricted), but for
    title, id, and in its kernel's arguments gpufleet's old words (``old_words``), which give way
    to the trial's parameters, its token, the watchdog's time and ``panic=``.
    """
    title, identity, linux = entry.header.words[1], entry.identity_word, entry.linux
    if identity is None or linux is None:
        raise BootConfigurationRefused(
            "default_entry_without_id",
            read=f"the default entry {entry.title!r} has no id",
            want="an entry as 10_linux generates it",
            remedy="set GRUB_DEFAULT in /etc/default/grub to a generated entry and run update-grub",
        )
    texts = [parameter.text for parameter in wanted(trial.parameters)]
    texts += trial.own_texts
    edits = [
        (title.start, title.end, quote(f"gpufleet trial of {entry.title.replace(chr(39), '')}")),
        (identity.start, identity.end, quote(identity_of(trial.token))),
        (*replaced_span(linux.words, old_words), ""),
        (linux.words[-1].end, linux.words[-1].end, " ".join(map(quote, texts))),
    ]
    return spliced(script.text, edits)[entry.start : entry.end + _growth(edits)]


def _growth(edits: Sequence[tuple[int, int, str]]) -> int:
    return sum(
        len(new) + (1 if start == end and new else 0) - (end - start) for start, end, new in edits
    )


def block_in(custom: bytes) -> bytes | None:
    """Return the marked block of a custom.cfg with its markers, or None."""
    for begin in (_BEGIN, _BEGIN_OWN_FILE):
        start = custom.find(begin)
        end = custom.find(_END, start)
        if start >= 0 and end >= 0:
            return custom[start : end + len(_END)]
    return None


def without_block(custom: bytes) -> bytes | None:
    """Return custom.cfg as it was before the block; None where the file was not there."""
    block = block_in(custom)
    if block is None:
        return custom
    rest = custom.replace(block, b"")
    return None if not rest and block.startswith(_BEGIN_OWN_FILE) else rest


def with_block(custom: bytes | None, entry: str) -> bytes:
    """Return custom.cfg ending in ``entry`` as its marked block, a former block removed."""
    original = without_block(custom) if custom is not None else None
    begin = _BEGIN_OWN_FILE if original is None else _BEGIN
    return (original or b"") + begin + entry.encode("utf-8", "surrogateescape") + _END
