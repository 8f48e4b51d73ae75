# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which entry GRUB would boot by itself from a grub.cfg that may be cut short.

GRUB runs its configuration statement by statement: what stands before the cut counts, a block
that does not end does not exist (GRUB, grub-core/normal/main.c and script/script.c). Written apart
from the product's own parser, which refuses what GRUB would still boot.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

_BLOCK = re.compile(r"^(menuentry|submenu) (.*?)^\}$", re.MULTILINE | re.DOTALL)
_ENTRY = re.compile(r"^\s*menuentry (.*?)^\s*\}$", re.MULTILINE | re.DOTALL)
_ID = re.compile(r"(?:\$menuentry_id_option|--id)[ =]+(?:'([^']*)'|([^'\s]+))")
_LINUX = re.compile(r"^\s*linux\s+(\S+)\s+(.*)$", re.MULTILINE)
_INITRD = re.compile(r"^\s*initrd\s+(\S+)\s*$", re.MULTILINE)
_ROOT = re.compile(r"(?:^|\s)root=(\S+)")


class NotBooting(Exception):
    """GRUB would wait for somebody at the console; the text says at what."""


@dataclass(frozen=True)
class Choice:
    """The entry that GRUB boots: its id, its files, and the kernel's arguments."""

    identity: str
    linux: str
    initrd: str | None
    arguments: str

    @property
    def root(self) -> str:
        """The root= that the kernel is given."""
        found = _ROOT.search(self.arguments)
        return found.group(1) if found else ""


def environment(block: str) -> Mapping[str, str]:
    """Return the variables of a grubenv, empty ones left out as GRUB's conditions see them."""
    pairs = (line.partition("=") for line in block.splitlines() if not line.startswith("#"))
    return {name: value for name, found, value in pairs if found and value}


def choose(config: str | None, custom: str | None, block: str | None) -> Choice:
    """Return what GRUB boots once its time-out has run off.

    Args:
        config, custom, block: grub.cfg, custom.cfg and grubenv as GRUB reads them, None where it
            cannot.

    Raises:
        NotBooting: it does not come to boot anything.
    """
    if not config:
        raise NotBooting("no grub.cfg: GRUB stops at its prompt")
    if not re.search(r"^\s*set timeout=\d", config, re.MULTILINE):
        raise NotBooting("grub.cfg is cut before the time-out: GRUB waits in its menu")
    text = config
    if custom and "custom.cfg" in config:
        text += f"\n{custom}"
    entries = _top_level(text)
    if not entries:
        raise NotBooting("no entry in grub.cfg: GRUB stops at its prompt")
    wanted = ""
    if "save_env next_entry" in config:
        wanted = environment(block or "").get("next_entry", "")
    named = {_identity(entry): entry for entry in _all(text)}
    return _choice(named.get(wanted, entries[0]))


def _top_level(text: str) -> list[str]:
    found = []
    for kind, body in _BLOCK.findall(text):
        found.append(body if kind == "menuentry" else next(iter(_ENTRY.findall(body)), ""))
    return found


def _all(text: str) -> list[str]:
    return list(_ENTRY.findall(text))


def _identity(entry: str) -> str:
    found = _ID.search(entry.partition("\n")[0])
    return (found.group(1) or found.group(2)) if found else ""


def _choice(entry: str) -> Choice:
    linux, initrd = _LINUX.search(entry), _INITRD.search(entry)
    if linux is None:
        raise NotBooting(f"entry {_identity(entry)!r} loads no kernel")
    return Choice(
        _identity(entry), linux.group(1), initrd.group(1) if initrd else None, linux.group(2)
    )
