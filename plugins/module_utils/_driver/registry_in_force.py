# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The registry that the running driver was loaded with, by its own word.

That is /proc/driver/nvidia/params. Sysfs does not tell: its parameters cannot be read there.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from .._host.files import read_text
from .registry import DWORDS, PREFIX, canonical

_PARAMS = "proc/driver/nvidia/params"
_NUMBER = re.compile(r"(0[xX][0-9a-fA-F]{1,16}|[0-9]{1,20})")
# The one parameter that the file shows under another name (nv-reg.h).
_SHOWN_AS = {"RestrictProfilingToAdminUsers": "RmProfilingAdminOnly"}


def running_parameters(root: Path = Path("/")) -> dict[str, str] | None:
    """Return the running driver's parameters by their names without NVreg_; None: not loaded."""
    text = read_text(root / _PARAMS)
    return None if text is None else parse_params(text)


def parse_params(text: str) -> dict[str, str]:
    """Return the parameters in the text of /proc/driver/nvidia/params, unquoted."""
    found = {}
    for line in text.splitlines():
        name, colon, value = line.partition(": ")
        if colon:
            value = value.strip()
            inner = value[1:-1] if len(value) > 1 and value[0] == value[-1] == '"' else value
            found[name.strip()] = inner
    return found


def parse_dwords(text: str) -> tuple[tuple[str, str], ...]:
    """Return the keys of a value of NVreg_RegistryDwords, in order, as the driver reads them.

    Blanks do not count, and what is not NAME=VALUE is passed over (rm_parse_option_string()).
    """
    found = []
    for entry in "".join(text.split()).split(";"):
        parts = entry.split("=")
        if len(parts) == 2 and all(parts):
            found.append((parts[0], parts[1]))
    return tuple(found)


def number(text: str) -> int | None:
    """Return a number of the registry (decimal, octal or hexadecimal), None for other text."""
    if not _NUMBER.fullmatch(text):
        return None
    try:
        return int(text, 8 if text.startswith("0") and text[1:].isdigit() else 0)
    except ValueError:
        # 089: the driver would read what comes before the first wrong digit.
        return None


def keys_in_force(running: Mapping[str, str]) -> dict[str, str]:
    """Return the resource manager's keys that the running driver was given, as spelled."""
    named = {}
    for key, value in parse_dwords(running.get(DWORDS[len(PREFIX) :], "")):
        # Of two spellings of one key the later counts.
        named[canonical(key)] = (key, value)
    return dict(named.values())


def not_in_force(numbers: Mapping[str, int], running: Mapping[str, str]) -> tuple[str, ...]:
    """Return, in words, which keys the running driver has not, or has with another number.

    A parameter that the driver does not show is not held against it.
    """
    keys = {canonical(key): value for key, value in keys_in_force(running).items()}
    found = []
    for key, wanted in numbers.items():
        if key.startswith(PREFIX):
            name = key[len(PREFIX) :]
            value = running.get(_SHOWN_AS.get(name, name), running.get(name, str(wanted)))
        else:
            value = keys.get(canonical(key), "")
        if number(value) != wanted:
            found.append(f"{key} is {value or 'not set'} instead of {wanted}")
    return tuple(found)


def registry_in_force(running: Mapping[str, str], parameters: Mapping[str, object]) -> list[str]:
    """Return NAME=VALUE of every key in force, and of those parameters, sorted.

    Args:
        running: what running_parameters returned.
        parameters: the module parameters (with NVreg_) that are looked at.
    """
    shown = [f"{key}={value}" for key, value in keys_in_force(running).items()]
    for parameter in parameters:
        name = parameter[len(PREFIX) :]
        if parameter != DWORDS and _SHOWN_AS.get(name, name) in running:
            shown.append(f"{parameter}={running[_SHOWN_AS.get(name, name)]}")
    return sorted(shown)
