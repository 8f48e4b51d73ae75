# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Cases for parsers: real texts with a few damages, and plain noise."""

from __future__ import annotations

import copy
import re
from typing import Any

from hypothesis import strategies as st

# What has broken parsers before: bytes that are no UTF-8, digits and line ends that only Unicode
# has, numbers longer than any field, openings that are never closed.
_NASTY = (
    b"\0",
    b"\xff",
    b"\xc3\x28",
    b"\xef\xbb\xbf",
    b"\r",
    b"\n",
    b"\n\n",
    b" ",
    b"\t",
    b"\\",
    b"'",
    b'"',
    b"=",
    b",",
    b":",
    b";",
    b"#",
    b"-1",
    b"0x",
    b"1e999",
    b"NaN",
    b"9" * 40,
    b"9" * 5000,
    "\u0663".encode(),  # a digit to str.isdigit and re's \d
    "\u00b2".encode(),  # a digit to str.isdigit, not to int()
    "\u2028".encode(),  # a line end to str.splitlines
    b"[" * 3000,
    b"{" * 200,
    b"(" * 200,
)
_PIECES = re.compile(rb"[A-Za-z0-9_.]+|[^A-Za-z0-9_.\s]+|\s+")
_LENGTHS = (0, 0, 1, 2, 5, 20, 100)
_REPEATS = (1, 1, 1, 2, 40)

_LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["", "9" * 5000, "0000:01:00.0", "2026-11-23T09:30:00+00:00"])
)
JSON = st.recursive(
    _LEAVES,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=8,
)


def mutated(*samples: bytes) -> st.SearchStrategy[bytes]:
    """Return samples with up to five damages, among them pieces of other samples; and noise."""
    pieces = sorted({piece for sample in samples for piece in _PIECES.findall(sample)})
    inserts = st.sampled_from([*_NASTY, *pieces]) | st.binary(max_size=6)
    edit = st.tuples(st.floats(0, 1), st.sampled_from(_LENGTHS), inserts, st.sampled_from(_REPEATS))

    def damaged(sample: bytes, edits: list[tuple[float, int, bytes, int]]) -> bytes:
        data = bytearray(sample)
        for place, length, piece, repeats in edits:
            start = int(place * len(data))
            data[start : start + length] = piece * repeats
        return bytes(data)

    near = st.builds(damaged, st.sampled_from(samples), st.lists(edit, max_size=5))
    noise = st.binary(max_size=64) | st.lists(inserts, max_size=12).map(b"".join)
    # Four of five are near a sample: noise seldom gets past a parser's first line.
    return st.integers(0, 4).flatmap(lambda die: near if die else noise)


@st.composite
def mutated_json(draw: st.DrawFn, sample: object) -> Any:
    """Return parsed JSON with up to three values replaced, taken away or added, or any JSON."""
    if not draw(st.integers(0, 9)):
        return draw(JSON)
    root = [copy.deepcopy(sample)]
    for _round in range(draw(st.integers(0, 3))):
        holder, key = _place(draw, root)
        action = draw(st.sampled_from(("replace", "replace", "drop", "add")))
        if action == "replace":
            holder[key] = draw(JSON)
        elif action == "drop" and holder is not root:
            del holder[key]
        elif action == "add" and isinstance(holder, dict):
            holder[draw(st.text(max_size=8))] = draw(JSON)
        elif action == "add" and holder is not root:
            holder.insert(key, draw(JSON))
    return root[0]


def _place(draw: st.DrawFn, root: list[Any]) -> tuple[Any, Any]:
    """Return a container within the only value of ``root``, and a key of it."""
    holder, key = root, 0
    while isinstance(holder[key], (dict, list)) and holder[key] and draw(st.integers(0, 4)):
        holder = holder[key]
        key = draw(
            st.sampled_from(sorted(holder) if isinstance(holder, dict) else range(len(holder)))
        )
    return holder, key
