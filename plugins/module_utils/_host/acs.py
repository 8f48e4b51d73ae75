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

# The control bits that redirect peer-to-peer traffic: requests, completions, and (by egress
# control) chosen ports.
_REDIRECT_BITS = (("RR", 0x04), ("CR", 0x08), ("EC", 0x20))


@dataclass(frozen=True)
class AcsState:
    """A bridge's ACS: ``redirect`` holds the set ones of RR, CR, EC.

    ``readable`` is False where extended configuration space was not (it takes root); then
    ``present`` is False and ``control`` None without saying anything about the bridge.
    """

    bdf: str
    readable: bool
    present: bool
    control: int | None
    redirect: tuple[str, ...]


def parse_acs(bdf: str, config: bytes) -> AcsState:
    """Return the ACS state that a configuration space of up to 4096 bytes tells of."""
    if not _is_complete(config):
        return AcsState(bdf, readable=False, present=False, control=None, redirect=())
    control = acs_control(config)
    redirect = tuple(name for name, bit in _REDIRECT_BITS if control is not None and control & bit)
    return AcsState(bdf, True, control is not None, control, redirect)


def read_acs(root: Path, bdf: str) -> AcsState:
    """Return the ACS state of the function at ``bdf``."""
    return parse_acs(bdf, read_config(root, bdf, EXTENDED_BYTES))


def _is_complete(config: bytes) -> bool:
    if not is_answering(config) or len(config) < CONVENTIONAL_BYTES:
        return False
    # 256 bytes are all that a conventional function has; a PCI Express one has 4096, and where
    # the kernel cannot reach them (no MMCONFIG) nothing is known about its ACS.
    return (
        len(config) > CONVENTIONAL_BYTES or find_capability(config, PCI_EXPRESS_CAPABILITY) is None
    )
