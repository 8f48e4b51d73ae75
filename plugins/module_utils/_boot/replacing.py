# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The mark that one list of our parameters is taking the place of another, or that one is removed.

The new list in /etc alone does not tell whether the boot loader's files have followed: where it is
the shorter one, all of it is in force already, and what it lacks may still be in them. Nor does
the default entry tell about the others: it may have a list that is on its way out of all of them.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from .._host.files import read_bytes
from .._host.foreign_text import parse_json
from .cmdline import Parameter
from .interface import STATE_DIRECTORY, StateFile, Step

MARK = STATE_DIRECTORY / "replacing.json"


def former_words(root: Path) -> tuple[str, ...] | None:
    """Return the words that are being replaced, None where nothing is or was left half-way."""
    data = read_bytes(root / MARK)
    if data is None:
        return None
    try:
        return tuple(map(str, parse_json(data)["former"]))
    except (ValueError, KeyError, TypeError):
        # Damaged, but a mark: the files have to be brought in line.
        return ()


def marked(root: Path, former: Sequence[Parameter] | None, steps: Sequence[Step]) -> list[Step]:
    """Return ``steps`` between the marks of their beginning and their end.

    ``former`` are the parameters that they replace, None where they replace none: then only a mark
    that a killed run left goes at the end.
    """
    path = root / MARK
    begun = read_bytes(path)
    first: list[Step] = []
    if begun is None and former is not None:
        begun = (json.dumps({"former": [p.text for p in former]}) + "\n").encode()
        first.append(StateFile("mark the parameters as being changed", path, None, begun))
    last = [] if begun is None else [StateFile("take the mark away", path, begun, None)]
    return [*first, *steps, *last]
