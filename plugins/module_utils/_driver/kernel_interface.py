# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a source calls pci_resize_resource() as the kernel's headers declare it.

The function gained a fourth argument (exclude_bars) within stable series: 6.12.97, 6.18.40 and
Debian's 6.1.192. Drivers that were not adapted fail to compile there after minutes; comparing the
number of arguments takes milliseconds.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from .._host.errors import GpufleetError
from .._host.files import read_text

_FUNCTION = "pci_resize_resource"
_DECLARATION = re.compile(r"\b(?:int|void)\s+(?:__must_check\s+)?" + _FUNCTION + r"\s*\(")
_CALL = re.compile(r"(?<![\w])" + _FUNCTION + r"\s*\(")
_COMMENT = re.compile(r"/\*.*?\*/|//[^\n]*", re.DOTALL)
_HEADER = "include/linux/pci.h"


class KernelSignatureMismatch(GpufleetError):
    """The source cannot be compiled against this kernel's headers."""


@dataclass(frozen=True)
class ResizeSignature:
    """Argument counts: what the header declares (None: not declared), what the source calls."""

    declared: int | None
    called: frozenset[int]

    @property
    def fits(self) -> bool:
        """Whether the source has a call of the declared form, or none at all.

        An adapted source holds both forms under an #if and calls both counts.
        """
        return self.declared is None or not self.called or self.declared in self.called


def read_signature(tree: Path, headers: Path) -> ResizeSignature:
    """Return the signature of the headers at ``headers`` and of the kernel interface in ``tree``.

    ``headers`` is the directory that holds include/linux/pci.h: /lib/modules/KERNEL/source where
    it exists, else /lib/modules/KERNEL/build.
    """
    return ResizeSignature(declared_in(headers), called_in(tree))


def declared_in(headers: Path) -> int | None:
    """Return how many arguments a kernel's headers declare, None where they have no declaration."""
    return declared_arguments(read_text(headers / _HEADER) or "")


def called_in(tree: Path) -> frozenset[int]:
    """Return the argument counts of the calls in a source tree's kernel interface."""
    called: frozenset[int] = frozenset()
    for path in sorted((tree / "kernel-open").rglob("*.[ch]")):
        called |= called_arguments(read_text(path) or "")
    return called


def require_signature(tree: Path, headers: Path, kernel: str) -> None:
    """Refuse a source that the kernel's headers cannot compile.

    Raises:
        KernelSignatureMismatch: no call in the source has the declared number of arguments.
    """
    signature = read_signature(tree, headers)
    if not signature.fits:
        raise KernelSignatureMismatch(
            "kernel_signature_mismatch",
            read=f"{_FUNCTION}() takes {signature.declared} arguments in kernel {kernel}; "
            f"the source calls it with {', '.join(map(str, sorted(signature.called)))}",
            want=f"a source that calls it with {signature.declared} arguments",
            remedy="use a driver version adapted to this kernel (580.126.09, 590.48.01, 595 or "
            "later), or add a patch file that adapts this one",
        )


def declared_arguments(header: str) -> int | None:
    """Return how many parameters the header's declaration has, None where it has none."""
    text = _COMMENT.sub(" ", header)
    match = _DECLARATION.search(text)
    return _count(text, match.end()) if match else None


def called_arguments(source: str) -> frozenset[int]:
    """Return the argument counts of all calls in C source text; declarations are not calls."""
    text = _COMMENT.sub(" ", source)
    declarations = {match.end() for match in _DECLARATION.finditer(text)}
    counts = set()
    for match in _CALL.finditer(text):
        if match.end() not in declarations:
            counts.add(_count(text, match.end()))
    return frozenset(count for count in counts if count)


def _count(text: str, start: int) -> int:
    """Count the arguments from just behind the opening bracket; 0 where it is never closed."""
    depth, commas = 1, 0
    for position in range(start, len(text)):
        character = text[position]
        if character in "([{":
            depth += 1
        elif character in ")]}":
            depth -= 1
            if depth == 0:
                return commas + 1 if text[start:position].strip() else 0
        elif character == "," and depth == 1:
            commas += 1
    return 0
