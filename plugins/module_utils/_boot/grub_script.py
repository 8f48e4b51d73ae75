# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""GRUB's script language, as far as a generated grub.cfg uses it: words, commands, menu entries.

The rules are those of grub-core/script/yylex.l. Offsets into the text are kept, so that an entry
can be copied with some words replaced and everything else as it was.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from .._host.errors import GpufleetError
from .._host.foreign_text import decimal

_BLANKS = " \t"
_ENDS_WORD = "{}|&;<> \t\n"
_VARIABLE = re.compile(r"\$(?:\{(?:[A-Za-z_]\w*|\d+|[?#*@])\}|[A-Za-z_]\w*|\d+|[?#*@])", re.ASCII)
_PLAIN = re.compile(r"[A-Za-z0-9_.,:/=+@%-]+", re.ASCII)
_LINUX_COMMANDS = frozenset({"linux", "linux16", "linuxefi"})
_INITRD_COMMANDS = frozenset({"initrd", "initrd16", "initrdefi"})
_RESERVED = frozenset({"if", "then", "elif", "else", "fi", "while", "until", "do", "done"})
_ENTRY_KINDS = frozenset({"menuentry", "submenu"})
# Braces that may be open at once; update-grub writes three. GRUB has a limit too, its stack.
_DEEPEST = 100


class GrubScriptError(GpufleetError):
    """grub.cfg is not what a generator writes."""


@dataclass(frozen=True)
class Word:
    """A word without its quotes, variables as ``${name}``; ``text[start:end]`` is its source."""

    text: str
    start: int
    end: int
    has_variable: bool = False


@dataclass(frozen=True)
class Command:
    """The words of one command."""

    words: tuple[Word, ...]

    @property
    def name(self) -> str:
        """The first word."""
        return self.words[0].text

    @property
    def arguments(self) -> tuple[Word, ...]:
        """The words after the first."""
        return self.words[1:]


@dataclass(frozen=True)
class Entry:
    """A menuentry or submenu; ``text[start:end]`` is its source from keyword to closing brace."""

    kind: str
    header: Command
    start: int
    end: int
    commands: tuple[Command, ...] = ()
    children: tuple[Entry, ...] = ()

    @property
    def title(self) -> str:
        """The name shown in the menu."""
        return self.header.words[1].text

    @property
    def identity_word(self) -> Word | None:
        """The word that holds the entry's id, or None where it has none."""
        words = self.header.words
        for option, value in zip(words, words[1:]):
            if option.text in {"--id", "${menuentry_id_option}"}:
                return value
        return None

    @property
    def identity(self) -> str:
        """The id, or the title where there is none: what ``default`` may name."""
        word = self.identity_word
        return self.title if word is None else word.text

    @property
    def linux(self) -> Command | None:
        """The only command that loads a Linux kernel, or None where there is none or several."""
        found = [command for command in self.commands if command.name in _LINUX_COMMANDS]
        return found[0] if len(found) == 1 else None

    @property
    def files(self) -> tuple[str, ...]:
        """Paths of the kernel and the initial ramdisks, as GRUB sees them."""
        kernels = [c.words[1].text for c in self.commands if c.name in _LINUX_COMMANDS]
        ramdisks = [
            word.text for c in self.commands if c.name in _INITRD_COMMANDS for word in c.arguments
        ]
        return (*kernels, *ramdisks)

    def walk(self) -> Iterator[Entry]:
        """Yield this entry and all below it, in order."""
        yield self
        for child in self.children:
            yield from child.walk()


@dataclass(frozen=True)
class Script:
    """A parsed grub.cfg: its entries, and every command that is outside of an entry."""

    text: str
    entries: tuple[Entry, ...]
    commands: tuple[Command, ...]

    def walk(self) -> Iterator[Entry]:
        """Yield every entry at every depth, in order."""
        for entry in self.entries:
            yield from entry.walk()


def quote(text: str) -> str:
    """Return ``text`` as one GRUB word; it must not hold a single quote or a newline.

    Single quotes keep everything literal: ``;`` outside of them would end the command.
    """
    if _PLAIN.fullmatch(text):
        return text
    if "'" in text or "\n" in text:
        raise GrubScriptError(
            "unquotable_for_grub",
            read=repr(text),
            want="text without single quotes and line ends",
            remedy="leave that character out of the parameter",
        )
    return f"'{text}'"


def quoted(texts: Iterable[str]) -> str:
    """Return ``texts`` as the arguments of one command."""
    return " ".join(map(quote, texts))


def _double_quoted(text: str, position: int) -> tuple[str, int, bool]:
    """Read from behind the opening quote; return content, offset behind the closing one."""
    content, has_variable = "", False
    while position < len(text) and text[position] != '"':
        variable = _VARIABLE.match(text, position)
        if text[position] == "\\" and position + 1 < len(text):
            following = text[position + 1]
            if following in '\\"$':
                content += following
            elif following != "\n":
                content += "\\" + following
            position += 2
        elif variable:
            content += _braced(variable.group())
            has_variable = True
            position = variable.end()
        else:
            content += text[position]
            position += 1
    return content, position + 1, has_variable


def _braced(variable: str) -> str:
    return variable if variable.startswith("${") else f"${{{variable[1:]}}}"


def read_word(text: str, start: int) -> Word:
    """Read the word that begins at ``start``."""
    content, position, has_variable = "", start, False
    while position < len(text) and text[position] not in _ENDS_WORD:
        character = text[position]
        variable = _VARIABLE.match(text, position)
        if character == "'":
            end = text.find("'", position + 1)
            if end < 0:
                raise _unfinished(text, start, "a closing single quote")
            content += text[position + 1 : end]
            position = end + 1
        elif character == '"':
            inner, position, inner_variable = _double_quoted(text, position + 1)
            if position > len(text):
                raise _unfinished(text, start, "a closing double quote")
            content += inner
            has_variable = has_variable or inner_variable
        elif character == "\\" and position + 1 < len(text):
            content += "" if text[position + 1] == "\n" else text[position + 1]
            position += 2
        elif variable:
            content += _braced(variable.group())
            has_variable = True
            position = variable.end()
        else:
            content += character
            position += 1
    return Word(content, start, position, has_variable)


