# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether NCCL would let a pair talk directly: its own gates, which know nothing of correctness.

Rules and formats follow NCCL's sources, src/graph/paths.cc (ncclTopoCheckP2p, ncclGetLevel) and
src/misc/param.cc (setEnvFile), and its documentation, "Environment Variables": NCCL_P2P_DISABLE,
NCCL_P2P_LEVEL and the files /etc/nccl.conf and ~/.nccl.conf.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from .._host.cpu import parse_cpuinfo
from .._host.files import read_bytes, read_text
from .host_evidence import Evidence
from .path import NODE, PHB, PXB, SYS, is_nvlink
from .result import FAIL, PASS, WARN, Cause, NcclUse, Pair

DISABLE = "NCCL_P2P_DISABLE"
LEVEL = "NCCL_P2P_LEVEL"
IGNORE_NVML = "NCCL_IGNORE_DISABLED_P2P"
_CONF_FILE = "NCCL_CONF_FILE"
_SYSTEM_FILE = "/etc/nccl.conf"
_USER_FILE = ".nccl.conf"

# topoPathTypeStr, the nearest first. A pair's path is one of NVL, PIX, PXB, PHB, SYS.
_LEVELS = ("LOC", "NVL", "NVB", "C2C", "PIX", "PXB", "P2C", "PXN", "PHB", "SYS")
# levelsOldToNew: the numbers that were used before the names.
_OLD_LEVELS = ("LOC", "PIX", "PXB", "PHB", "SYS", "SYS")
_DEFAULT_LEVEL = PXB
# Where a job has no more GPUs than this on a host with AMD processors, they always talk directly.
_GPUS_OF_SMALL_AMD_JOB = 2
_CHARACTERS_AT_MOST = 1023  # of a name or a value in a file
_LONG_MAX = (1 << 63) - 1
_STRTOL = re.compile(r"[ \t\n\v\f\r]*([+-]?)(0[xX][0-9a-fA-F]+|0[0-7]*|[1-9][0-9]*)")


@dataclass(frozen=True)
class Setting:
    """A variable's value and where it comes from: ``the environment`` or a file's path."""

    value: str
    source: str


@dataclass(frozen=True)
class Gates:
    """What NCCL decides by on this host, for a program with this module's environment.

    ``amd`` is None where the processor's maker is unknown; ``gpus`` is how many the program uses.
    """

    settings: Mapping[str, Setting]
    amd: bool | None
    gpus: int

    def level(self) -> tuple[str, str]:
        """Return the farthest level at which GPUs talk directly, and why it is that one."""
        given = self._given_level()
        if given is not None:
            return given
        if self.amd and self.gpus <= _GPUS_OF_SMALL_AMD_JOB:
            return SYS, f"NCCL's default for {self.gpus} GPUs on AMD processors"
        return _DEFAULT_LEVEL, "NCCL's default"

    def level_is_known(self) -> bool:
        """Return whether the level does not hang on what could not be read."""
        small = self.gpus <= _GPUS_OF_SMALL_AMD_JOB
        return self.amd is not None or not small or self._given_level() is not None

    def _given_level(self) -> tuple[str, str] | None:
        disable, level = self.settings.get(DISABLE), self.settings.get(LEVEL)
        if disable is not None and strtol(disable.value) == 1:
            return "LOC", f"{DISABLE}=1 in {disable.source}"
        name = None if level is None else level_name(level.value)
        if level is None or name is None:
            return None
        return name, f"{LEVEL}={level.value} in {level.source}"


def strtol(text: str) -> int:
    """Return what C's strtol(text, NULL, 0) does: the number text begins with, else 0.

    A number beyond the largest long is that.
    """
    match = _STRTOL.match(text)
    if match is None:
        return 0
    sign, digits = match.groups()
    prefix = digits[:2].lower()
    base = 16 if prefix == "0x" else 8 if digits.startswith("0") else 10
    # int() refuses decimal numbers beyond 4300 digits; C stops at the largest long.
    beyond = base == 10 and len(digits) > len(str(_LONG_MAX))
    number = _LONG_MAX + 1 if beyond else int(digits, base)
    return max(-number, -_LONG_MAX - 1) if sign == "-" else min(number, _LONG_MAX)


def level_name(text: str) -> str | None:
    """Return the level that a value of NCCL_P2P_LEVEL means; None for one that NCCL ignores.

    >>> level_name("3")
    'PHB'
    """
    if text in _LEVELS:
        return text
    if not text[:1].isascii() or not text[:1].isdigit():
        return None
    return _OLD_LEVELS[min(strtol(text), len(_OLD_LEVELS) - 1)]


def parse_conf(data: bytes) -> dict[str, str]:
    """Return the variables of an nccl.conf as NCCL takes them.

    The first of two lines for a variable counts, and spaces are part of names and values.
    """
    found: dict[str, str] = {}
    for line in data.split(b"\n"):
        text = line.split(b"\0")[0]
        name, equals, value = text.partition(b"=")
        if not equals or not name or name.startswith(b"#"):
            continue
        found.setdefault(_text(name), _text(value))
    return found


