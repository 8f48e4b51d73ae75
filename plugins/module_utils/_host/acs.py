# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Access Control Services of a bridge: whether it sends peer traffic up to the root complex.

Layout: PCI Express extended capability 0x000D, control register at +6.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from .config_space import (
    CONVENTIONAL_BYTES,
    PCI_EXPRESS_CAPABILITY,
    acs_control,
    find_capability,
    is_answering,
)
from .pci import EXTENDED_BYTES, read_config

# PCI_ACS_SV to PCI_ACS_DT: source validation, translation blocking, request and completion
# redirect, upstream forwarding, egress control, direct translated peer-to-peer.
_BITS = (
    ("SV", 0x01),
    ("TB", 0x02),
    ("RR", 0x04),
    ("CR", 0x08),
    ("UF", 0x10),
    ("EC", 0x20),
    ("DT", 0x40),
)
# Those that redirect peer-to-peer traffic: requests, completions, and chosen ports'.
_REDIRECTING = ("RR", "CR", "EC")


@dataclass(frozen=True)
class AcsState:
    """A bridge's ACS: ``bits`` names the set control bits, ``redirect`` those of RR, CR, EC.

    ``readable`` is False where extended configuration space was not (it takes root); then
    ``present`` is False and ``control`` None without saying anything about the bridge.
    """

    bdf: str
    readable: bool
    present: bool
    control: int | None
    redirect: tuple[str, ...]

    @property
    def bits(self) -> tuple[str, ...]:
        """The set control bits of SV, TB, RR, CR, UF, EC, DT."""
        return _names(self.control)


def parse_acs(bdf: str, config: bytes) -> AcsState:
    """Return the ACS state that a configuration space of up to 4096 bytes tells of."""
    if not _is_complete(config):
        return AcsState(bdf, readable=False, present=False, control=None, redirect=())
    control = acs_control(config)
    redirect = tuple(name for name in _names(control) if name in _REDIRECTING)
    return AcsState(bdf, True, control is not None, control, redirect)


def read_acs(root: Path, bdf: str) -> AcsState:
    """Return the ACS state of the function at ``bdf``."""
    return parse_acs(bdf, read_config(root, bdf, EXTENDED_BYTES))


def _names(control: int | None) -> tuple[str, ...]:
    return tuple(name for name, bit in _BITS if control is not None and control & bit)


def _is_complete(config: bytes) -> bool:
    if not is_answering(config) or len(config) < CONVENTIONAL_BYTES:
        return False
    # 256 bytes are all that a conventional function has; a PCI Express one has 4096, and where
    # the kernel cannot reach them (no MMCONFIG) nothing is known about its ACS.
    return (
        len(config) > CONVENTIONAL_BYTES or find_capability(config, PCI_EXPRESS_CAPABILITY) is None
    )