def _unfinished(text: str, position: int, missing: str) -> GrubScriptError:
    line = text.count("\n", 0, position) + 1
    return GrubScriptError(
        "grub_script_malformed",
        read=f"line {line}: {text[position : position + 60]!r}",
        want=missing,
        remedy="run grub-script-check on that file and mend what it names",
    )


def read_words(text: str) -> tuple[Word, ...]:
    """Return the words of one command's arguments, as GRUB splits them; stops at its end."""
    words, position = [], 0
    while position < len(text):
        if text[position] in _BLANKS:
            position += 1
        elif text[position] in _ENDS_WORD or text[position] == "#":
            break
        else:
            word = read_word(text, position)
            words.append(word)
            position = word.end
    return tuple(words)


@dataclass
class _Reader:
    """Recursive descent over a script; ``position`` moves forward only."""

    text: str
    position: int = 0
    depth: int = 0

    def block(self, inside: bool) -> tuple[list[Command], list[Entry]]:
        """Read commands up to the closing brace (or the end) and return them and the entries."""
        commands: list[Command] = []
        entries: list[Entry] = []
        words: list[Word] = []
        opened_at = self.position
        while self.position < len(self.text):
            character = self.text[self.position]
            if character in _BLANKS or self.text.startswith("\\\n", self.position):
                self.position += 1 if character in _BLANKS else 2
            elif character == "#":
                end = self.text.find("\n", self.position)
                self.position = len(self.text) if end < 0 else end
            elif character == "{":
                self.position += 1
                self._nested(words, commands, entries)
                words = []
            elif character == "}":
                self.position += 1
                self._close(words, commands)
                if inside:
                    return commands, entries
                raise _unfinished(self.text, self.position - 1, "no closing brace here")
            elif character in _ENDS_WORD:
                self.position += 1
                self._close(words, commands)
                words = []
            else:
                word = read_word(self.text, self.position)
                words.append(word)
                self.position = word.end
        self._close(words, commands)
        if inside:
            raise _unfinished(self.text, opened_at, "a closing brace")
        return commands, entries

    def _nested(self, words: list[Word], commands: list[Command], entries: list[Entry]) -> None:
        if self.depth == _DEEPEST:
            raise _unfinished(self.text, self.position - 1, f"at most {_DEEPEST} braces at once")
        self.depth += 1
        inner_commands, inner_entries = self.block(inside=True)
        self.depth -= 1
        if len(words) > 1 and words[0].text in _ENTRY_KINDS:
            header = Command(tuple(words))
            entries.append(
                Entry(
                    words[0].text,
                    header,
                    words[0].start,
                    self.position,
                    tuple(inner_commands),
                    tuple(inner_entries),
                )
            )
        elif not (words and words[0].text == "function"):
            self._close(words, commands)
            commands.extend(inner_commands)
            entries.extend(inner_entries)

    @staticmethod
    def _close(words: list[Word], commands: list[Command]) -> None:
        first = next((i for i, word in enumerate(words) if word.text not in _RESERVED), len(words))
        if words[first:]:
            commands.append(Command(tuple(words[first:])))


def parse(text: str) -> Script:
    """Parse a grub.cfg. Conditions are not evaluated: entries of every branch are returned.

    Raises:
        GrubScriptError: a quote or brace does not close, or braces lie too deep for a menu.
    """
    commands, entries = _Reader(text).block(inside=False)
    return Script(text, tuple(entries), tuple(commands))


def default_selector(script: Script, saved_entry: str | None) -> str:
    """Return what grub.cfg's ``default`` variable names when no one-shot entry is set.

    Fedora's 08_fallback_counting sets it to 1 once its counter has run out, which is no default.
    """
    chosen = "0"
    commands = [[word.text for word in command.words] for command in script.commands]
    for words, following in zip(commands, [*commands[1:], []]):
        for word in words[1:] if words[0] == "set" else ():
            name, _equals, value = word.partition("=")
            counted_out = following == ["set", "boot_counter=-1"]
            if name == "default" and value != "${next_entry}" and not counted_out:
                chosen = value
    return (saved_entry or "0") if chosen == "${saved_entry}" else chosen


def find_entry(script: Script, selector: str) -> Entry:
    """Return the menuentry that a ``default`` value such as ``0``, ``1>2`` or an id selects.

    Raises:
        GrubScriptError: the value names no entry of this menu.
    """
    level = script.entries
    entry: Entry | None = None
    # '>' goes one menu deeper, '>>' is a literal one.
    for part in re.split(r"(?<!>)>(?!>)", selector):
        wanted = part.replace(">>", ">").strip()
        position = decimal(wanted)
        if position is not None:
            entry = level[position] if position < len(level) else None
        else:
            entry = next((e for e in level if wanted in {e.identity, e.title}), None)
        if entry is None:
            break
        level = entry.children
    while entry is not None and entry.kind == "submenu":
        entry = entry.children[0] if entry.children else None
    if entry is None:
        raise GrubScriptError(
            "default_entry_unknown",
            read=f"default={selector!r}, which names no entry of grub.cfg",
            want="a default entry that can be told from grub.cfg",
            remedy="set GRUB_DEFAULT in /etc/default/grub to 0 or to an existing id, then run"
            " update-grub",
        )
    return entry
