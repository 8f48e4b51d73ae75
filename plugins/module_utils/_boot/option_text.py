# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Kernel parameters in somebody else's text: words are put in and taken out, the rest stays.

Taking out what was put in gives the former text back to the byte.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from .cmdline import Parameter, format_parameter

# A word as the kernel delimits it: blanks inside double quotes belong to it (lib/cmdline.c).
_WORD = re.compile(r'(?:"[^"]*"?|[^\s"])+')


def words_of(parameters: Sequence[Parameter]) -> list[str]:
    """Return the parameters as they are written here, each one word."""
    return [format_parameter(parameter) for parameter in parameters]


def span_of(text: str, words: Sequence[str]) -> tuple[int, int] | None:
    """Return start and end of the last run of ``words`` in the text, or None."""
    found = list(_WORD.finditer(text))
    size = len(words)
    for first in range(len(found) - size, -1, -1) if size else ():
        run = found[first : first + size]
        if [match[0] for match in run] == list(words):
            return run[0].start(), run[-1].end()
    return None


def with_words(text: str, words: Sequence[str], *, ahead_of: str = "") -> str:
    """Return the text with ``words`` behind its last word, or ahead of it if it begins so.

    Args:
        ahead_of: how a last word begins that has to stay the last; empty for none.
    """
    if not words:
        return text
    found = list(_WORD.finditer(text))
    if ahead_of and found and found[-1][0].startswith(ahead_of):
        found.pop()
    position = found[-1].end() if found else 0
    lead = " " if position else ""
    tail = " " if not position and text[:1].strip() else ""
    return text[:position] + lead + " ".join(words) + tail + text[position:]


def without_words(text: str, *candidates: Sequence[str]) -> str:
    """Return the text without one of the runs, the longest that it has, and the blank before it.

    A shorter run may be a part of a longer one, never the other way round.
    """
    for words in sorted(candidates, key=len, reverse=True):
        span = span_of(text, words)
        if span is not None:
            start, end = span
            if start:
                return text[: start - 1] + text[end:]
            return text[end:].removeprefix(" ")
    return text
