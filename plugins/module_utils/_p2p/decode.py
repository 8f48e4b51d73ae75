# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading typed values out of parsed JSON, so that a malformed record is refused by its path."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Callable, TypeVar

from .._host.errors import GpufleetError

T = TypeVar("T")


class MalformedResult(GpufleetError):
    """A record does not have the shape of the result schema; ``read`` names the place."""


def malformed(place: str, found: object, wanted: str) -> MalformedResult:
    """Return the error for ``found`` at ``place`` (a path such as ``pairs[3].verdict``)."""
    text = repr(found)
    return MalformedResult(
        "result_malformed",
        read=f"{place}: {text if len(text) <= 80 else text[:77] + '...'}",
        want=wanted,
        remedy="give a result written by p2p_verify with schema version 1",
    )


class Reader:
    """One JSON object and its place in the record; each method reads one key or refuses.

    Unknown keys are left alone, so that a later minor addition does not break older readers.
    All methods raise MalformedResult where the key is missing or of another type.
    """

    def __init__(self, data: object, place: str) -> None:
        if not isinstance(data, Mapping):
            raise malformed(place or "the record", data, "an object")
        self._data: Mapping[str, Any] = data
        self._place = place

    def at(self, key: str) -> str:
        """Return the place of ``key``, as error messages name it."""
        return f"{self._place}.{key}" if self._place else key

    def value(self, key: str) -> Any:
        """Return the raw value; None is a value, a missing key is not."""
        if key not in self._data:
            raise malformed(self._place or "the record", sorted(map(str, self._data)), f"key {key}")
        return self._data[key]

    def has(self, key: str) -> bool:
        """Return whether the key is there: a record from before it was added lacks it."""
        return key in self._data

    def text(self, key: str) -> str:
        """Return a string."""
        value = self.value(key)
        if not isinstance(value, str):
            raise malformed(self.at(key), value, "a string")
        return str(value)

    def integer(self, key: str) -> int:
        """Return a whole number; true and false are not numbers."""
        value = self.value(key)
        if not isinstance(value, int) or isinstance(value, bool):
            raise malformed(self.at(key), value, "a whole number")
        return int(value)

    def number(self, key: str) -> float:
        """Return a number as float."""
        value = self.value(key)
        if not isinstance(value, (int, float)) or isinstance(value, bool):
            raise malformed(self.at(key), value, "a number")
        return float(value)

    def amount(self, key: str) -> float:
        """Return a finite number that is not negative."""
        value = self.number(key)
        if not 0 <= value < math.inf:
            raise malformed(self.at(key), value, "a number of at least 0")
        return value

    def flag(self, key: str) -> bool:
        """Return true or false."""
        value = self.value(key)
        if not isinstance(value, bool):
            raise malformed(self.at(key), value, "true or false")
        return value

    def choice(self, key: str, choices: Sequence[str]) -> str:
        """Return a string that is one of ``choices``."""
        value = self.text(key)
        if value not in choices:
            raise malformed(self.at(key), value, "one of " + ", ".join(choices))
        return value

    def optional(self, key: str, read: Callable[[str], T]) -> T | None:
        """Return None for null, else what ``read`` (a bound method of this reader) gives."""
        return None if self.value(key) is None else read(key)

    def child(self, key: str) -> Reader:
        """Return a reader of the object under ``key``."""
        return Reader(self.value(key), self.at(key))

    def children(self, key: str) -> tuple[Reader, ...]:
        """Return a reader for each object of the list under ``key``."""
        return tuple(
            Reader(item, f"{self.at(key)}[{position}]")
            for position, item in enumerate(self.array(key))
        )

    def array(self, key: str) -> tuple[Any, ...]:
        """Return a list's raw items."""
        value = self.value(key)
        if not isinstance(value, (list, tuple)):
            raise malformed(self.at(key), value, "a list")
        return tuple(value)

    def texts(self, key: str) -> tuple[str, ...]:
        """Return a list of strings."""
        items = self.array(key)
        for position, item in enumerate(items):
            if not isinstance(item, str):
                raise malformed(f"{self.at(key)}[{position}]", item, "a string")
        return tuple(str(item) for item in items)

    def integers(self, key: str) -> tuple[int, ...]:
        """Return a list of whole numbers."""
        items = self.array(key)
        for position, item in enumerate(items):
            if not isinstance(item, int) or isinstance(item, bool):
                raise malformed(f"{self.at(key)}[{position}]", item, "a whole number")
        return tuple(int(item) for item in items)

    def text_map(self, key: str) -> dict[str, str]:
        """Return an object whose values are strings."""
        inner = self.child(key)
        return {str(name): inner.text(name) for name in inner._data}