def read_gates(root: Path, environment: Mapping[str, str], gpus: int) -> Gates:
    """Return the gates as a program of this user with this environment would find them."""
    settings = {
        name: Setting(environment[name], "the environment")
        for name in (DISABLE, LEVEL, IGNORE_NVML)
        if name in environment
    }
    for path in _conf_files(environment):
        data = read_bytes(root / path.lstrip("/"))
        for name, value in parse_conf(data or b"").items():
            settings.setdefault(name, Setting(value, path))
    cpuinfo = read_text(root / "proc/cpuinfo")
    amd = None if cpuinfo is None else parse_cpuinfo(cpuinfo).vendor == "amd"
    return Gates(settings, amd, gpus)


def use_of(pair: Pair, gates: Gates) -> NcclUse:
    """Return whether NCCL would let the pair talk directly, and by which gate."""
    level, reason = gates.level()
    path = _nccl_path(pair.path)
    if path is None:
        return NcclUse(None, f"the path {pair.path} is not known to NCCL's rules")
    if _LEVELS.index(path) <= _LEVELS.index(level):
        return _refusal(pair, gates) or NcclUse(True, f"path {path} is within {level} ({reason})")
    if not gates.level_is_known():
        return NcclUse(None, f"path {path}: the processor's maker is unknown")
    return NcclUse(False, f"path {path} is beyond {level} ({reason})")


def with_nccl(pairs: Iterable[Pair], gates: Gates) -> tuple[Pair, ...]:
    """Return the pairs, each with what NCCL would do with it."""
    return tuple(replace(pair, nccl=use_of(pair, gates)) for pair in pairs)


def nccl_notes(evidence: Evidence) -> list[Cause]:
    """Return where NCCL's gates and the verdicts differ, with what to set."""
    right = [pair for pair in evidence.pairs if pair.verdict in (PASS, WARN)]
    unused = [pair for pair in right if pair.nccl.would_use is False]
    wrong = [pair for pair in evidence.pairs if pair.verdict == FAIL and pair.nccl.would_use]
    notes = []
    if unused:
        notes.append(Cause("nccl_gate", _reasons(unused), _remedy(unused)))
    if wrong:
        notes.append(
            Cause(
                "nccl_uses_failed_pair",
                f"NCCL would use pairs that failed: {_reasons(wrong)}",
                "set NCCL_P2P_DISABLE=1 for programs on these GPUs until the causes are gone",
            )
        )
    return notes


def _refusal(pair: Pair, gates: Gates) -> NcclUse | None:
    """Return what the driver's claims keep NCCL from; None where they let it."""
    claims = (pair.capability.nvml_read, pair.capability.nvml_write)
    ignore = gates.settings.get(IGNORE_NVML)
    if ignore is None or strtol(ignore.value) != 2:
        refused = [word for word in claims if word not in ("OK", "U", None)]
        if refused:
            return NcclUse(False, f"NVML says {refused[0]} to peer-to-peer")
        if claims != ("OK", "OK"):
            return NcclUse(None, "NVML does not say whether peer-to-peer is there")
    if pair.capability.cuda is False:
        return NcclUse(False, "cuDeviceCanAccessPeer says no")
    return None


def _conf_files(environment: Mapping[str, str]) -> list[str]:
    """Return the paths of the files NCCL reads, the one that counts first."""
    named = environment.get(_CONF_FILE)
    if named:
        return [named, _SYSTEM_FILE]
    with contextlib.suppress(KeyError):  # a user without an entry has no home
        return [f"{pwd.getpwuid(os.getuid()).pw_dir}/{_USER_FILE}", _SYSTEM_FILE]
    return [_SYSTEM_FILE]


def _nccl_path(path: str) -> str | None:
    if is_nvlink(path):
        return "NVL"
    # NCCL has one processor per NUMA node: host bridges of one node meet in it.
    word = PHB if path == NODE else path
    return word if word in _LEVELS else None


def _reasons(pairs: Iterable[Pair]) -> str:
    ends: dict[str, list[str]] = {}
    for pair in pairs:
        ends.setdefault(pair.nccl.why, []).append(f"{pair.source}>{pair.target}")
    return "; ".join(f"{', '.join(names)}: {why}" for why, names in ends.items())


def _remedy(unused: list[Pair]) -> str:
    beyond = [pair for pair in unused if " is beyond " in pair.nccl.why]
    if not beyond:
        return "load the peer-to-peer build of the driver, which makes NVML say OK"
    if any(DISABLE in pair.nccl.why for pair in beyond):
        return f"take {DISABLE} away where the evidence names it"
    paths = {_nccl_path(pair.path) for pair in beyond}
    level = SYS if SYS in paths else PHB if PHB in paths else PXB
    return f"set {LEVEL}={level} in the programs' environment or in {_SYSTEM_FILE}"


def _text(data: bytes) -> str:
    return data[:_CHARACTERS_AT_MOST].decode("utf-8", "backslashreplace")
