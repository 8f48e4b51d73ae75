# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Registry keys of the resource manager, by name rather than by number where the number moved.

RMForceP2PType was renumbered in release 575: 2 meant BAR1 before and means NVLink since. A recipe
copied from an older driver would switch peer access off without a word, so that key takes a name
here, and the number is chosen by the driver's version. The values are those of nvrm_registry.h in
the sources of 570.86.16 and 595.45.04.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Union

from .._host.foreign_text import decimal

FORCE_P2P_TYPE = "RMForceP2PType"
PCIE_P2P_TYPE = "RMPcieP2PType"
#: The module parameter that carries the keys.
PARAMETER = "NVreg_RegistryDwords"

RegistryValue = Union[int, str]

_RENUMBERED = (575,)
_BEFORE: Mapping[str, Mapping[str, int]] = {
    "mailbox": {FORCE_P2P_TYPE: 1},
    "bar1": {FORCE_P2P_TYPE: 2},
    "nvlink": {FORCE_P2P_TYPE: 3},
    "c2c": {FORCE_P2P_TYPE: 4},
}
_SINCE: Mapping[str, Mapping[str, int]] = {
    "pcie": {FORCE_P2P_TYPE: 1},
    "mailbox": {FORCE_P2P_TYPE: 1, PCIE_P2P_TYPE: 0},
    "bar1": {FORCE_P2P_TYPE: 1, PCIE_P2P_TYPE: 1},
    "nvlink": {FORCE_P2P_TYPE: 2},
    "c2c": {FORCE_P2P_TYPE: 3},
}


def version_order(version: str) -> tuple[int, ...]:
    """Return a driver release as numbers, so that 580.95.05 comes before 580.105.08."""
    numbers = (decimal(part) for part in version.split("."))
    return tuple(number for number in numbers if number is not None)


def p2p_types(version: str) -> Mapping[str, Mapping[str, int]]:
    """Return the names that RMForceP2PType takes in a release, and the keys each stands for."""
    return _SINCE if version_order(version) >= _RENUMBERED else _BEFORE


def has_pcie_p2p_type(version: str) -> bool:
    """Return whether the release knows RMPcieP2PType."""
    return version_order(version) >= _RENUMBERED


def resolved(registry: Mapping[str, RegistryValue], version: str) -> dict[str, int]:
    """Return the numbers to set for a valid registry (specification.parse has checked it)."""
    numbers: dict[str, int] = {}
    for key, value in registry.items():
        if key == FORCE_P2P_TYPE:
            numbers.update(p2p_types(version)[str(value)])
        else:
            numbers[key] = int(value)
    return dict(sorted(numbers.items()))


def module_option(numbers: Mapping[str, int]) -> str:
    """Return the value of NVreg_RegistryDwords, empty for no keys."""
    return ";".join(f"{key}={value}" for key, value in numbers.items())
