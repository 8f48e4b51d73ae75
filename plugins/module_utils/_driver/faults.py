# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is wrong with a description that an operator wrote: every fault, each by its place."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .._host.errors import GpufleetError

_SHOWN_CHARACTERS = 120


@dataclass(frozen=True)
class Problem:
    """One fault: where it is, such as ``p2p_driver.source.commit``, what was read and wanted."""

    place: str
    read: str
    want: str


class SpecificationInvalid(GpufleetError):
    """The description of a driver build has faults; ``problems`` lists them in order."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__(
            "driver_specification_invalid",
            read="; ".join(f"{problem.place}: {problem.read}" for problem in problems),
            want="; ".join(f"{problem.place}: {problem.want}" for problem in problems),
            remedy="correct these in p2p_driver",
        )
        self.problems = tuple(problems)


class Faults:
    """Collects what is wrong while the rest is still looked at."""

    def __init__(self) -> None:
        self.found: list[Problem] = []

    def add(self, place: str, value: object, want: str) -> None:
        """Note that ``value`` is not what is wanted at ``place``."""
        self.found.append(Problem(_one_line(place), _shown(value), want))

    def mapping(self, value: object, place: str, known: Sequence[str]) -> Mapping[str, Any]:
        """Return a mapping with known keys only; an empty one after a fault."""
        if not isinstance(value, Mapping):
            self.add(place, value, f"a mapping with {', '.join(known)}")
            return {}
        for name in value:
            if name not in known:
                self.add(
                    f"{place}.{name}", value[name], f"no such field; known: {', '.join(known)}"
                )
        return {str(name): value[name] for name in value if name in known}

    def text(
        self, fields: Mapping[str, Any], name: str, place: str, form: re.Pattern[str], want: str
    ) -> str | None:
        """Return a required text of a form, None after a fault."""
        return self._text(fields.get(name), f"{place}.{name}", form, want)

    def optional_text(
        self, fields: Mapping[str, Any], name: str, place: str, form: re.Pattern[str], want: str
    ) -> str | None:
        """Return a text of a form, None where it is left out or after a fault."""
        value = fields.get(name)
        return None if value is None else self._text(value, f"{place}.{name}", form, want)

    def _text(self, value: object, place: str, form: re.Pattern[str], want: str) -> str | None:
        if isinstance(value, str) and form.fullmatch(value):
            return value
        self.add(place, value, want)
        return None


def _shown(value: object) -> str:
    """Return a value as an operator recognises it, one line and not too long."""
    if value is None:
        return "missing"
    if isinstance(value, float):
        return f"{value} (a number: a release such as 570.10 loses its zero without quotes)"
    text = repr(value) if isinstance(value, str) else str(value)
    text = _one_line(text)
    return text if len(text) <= _SHOWN_CHARACTERS else text[: _SHOWN_CHARACTERS - 1] + "…"


def _one_line(text: str) -> str:
    return "".join(character if character.isprintable() else "?" for character in text)
