# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Generating grub.cfg beside the live one: checked as a whole before it takes its place."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .._host.files import atomic_write, read_bytes
from . import conflicts, grub_environment, grub_script
from .cmdline import Parameter, from_arguments
from .grub_script import Command, Entry, Script, Word
from .grub_tools import GrubTools
from .interface import BootConfigurationRefused

# Where Debian, Ubuntu and Arch have it; Fedora and openSUSE call it boot/grub2.
DIRECTORY = Path("boot/grub")
CONFIG = "grub.cfg"
ENVIRONMENT = "grubenv"
GRUB_CFG = DIRECTORY / CONFIG
# 10_linux gives its entries ids of this form: gnulinux-VERSION-TYPE-FILESYSTEM.
_GENERATED = "gnulinux-"
_RECOVERY = "-recovery-"


def read_grub_cfg(root: Path, path: Path = GRUB_CFG) -> bytes:
    """Return grub.cfg of the tree at ``root``.

    Raises:
        BootConfigurationRefused: it is absent or empty.
    """
    data = read_bytes(root / path)
    if not data:
        raise BootConfigurationRefused(
            "grub_cfg_missing",
            read=f"/{path} is absent or empty",
            want="the configuration that GRUB boots from",
            remedy="generate it (update-grub or grub-mkconfig) and look at the messages before the"
            " next reboot",
        )
    return data


def own_span(words: Sequence[Word], own: Sequence[str]) -> tuple[int, int] | None:
    """Return first and behind-last index of the last run of ``words`` that equals ``own``."""
    texts = [word.text for word in words]
    size = len(own)
    for start in range(len(texts) - size, -1, -1) if size else ():
        if texts[start : start + size] == list(own):
            return start, start + size
    return None


def linux_command(entry: Entry) -> Command:
    """Return the one command that boots Linux in an entry.

    Raises:
        BootConfigurationRefused: there is none, or more than one, or it names no kernel.
    """
    if entry.linux is None or len(entry.linux.words) < 2:
        raise BootConfigurationRefused(
            "default_entry_not_linux",
            read=f"the default entry {entry.title!r} has not exactly one linux command",
            want="a default entry that boots one Linux kernel",
            remedy="set GRUB_DEFAULT in /etc/default/grub to the Linux entry and generate grub.cfg"
            " anew",
        )
    return entry.linux


def default_linux_entry(script: Script, environment: bytes | None) -> Entry:
    """Return the entry that boots by default.

    Raises:
        BootConfigurationRefused, GrubScriptError: it cannot be told, or boots no Linux.
    """
    saved = None
    if environment is not None and len(environment) == grub_environment.BLOCK_BYTES:
        saved = grub_environment.parse(environment).get("saved_entry")
    entry = grub_script.find_entry(script, grub_script.default_selector(script, saved))
    linux_command(entry)
    return entry


