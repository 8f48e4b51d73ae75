# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Registry keys of the resource manager, by name rather than by number where the number moved.

A key ``NVreg_NAME`` is a parameter of the kernel module; any other is a key of the resource manager
and travels in the parameter NVreg_RegistryDwords. Both end in one registry, in which names differ
by more than case only (registry.c of the driver's source).

RMForceP2PType was renumbered in release 575: 2 meant BAR1 before and means NVLink since. A recipe
copied from an older driver would switch peer access off without a word, so that key takes a name
here, and the number is chosen by the driver's version. The values are those of nvrm_registry.h in
the sources of 570.86.16 and 595.45.04.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Union

from .._host.foreign_text import decimal
from .faults import Faults, SpecificationInvalid

FORCE_P2P_TYPE = "RMForceP2PType"
PCIE_P2P_TYPE = "RMPcieP2PType"
PREFIX = "NVreg_"
#: The module parameter that carries the resource manager's keys, and the one with keys of one GPU.
DWORDS = PREFIX + "RegistryDwords"
DWORDS_PER_DEVICE = PREFIX + "RegistryDwordsPerDevice"

RegistryValue = Union[int, str]

_KEY = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_LARGEST_DWORD = 0xFFFFFFFF
# Parameters that take text (NV_DEFINE_REG_STRING_ENTRY in nv-reg.h): no number of ours fits them.
_TEXTS = frozenset(
    PREFIX.casefold() + name
    for name in (
        "registrydwords",
        "registrydwordsperdevice",
        "rmmsg",
        "gpublacklist",
        "excludedgpus",
        "assigngpus",
        "temporaryfilepath",
        "rmnvlinkbandwidth",
        "coherentgpumemorymode",
    )
)
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


def canonical(key: str) -> str:
    """Return the name under which the driver looks a key up: NVreg_EnableMSI is enablemsi."""
    name = key.casefold()
    return name[len(PREFIX) :] if name.startswith(PREFIX.casefold()) else name


def read(
    faults: Faults, value: object, place: str, version: str | None
) -> tuple[tuple[str, RegistryValue], ...]:
    """Return the keys that a description names, in order; what is wrong goes to ``faults``.

    Args:
        value: the mapping of keys to numbers, or None.
        place: what to call it in a fault.
        version: the driver's release, None where it is not known because it is at fault itself.
    """
    if value is None:
        return ()
    if not isinstance(value, Mapping):
        faults.add(place, value, "a mapping of registry keys to numbers")
        return ()
    found: dict[str, tuple[str, RegistryValue]] = {}
    for key in sorted(value, key=str):
        here = f"{place}.{key}"
        if not isinstance(key, str) or not _KEY.fullmatch(key):
            faults.add(here, key, "a key of letters, digits and _")
        elif canonical(key) in found:
            other = found[canonical(key)][0]
            faults.add(here, value[key], f"left out: the driver takes {other} for the same key")
        else:
            found[canonical(key)] = _read_key(faults, here, key, value[key], version)
    if canonical(FORCE_P2P_TYPE) in found and canonical(PCIE_P2P_TYPE) in found:
        key, number = found[canonical(PCIE_P2P_TYPE)]
        faults.add(f"{place}.{key}", number, f"left out: {FORCE_P2P_TYPE} by name sets it")
    return tuple(found.values())


def parse(data: object, version: str, place: str = "p2p_driver.registry") -> dict[str, int]:
    """Return the numbers of a registry as p2p_driver has it, for a release of the driver.

    Raises:
        SpecificationInvalid: with every fault.
    """
    faults = Faults()
    keys = read(faults, data, place, version)
    if faults.found:
        raise SpecificationInvalid(faults.found)
    return resolved(dict(keys), version)


def resolved(registry: Mapping[str, RegistryValue], version: str) -> dict[str, int]:
    """Return the numbers to set for a valid registry (read() has checked it)."""
    numbers: dict[str, int] = {}
    for key, value in registry.items():
        if key == FORCE_P2P_TYPE:
            numbers.update(p2p_types(version)[str(value)])
        else:
            numbers[key] = int(value)
    return dict(sorted(numbers.items()))


def module_parameters(numbers: Mapping[str, int]) -> dict[str, str]:
    """Return the parameters of the nvidia module that stand for the keys, by name."""
    values = {key: str(number) for key, number in numbers.items() if key.startswith(PREFIX)}
    dwords = ";".join(f"{key}={number}" for key, number in numbers.items() if key not in values)
    return {**values, **({DWORDS: dwords} if dwords else {})}


def _read_key(
    faults: Faults, place: str, key: str, value: Any, version: str | None
) -> tuple[str, RegistryValue]:
    """Return a key in its usual spelling and its value, faulty or not."""
    if canonical(key) == canonical(FORCE_P2P_TYPE):
        if version is not None:
            _check_p2p_type(faults, place, value, version)
        return FORCE_P2P_TYPE, str(value)
    if key.casefold().startswith(PREFIX.casefold()) and not key.startswith(PREFIX):
        faults.add(place, key, f"{PREFIX} spelled so: the kernel tells parameters apart by case")
    elif key.casefold() in _TEXTS:
        wanted = "each key by its own name" if key == DWORDS else "a parameter that takes a number"
        faults.add(place, key, wanted)
    elif isinstance(value, bool) or not isinstance(value, int):
        faults.add(place, value, "a whole number")
    elif not 0 <= value <= _LARGEST_DWORD:
        faults.add(place, value, f"0 to {_LARGEST_DWORD}")
    elif canonical(key) == canonical(PCIE_P2P_TYPE) and version and not has_pcie_p2p_type(version):
        faults.add(place, value, f"no such key before 575; {version} has none")
    return key, value


def _check_p2p_type(faults: Faults, place: str, value: object, version: str) -> None:
    names = p2p_types(version)
    if isinstance(value, str) and value in names:
        return
    want = f"one of {', '.join(names)}, as {version} has them"
    if isinstance(value, int) and not isinstance(value, bool):
        want += "; the number's meaning changed in 575, so it is chosen by the name"
    faults.add(place, value, want)
