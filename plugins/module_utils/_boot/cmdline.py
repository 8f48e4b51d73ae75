# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The kernel's command line as the kernel itself reads it: words, quotes, order, duplicates."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from .._host.errors import GpufleetError

# isspace() in the kernel's C locale table (lib/ctype.c).
_SPACES = " \t\n\v\f\r\xa0"
INIT_SEPARATOR = "--"


class ParameterRefused(GpufleetError):
    """A parameter cannot be carried to the kernel as written."""


@dataclass(frozen=True)
class Parameter:
    """One parameter; ``value`` is None for a flag such as ``quiet`` and "" for ``name=``."""

    name: str
    value: str | None = None

    @property
    def key(self) -> str:
        """The name as the kernel compares it: '-' and '_' are the same (kernel/params.c)."""
        return self.name.replace("-", "_")

    @property
    def text(self) -> str:
        """The parameter without quotes, as a boot loader's single argument."""
        return self.name if self.value is None else f"{self.name}={self.value}"

    def same_as(self, other: Parameter) -> bool:
        """Whether the kernel cannot tell the two apart."""
        return self.key == other.key and self.value == other.value


@dataclass(frozen=True)
class CommandLine:
    """Parameters in order, duplicates kept; ``for_init`` are the words after ``--``."""

    parameters: tuple[Parameter, ...] = ()
    for_init: tuple[str, ...] = ()

    def having(self, name: str) -> tuple[Parameter, ...]:
        """Return the parameters of that name, in order, '-' and '_' taken as the same."""
        key = Parameter(name).key
        return tuple(parameter for parameter in self.parameters if parameter.key == key)

    def value_of(self, name: str) -> str | None:
        """Return the last value given to ``name``, or None where it has none."""
        found = self.having(name)
        return found[-1].value if found else None

    def without(self, names: Iterable[str]) -> CommandLine:
        """Return this command line less every parameter of those names."""
        keys = {Parameter(name).key for name in names}
        kept = tuple(parameter for parameter in self.parameters if parameter.key not in keys)
        return CommandLine(kept, self.for_init)


@dataclass(frozen=True)
class Difference:
    """What the second of two command lines lacks and what it has besides, in order."""

    removed: tuple[Parameter, ...]
    added: tuple[Parameter, ...]


def _next_argument(text: str) -> tuple[str, str | None, str]:
    """Return name, value and the rest, a transcription of next_arg() in lib/cmdline.c."""
    start = quoted = in_quote = text.startswith('"')
    arguments = text[1:] if start else text
    equals = 0
    end = len(arguments)
    for position, character in enumerate(arguments):
        if character in _SPACES and not in_quote:
            end = position
            break
        if equals == 0 and character == "=":
            equals = position
        if character == '"':
            in_quote = not in_quote
    word, rest = arguments[:end], arguments[end + 1 :].lstrip(_SPACES)
    name, value = (word[:equals], word[equals + 1 :]) if equals else (word, None)
    if value is not None and value.startswith('"'):
        value = value[1:]
        if word.endswith('"') and value:
            value = value[:-1]
            quoted = False
    if quoted and word.endswith('"'):
        if value is None:
            name = name[:-1]
        elif value.endswith('"'):
            value = value[:-1]
    return name, value, rest


def parse(text: str) -> CommandLine:
    """Parse the text of /proc/cmdline or of a boot entry.

    Returns the parameters in order. Text after a lone ``--`` is not the kernel's: it goes to init
    (parse_args() in kernel/params.c) and is returned as ``for_init``.
    """
    parameters: list[Parameter] = []
    rest = text.lstrip(_SPACES)
    while rest:
        name, value, rest = _next_argument(rest)
        if name == INIT_SEPARATOR and value is None:
            return CommandLine(tuple(parameters), tuple(rest.split()))
        parameters.append(Parameter(name, value))
    return CommandLine(tuple(parameters))


def from_arguments(arguments: Iterable[str]) -> CommandLine:
    """Return the command line that GRUB's ``linux`` command makes of its arguments.

    GRUB joins them with spaces, wraps an argument that holds a space in double quotes and puts
    a backslash before quotes and backslashes (grub_create_loader_cmdline(), lib/cmdline.c).
    """
    words = []
    for argument in arguments:
        escaped = "".join(f"\\{c}" if c in "\\'\"" else c for c in argument)
        words.append(f'"{escaped}"' if " " in argument else escaped)
    return parse(" ".join(words))


def wanted(texts: Iterable[str]) -> tuple[Parameter, ...]:
    """Parse parameters asked for by a user, one per text, and drop exact repetitions.

    Raises:
        ParameterRefused: a text is empty, holds more than one parameter, or holds characters that
            no boot loader hands to the kernel unchanged.
    """
    found: list[Parameter] = []
    for text in texts:
        line = parse(text)
        if len(line.parameters) != 1 or line.for_init:
            raise ParameterRefused(
                "parameter_malformed",
                read=repr(text),
                want="exactly one kernel parameter per list item",
                remedy='write each parameter as its own item; a value with spaces as name="a b"',
            )
        parameter = line.parameters[0]
        _refuse_unportable(parameter)
        if not any(parameter.same_as(other) for other in found):
            found.append(parameter)
    return tuple(found)


def _refuse_unportable(parameter: Parameter) -> None:
    text = parameter.text
    if not parameter.name or parameter.name.startswith("=") or " " in parameter.name:
        problem = "a name that is empty or holds a space"
    elif any(character in "\"'\\" for character in text):
        # GRUB puts a backslash before these, and the kernel does not take it away.
        problem = "a quote or backslash inside the value"
    elif not all(" " <= character <= "~" for character in text):
        problem = "a character outside printable ASCII"
    else:
        return
    raise ParameterRefused(
        "parameter_unportable",
        read=f"{text!r} has {problem}",
        want="printable ASCII without quotes and backslashes inside",
        remedy="write the parameter without that character",
    )


def format_parameter(parameter: Parameter) -> str:
    """Return the parameter as /proc/cmdline shows it, quoted where its value holds a space."""
    if parameter.value is not None and (" " in parameter.value or parameter.value == ""):
        return f'{parameter.name}="{parameter.value}"'
    return parameter.text


def format_line(line: CommandLine) -> str:
    """Return text that ``parse`` turns into the same command line."""
    words = [format_parameter(parameter) for parameter in line.parameters]
    if line.for_init:
        words += [INIT_SEPARATOR, *line.for_init]
    return " ".join(words)


def merge(line: CommandLine, parameters: Iterable[Parameter]) -> CommandLine:
    """Return ``line`` ending in ``parameters``, earlier repetitions of exactly these removed.

    Other values of the same name stay where they are, as they would when appended: whether the
    last one wins is the business of ``conflicts``. Merging twice is the same as merging once.
    """
    appended = tuple(parameters)
    kept = tuple(old for old in line.parameters if not any(old.same_as(new) for new in appended))
    return CommandLine(kept + appended, line.for_init)


def difference(before: CommandLine, after: CommandLine) -> Difference:
    """Return the parameters that went and that came, repetitions counted."""
    remaining = list(after.parameters)
    removed = []
    for old in before.parameters:
        twin = next((new for new in remaining if new.same_as(old)), None)
        if twin is None:
            removed.append(old)
        else:
            remaining.remove(twin)
    return Difference(tuple(removed), tuple(remaining))