@dataclass(frozen=True)
class GenerateConfig:
    """A step: generate grub.cfg, check it, and rename it into place.

    ``old_words`` are gpufleet's words in ``before``; ``parameters`` are to be in force in the new
    default entry; ``release`` is the kernel that it has to boot, None for whichever comes first;
    ``directory`` is where grub.cfg lies below ``root``.
    """

    root: Path
    tools: GrubTools
    before: bytes
    old_words: tuple[str, ...]
    parameters: tuple[Parameter, ...]
    vendor: str | None = None
    release: str | None = None
    directory: Path = DIRECTORY

    @property
    def name(self) -> str:
        """What the step does."""
        return "generate grub.cfg"

    @property
    def _path(self) -> Path:
        return self.root / self.directory / CONFIG

    def apply(self) -> bool:
        """Generate, check, replace; return whether grub.cfg changed.

        Raises:
            BootConfigurationRefused: the generated file would not boot what it should; the
                live one is untouched.
            CommandFailed, CommandMissing, CommandTimedOut, OSError: likewise untouched.
        """
        generated = self.tools.generate(self.before)
        self._check(generated)
        mode = self._path.stat().st_mode & 0o7777
        return atomic_write(self._path, generated, mode=mode, settled=True)

    def undo(self) -> None:
        """Put the former grub.cfg back."""
        mode = self._path.stat().st_mode & 0o7777
        atomic_write(self._path, self.before, mode=mode, settled=True)

    def as_diff(self) -> dict[str, str]:
        """Return the lines that change: those there are once applied, else those foreseen."""
        now = read_bytes(self._path)
        after = now if now not in {None, self.before} else self._foreseen()
        old = self.before.decode("utf-8", "backslashreplace").splitlines()
        new = (after or b"").decode("utf-8", "backslashreplace").splitlines()
        changes = list(difflib.ndiff(old, new)) if old != new else []
        return {
            "before_header": str(self._path),
            "after_header": str(self._path),
            "before": "".join(f"{line[2:]}\n" for line in changes if line.startswith("- ")),
            "after": "".join(f"{line[2:]}\n" for line in changes if line.startswith("+ ")),
        }

    def _foreseen(self) -> bytes:
        """Return grub.cfg with our words exchanged where 10_linux puts them."""
        text = self.before.decode("utf-8", "surrogateescape")
        script = grub_script.parse(text)
        new = " ".join(grub_script.quote(parameter.text) for parameter in self.parameters)
        edits = []
        for entry in script.walk():
            linux = entry.linux
            if linux is None or not _is_generated(entry) or _RECOVERY in entry.identity:
                continue
            edits.append((*replaced_span(linux.words, self.old_words), new))
        return spliced(text, edits).encode("utf-8", "surrogateescape")

    def _check(self, generated: bytes) -> None:
        self.tools.check(generated)
        script = grub_script.parse(generated.decode("utf-8", "surrogateescape"))
        linux_entries = [entry for entry in script.walk() if _is_generated(entry) and entry.linux]
        if not linux_entries:
            raise _bad("it has no Linux entry", "at least one entry of 10_linux")
        for entry in linux_entries:
            for name in entry.files:
                if not boot_file_exists(self.root, name):
                    raise _bad(f"{entry.identity} loads {name}, which does not exist", "its files")
        default = default_linux_entry(script, read_bytes(self.root / self.directory / ENVIRONMENT))
        linux = linux_command(default)
        if self.release is not None and not linux.words[1].text.endswith(f"-{self.release}"):
            raise _bad(f"{default.identity} boots {linux.words[1].text}", f"kernel {self.release}")
        words = linux.arguments[1:]
        line = from_arguments(w.text for w in words if not w.has_variable)
        if not conflicts.in_force(self.parameters, line, vendor=self.vendor):
            wanted = " ".join(parameter.text for parameter in self.parameters)
            raise _bad(f"{default.identity} has {' '.join(default_words(default))}", wanted)
        self._check_recovery(linux_entries)

    def _check_recovery(self, entries: Sequence[Entry]) -> None:
        ours = [parameter.text for parameter in self.parameters]
        for entry in entries:
            if _RECOVERY in entry.identity and entry.linux is not None:
                span = own_span(entry.linux.arguments, ours)
                if span is not None:
                    raise _bad(
                        f"{entry.identity} has {' '.join(ours)}", "recovery entries as before"
                    )


def boot_file_exists(root: Path, name: str) -> bool:
    """Whether the file is there that GRUB knows as ``name``.

    With /boot on a file system of its own, GRUB's paths begin below it; on btrfs and ZFS they begin
    at the top of the pool, above the subvolume that is mounted as /.
    """
    path = name.lstrip("/")
    _above, subvolume, below = path.rpartition("/boot/")
    candidates = [path, f"boot/{path}"] + ([f"boot/{below}"] if subvolume else [])
    return any((root / candidate).is_file() for candidate in candidates)


def default_words(entry: Entry) -> list[str]:
    """Return the arguments of the entry's linux command after the kernel's path."""
    return [word.text for word in entry.linux.arguments[1:]] if entry.linux else []


def _is_generated(entry: Entry) -> bool:
    return entry.kind == "menuentry" and entry.identity.startswith(_GENERATED)


def replaced_span(words: Sequence[Word], old: Sequence[str]) -> tuple[int, int]:
    """Return the offsets in the text of the words ``old``, or the empty span behind the last."""
    span = own_span(words, old)
    if span is None:
        return words[-1].end, words[-1].end
    return words[span[0]].start, words[span[1] - 1].end


def spliced(text: str, edits: Sequence[tuple[int, int, str]]) -> str:
    """Return ``text`` with each span replaced; what fills an empty span gets a space before."""
    for start, end, new in sorted(edits, reverse=True):
        lead = " " if start == end and new else ""
        text = text[:start] + lead + new + text[end:]
    return text


def _bad(read: str, want: str) -> BootConfigurationRefused:
    return BootConfigurationRefused(
        "generated_grub_cfg_refused",
        read=f"in the newly generated grub.cfg {read}",
        want=want,
        remedy="the live grub.cfg was left as it was; look at /etc/default/grub, its drop-ins and"
        " /etc/grub.d, then run again",
    )
