# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which architecture a compute capability belongs to: GPUs of different ones do not pair."""

from __future__ import annotations

from collections.abc import Sequence

# CUDA C++ Programming Guide, appendix "Compute Capabilities": the first capability of each
# architecture. 8.9 is Ada within major 8; 9.x is Hopper; 10.x to 12.x are Blackwell.
_FIRST_CAPABILITY = (
    ((12, 0), "blackwell"),
    ((10, 0), "blackwell"),
    ((9, 0), "hopper"),
    ((8, 9), "ada"),
    ((8, 0), "ampere"),
    ((7, 5), "turing"),
    ((7, 0), "volta"),
    ((6, 0), "pascal"),
    ((5, 0), "maxwell"),
)
_NEWEST_KNOWN_MAJOR = 12
SUPPORTED = ("ampere", "ada", "hopper", "blackwell")


def generation_of(compute_capability: tuple[int, int]) -> str:
    """Return the architecture's name in lower case; ``unknown`` for one that is not listed.

    >>> generation_of((12, 0))
    'blackwell'
    """
    if compute_capability[0] > _NEWEST_KNOWN_MAJOR:
        return "unknown"
    for first, name in _FIRST_CAPABILITY:
        if compute_capability >= first:
            return name
    return "unknown"


def is_supported(generation: str | None, supported: Sequence[str] = SUPPORTED) -> bool:
    """Return whether the peer-to-peer drivers work on this generation, or one for ``supported``.

    Consumer Turing and older accept the patch and then lose data. An unknown, newer one gets the
    benefit of the doubt: the measurement decides.
    """
    return generation in supported or generation in ("unknown", None)
