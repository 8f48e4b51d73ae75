# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What gpufleet wrote down on a host for itself, read back: as it was written, or a refusal.

Such a file is written whole or not at all, so one that is cut short or says something else was
damaged or made by somebody else. To take it for "nothing noted" would lose the way back.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Callable, TypeVar

from .errors import GpufleetError
from .foreign_text import parse_json

Content = TypeVar("Content")
_SHOWN_CHARACTERS = 120


class StateUnreadable(GpufleetError):
    """A file of gpufleet's own does not hold what gpufleet writes there."""


def read_state(
    path: Path, parse: Callable[[Any], Content], *, want: str, remedy: str
) -> Content | None:
    """Return what ``parse`` makes of the JSON in a file; None where there is no file.

    Args:
        path: the file.
        parse: takes what the JSON says; raises ValueError, KeyError, TypeError or AttributeError
            for what is not ours.
        want: what the file should hold, in words.
        remedy: what to do about one that does not.

    Raises:
        StateUnreadable: the file is cut short, damaged or of somebody else.
        OSError: it is there and cannot be read.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    try:
        return parse(parse_json(data))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        why = f"{type(error).__name__}: {error}"
        shown = why if len(why) <= _SHOWN_CHARACTERS else why[:_SHOWN_CHARACTERS] + "…"
        raise StateUnreadable(
            "state_unreadable",
            read=f"{path}: {len(data)} bytes, {shown}",
            want=want,
            remedy=remedy,
        ) from error
