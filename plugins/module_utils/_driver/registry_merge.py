# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Our registry keys beside what others set: one line that has all of it, or a refusal by name.

Of two values for NVreg_RegistryDwords the kernel keeps the later, so a line of ours alone would
take away the keys of a line before it. They are taken over into ours; what contradicts ours is
refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from .._host.errors import GpufleetError
from .modprobe_options import MODULE, Setting
from .registry import DWORDS, DWORDS_PER_DEVICE, PREFIX, canonical, module_parameters
from .registry_in_force import number, parse_dwords

HEADER = "# Written by gpufleet: p2p_driver.registry. Change it there; it goes with the driver.\n"

_KEY = re.compile(r"[A-Za-z0-9_]+")
# param_set_charp() in the kernel's params.c.
_LONGEST_TEXT = 1024


class RegistryRefused(GpufleetError):
    """The keys cannot be set on this host as it is; nothing was changed."""


@dataclass(frozen=True)
class Merged:
    """What our file says.

    Attributes:
        parameters: each parameter of the module and its value.
        kept: keys of others that are in it, as NAME=VALUE and where they came from.
    """

    parameters: Mapping[str, str]
    kept: tuple[tuple[str, str], ...] = ()

    def as_file(self) -> bytes:
        """Return the file's content."""
        lines = [HEADER.rstrip("\n")]
        lines += [f"# {entry} is of {origin}, which this overrides." for entry, origin in self.kept]
        words = [
            f'{name}="{value}"' if name == DWORDS else f"{name}={value}"
            for name, value in self.parameters.items()
        ]
        return "\n".join([*lines, f"options {MODULE} {' '.join(words)}", ""]).encode()


def merged(numbers: Mapping[str, int], settings: Sequence[Setting]) -> Merged:
    """Return what our file has to say for the keys to be in force beside those of others.

    Args:
        numbers: the keys and their numbers.
        settings: what others set, in the order in which the module gets it.

    Raises:
        RegistryRefused: somebody sets one of the keys to another number, or sets
            NVreg_RegistryDwords so that ours would not count.
    """
    parameters = module_parameters(numbers)
    # Of each parameter only the last value counts; what it hides is in force nowhere.
    last = {setting.parameter: setting for setting in settings}
    _require_agreement(numbers, last.values())
    foreign = last.get(DWORDS)
    if foreign is None or DWORDS not in parameters:
        return Merged(parameters)
    ours = {canonical(key) for key in numbers}
    keys = {canonical(key): (key, value) for key, value in parse_dwords(foreign.value)}
    wanted = dict(parse_dwords(parameters[DWORDS]))
    if foreign.later and not {canonical(key) for key in wanted} <= set(keys):
        raise RegistryRefused(
            "registry_overridden",
            read=f'{foreign.origin}: {DWORDS}="{foreign.value}", which comes last and so counts',
            want=f"{parameters[DWORDS]} to come into force",
            remedy=f"take {DWORDS} out of {foreign.origin}, and put its keys into"
            " p2p_driver.registry",
        )
    kept = [entry for name, entry in keys.items() if name not in ours]
    for key, value in kept:
        if not _KEY.fullmatch(key) or number(value) is None:
            raise _conflict(foreign, f'{DWORDS}="{foreign.value}"', "keys of the form NAME=NUMBER")
    entries = [f"{key}={value}" for key, value in kept]
    dwords = ";".join([*entries, parameters[DWORDS]])
    if len(dwords) > _LONGEST_TEXT:
        raise RegistryRefused(
            "registry_too_long",
            read=f"{len(dwords)} characters with those of {foreign.origin}",
            want=f"at most {_LONGEST_TEXT}, which is what the kernel takes for a parameter",
            remedy="leave keys out of p2p_driver.registry or of that file",
        )
    return Merged(
        {**parameters, DWORDS: dwords}, tuple((entry, foreign.origin) for entry in entries)
    )


def _require_agreement(numbers: Mapping[str, int], settings: Iterable[Setting]) -> None:
    """Refuse settings that give one of the keys another number, in whichever parameter."""
    wanted = {canonical(key): (key, value) for key, value in numbers.items()}
    for setting in settings:
        for key, value in _keys_set_by(setting):
            name, expected = wanted.get(canonical(key), (key, None))
            if expected is not None and number(value) != expected:
                raise _conflict(setting, f"{key}={value}", f"{name}={expected}, or nothing said")


def _keys_set_by(setting: Setting) -> tuple[tuple[str, str], ...]:
    if setting.parameter in (DWORDS, DWORDS_PER_DEVICE):
        # "pci=0000:01:00.0;KEY=1": the address is no key.
        return tuple(entry for entry in parse_dwords(setting.value) if entry[0] != "pci")
    if setting.parameter.startswith(PREFIX):
        return ((setting.parameter, setting.value),)
    return ()


def _conflict(setting: Setting, read: str, want: str) -> RegistryRefused:
    return RegistryRefused(
        "registry_conflict",
        read=f"{setting.origin}: {read}",
        want=want,
        remedy=f"correct it in {setting.origin}, or in p2p_driver.registry",
    )
