# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading a JSON description key by key, so that a wrong or misspelt one is named by its place."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from ansible_collections.gpufleet.p2p.plugins.module_utils._host.errors import GpufleetError

IDENTIFIER = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,30}")
_Value = TypeVar("_Value")


class DescriptionInvalid(GpufleetError):
    """A host description that no machine can be built from."""


def invalid(where: str, read: str, want: str, remedy: str) -> DescriptionInvalid:
    """Return the refusal of what stands at a place of the description."""
    return DescriptionInvalid(
        "lab_description_invalid", read=f"{where}: {read}", want=want, remedy=remedy
    )


class Section:
    """One JSON object whose keys are taken one by one; a key left over is a spelling error."""

    def __init__(self, data: object, where: str) -> None:
        if not isinstance(data, Mapping):
            raise invalid(where, json.dumps(data), "an object", "look at lab/hosts/alpha.json")
        self._data: dict[str, Any] = dict(data)
        self._where = where

    def _take(self, key: str, default: object = None) -> Any:
        if key in self._data:
            return self._data.pop(key)
        if default is None:
            raise invalid(f"{self._where}: {key}", "no such key", "a value", "add the key")
        return default

    def _wrong(self, key: str, value: object, want: str) -> DescriptionInvalid:
        return invalid(
            f"{self._where}: {key}", json.dumps(value), want, "correct the value in the description"
        )

    def has(self, key: str) -> bool:
        """Return whether the key is there and not taken yet."""
        return key in self._data

    def integer(
        self, key: str, least: int, most: int | None = None, *, default: int | None = None
    ) -> int:
        """Return the whole number under ``key``, within the bounds."""
        value = self._take(key, default)
        limit = "" if most is None else f" and at most {most}"
        if type(value) is not int or value < least or (most is not None and value > most):
            raise self._wrong(key, value, f"a whole number of at least {least}{limit}")
        return value

    def number(self, key: str) -> float:
        """Return the positive number under ``key``."""
        value = self._take(key)
        if type(value) not in (int, float) or value <= 0:
            raise self._wrong(key, value, "a number above 0")
        return float(value)

    def share(self, key: str, *, default: float) -> float:
        """Return the part of a whole under ``key``, or the default."""
        value = self._data.pop(key, default)
        if type(value) not in (int, float) or not 0 < value <= 1:
            raise self._wrong(key, value, "a number above 0, at most 1")
        return float(value)

    def boolean(self, key: str, *, default: bool) -> bool:
        """Return the truth value under ``key``, or the default."""
        value = self._data.pop(key, default)
        if type(value) is not bool:
            raise self._wrong(key, value, "true or false")
        return value

    def text(self, key: str) -> str:
        """Return the text under ``key``, which may not be empty."""
        value = self._take(key)
        if not isinstance(value, str) or not value:
            raise self._wrong(key, value, "a text")
        return value

    def matching(self, key: str, pattern: re.Pattern[str]) -> str:
        """Return the text under ``key``, all of which the pattern matches."""
        value = self._take(key)
        if not isinstance(value, str) or not pattern.fullmatch(value):
            raise self._wrong(key, value, f"a text of the form {pattern.pattern}")
        return value

    def one_of(
        self, key: str, allowed: Sequence[_Value], *, default: _Value | None = None
    ) -> _Value:
        """Return the value under ``key``, which is one of those allowed, or the default."""
        value = self._take(key, default)
        for candidate in allowed:
            if type(value) is type(candidate) and value == candidate:
                return candidate
        raise self._wrong(key, value, f"one of {', '.join(str(one) for one in allowed)}")

    def integers(self, key: str, count: int) -> list[int]:
        """Return the list of ``count`` whole numbers under ``key``."""
        value = self._take(key)
        if not isinstance(value, list) or [type(item) for item in value] != [int] * count:
            raise self._wrong(key, value, f"a list of {count} whole numbers")
        return value

    def identifiers(self, key: str) -> tuple[str, ...]:
        """Return the list of port ids under ``key``, at least one."""
        value = self._take(key)
        if (
            not isinstance(value, list)
            or not value
            or not all(isinstance(item, str) and IDENTIFIER.fullmatch(item) for item in value)
        ):
            raise self._wrong(key, value, "a list of port ids")
        return tuple(value)

    def section(self, key: str) -> Section:
        """Return the object under ``key``."""
        return Section(self._take(key), f"{self._where}: {key}")

    def sections(self, key: str, *, may_be_empty: bool = False) -> list[Section]:
        """Return the list of objects under ``key``."""
        value = self._take(key, [] if may_be_empty else None)
        if not isinstance(value, list) or not (value or may_be_empty):
            raise self._wrong(key, value, "a list of objects")
        return [Section(item, f"{self._where}: {key}[{index}]") for index, item in enumerate(value)]

    def close(self) -> None:
        """Refuse keys that nothing has taken."""
        if self._data:
            raise invalid(
                f"{self._where}", ", ".join(sorted(self._data)), "no other keys", "remove them"
            )
