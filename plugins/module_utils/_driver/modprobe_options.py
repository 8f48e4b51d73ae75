# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host's modprobe.d and kernel command line set for the nvidia module, and who sets it.

modprobe concatenates every ``options`` line of a module in the order of the files' names, then what
the kernel command line has as MODULE.PARAMETER=VALUE; of two values for one parameter the kernel
keeps the later. (libkmod-config.c, kmod_module_get_options(); next_arg() in the kernel's
cmdline.c.)
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from .._host.files import read_text

MODULE = "nvidia"
#: Our own file, so named that it comes after those of others.
OPTIONS_FILE = Path("/etc/modprobe.d/zz-gpufleet-nvidia.conf")
#: In modprobe.d(5)'s order of precedence: a name in one hides the same name in those after it.
DIRECTORIES = (
    "etc/modprobe.d",
    "run/modprobe.d",
    "usr/local/lib/modprobe.d",
    "usr/lib/modprobe.d",
    "lib/modprobe.d",
)
_SUFFIXES = (".conf", ".alias")
_COMMAND_LINE = "/proc/cmdline"


@dataclass(frozen=True)
class Setting:
    """One parameter as somebody sets it.

    ``origin`` is FILE:LINE or the command line; ``later`` says that it comes after our own file, so
    that it would win.
    """

    parameter: str
    value: str
    origin: str
    later: bool


@dataclass(frozen=True)
class Directive:
    """One line of a configuration file: its number, its command and the rest of it."""

    number: int
    command: str
    rest: str


def foreign_settings(root: Path = Path("/")) -> tuple[Setting, ...]:
    """Return what others set for the nvidia module, in the order in which it is passed."""
    directives = [
        (path, directive)
        for path in _configuration_files(root)
        for directive in parse_configuration(read_text(path) or "")
    ]
    names = _names(directive for _path, directive in directives)
    found = []
    for path, directive in directives:
        module, options = _first_word(directive.rest)
        if directive.command != "options" or _underscored(module) not in names:
            continue
        origin = f"/{path.relative_to(root)}:{directive.number}"
        for parameter, value in split_options(options):
            found.append(Setting(parameter, value, origin, path.name > OPTIONS_FILE.name))
    return (*found, *_on_command_line(read_text(root / _COMMAND_LINE[1:]) or "", names))


def parse_configuration(text: str) -> tuple[Directive, ...]:
    """Return the lines of a modprobe.d file that say something, comments left out."""
    found = []
    for number, line in _logical_lines(text):
        if not line.startswith("#"):
            command, rest = _first_word(line)
            if command:
                found.append(Directive(number, command, rest))
    return tuple(found)


def split_options(text: str) -> tuple[tuple[str, str], ...]:
    """Return the parameters of an options line as the kernel reads them: in order, unquoted.

    >>> split_options('NVreg_EnableMSI=1 NVreg_RegistryDwords="A=1;B=2" "other=x y"')
    (('NVreg_EnableMSI', '1'), ('NVreg_RegistryDwords', 'A=1;B=2'), ('other', 'x y'))
    """
    found = []
    for word in _words(text):
        # The quotes may stand around the value or around the whole.
        whole = word.startswith('"')
        name, _equals, value = word[whole:].partition("=")
        quoted = value.startswith('"')
        value = value[quoted:]
        if (quoted or whole) and value.endswith('"'):
            value = value[:-1]
        found.append((_underscored(name), value))
    return tuple(found)


def loading_line(show_depends: Sequence[str], name: str) -> str | None:
    """Return the line of ``modprobe --show-depends`` that loads the module's file, or None."""
    for line in show_depends:
        command, rest = _first_word(line)
        file = PurePosixPath(_first_word(rest)[0]).name.partition(".ko")[0]
        if command == "insmod" and _underscored(file) == _underscored(name):
            return line
    return None


def passed_options(show_depends: str) -> dict[str, str] | None:
    """Return the parameters that modprobe passes to the nvidia module, by --show-depends.

    None where it does not load the module's file.
    """
    line = loading_line(show_depends.splitlines(), MODULE)
    if line is None:
        return None
    # "insmod PATH PARAMETERS"
    return dict(split_options(" ".join(line.split(maxsplit=2)[2:])))


def _configuration_files(root: Path) -> list[Path]:
    """Return the files of others that count, in the order in which modprobe reads them."""
    found: dict[str, Path] = {OPTIONS_FILE.name: root}
    for directory in DIRECTORIES:
        for path in (root / directory).glob("[!.]*"):
            if path.suffix in _SUFFIXES and path.is_file():
                found.setdefault(path.name, path)
    del found[OPTIONS_FILE.name]
    return [found[name] for name in sorted(found)]


def _names(directives: Iterator[Directive]) -> frozenset[str]:
    """Return the names whose options reach the module: its own and its aliases."""
    names = {MODULE}
    for directive in directives:
        if directive.command == "alias":
            alias, module = _first_word(directive.rest)
            if _underscored(module.strip()) == MODULE:
                names.add(_underscored(alias))
    return frozenset(names)


def _on_command_line(text: str, names: frozenset[str]) -> Iterator[Setting]:
    for name, value in split_options(text):
        module, dot, parameter = name.partition(".")
        if dot and module in names:
            yield Setting(parameter, value, _COMMAND_LINE, later=True)


def _logical_lines(text: str) -> Iterator[tuple[int, str]]:
    """Yield each line with the number that it begins at; a backslash before its end joins two."""
    line, number, begins = "", 1, 1
    characters = iter(text)
    for character in characters:
        # A backslash is dropped and the character behind it kept, unless that is the line's end.
        escaped = next(characters, "") if character == "\\" else None
        number += "\n" in (character, escaped)
        if character == "\n":
            yield begins, line
            line, begins = "", number
        elif escaped != "\n":
            line += character if escaped is None else escaped
    if line:
        yield begins, line


def _words(text: str) -> Iterator[str]:
    """Yield the words between blanks that are not inside quotes."""
    word, quoted = "", False
    for character in text:
        if character == '"':
            quoted = not quoted
        if character.isspace() and not quoted:
            if word:
                yield word
            word = ""
        else:
            word += character
    if word:
        yield word


def _first_word(text: str) -> tuple[str, str]:
    parts = text.split(maxsplit=1)
    return (parts[0] if parts else ""), (parts[1] if len(parts) > 1 else "")


def _underscored(name: str) -> str:
    """Return a module's or a parameter's name as the kernel compares it."""
    return name.replace("-", "_")
