# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How a host is drained and given its work back: a description, checked before it is used."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from .._host.errors import GpufleetError

DEFAULT_TIMEOUT_SECONDS = 3600
_LONGEST_SECONDS = 30 * 24 * 3600

#: What a description may hold beside method, timeout and delegate.
_PARTS = {
    "slurm": ("node", "tool"),
    "kubernetes": ("node", "tool", "arguments"),
    "units": ("units",),
    "command": ("drain", "restore", "check"),
}
_NEEDED = {"units": ("units",), "command": ("drain", "restore")}
_COMMON = ("method", "timeout", "delegate")
# One node: scontrol would take a list, a range in brackets, or ALL.
_NODE = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,251}[A-Za-z0-9])?")
# No pattern: systemctl would expand one.
_UNIT = re.compile(r"[A-Za-z0-9:_.\\@-]+\.(service|socket|target|timer|path|scope|slice|mount)")


class HooksInvalid(GpufleetError):
    """The description cannot be used as it stands."""


@dataclass(frozen=True)
class Hooks:
    """How to drain a host and to restore it.

    Attributes:
        method: slurm, kubernetes, units or command.
        node: what the host is called there; empty for the methods that need no name.
        timeout: seconds until its work must have ended.
        delegate: the host that the tool runs on, as the inventory has it; empty for the method's
            own (the controller for kubernetes, the host itself for the others).
        tool: scontrol or kubectl, with what goes in front of its own arguments.
        arguments: more arguments of ``kubectl drain``.
        units: systemd units that are stopped.
        drain, restore: the commands, each with its arguments.
        check: a command that returns 0 where the host is drained, by whomever; empty for none.
    """

    method: str
    node: str = ""
    timeout: int = DEFAULT_TIMEOUT_SECONDS
    delegate: str = ""
    tool: tuple[str, ...] = ()
    arguments: tuple[str, ...] = ()
    units: tuple[str, ...] = ()
    drain: tuple[str, ...] = ()
    restore: tuple[str, ...] = ()
    check: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Return what parse() makes the same hooks of, as plain data."""
        given = {name: value for name, value in asdict(self).items() if value}
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in given.items()
        }


def parse(data: Any, host: str = "") -> Hooks:
    """Return the hooks of a description; ``host`` is the node's name where it gives none.

    Raises:
        HooksInvalid: an unknown method or part, a part that is missing or of another kind.
    """
    if not isinstance(data, Mapping):
        raise _invalid(f"{type(data).__name__}", "a description: {method: ..., ...}")
    method = data.get("method")
    if not isinstance(method, str) or method not in _PARTS:
        raise _invalid(f"method {method!r}", f"one of {', '.join(_PARTS)}")
    # An option that is not given is None where a module's arguments were checked before.
    given = {str(name): value for name, value in data.items() if value is not None}
    allowed = (*_COMMON, *_PARTS[method])
    strange = sorted(set(given) - set(allowed))
    if strange:
        raise _invalid(f"{', '.join(strange)}", f"for {method} only {', '.join(allowed)}")
    for name in _NEEDED.get(method, ()):
        if not given.get(name):
            raise _invalid(f"no {name}", f"{name} with the method {method}")
    lists = {
        name: _words(name, given[name])
        for name in ("tool", "arguments", "units", "drain", "restore", "check")
        if name in given
    }
    for unit in lists.get("units", ()):
        if not _UNIT.fullmatch(unit):
            raise _invalid(f"unit {unit!r}", "a unit's whole name, such as slurmd.service")
    named = "node" in _PARTS[method]
    return Hooks(
        method=method,
        node=_node(given.get("node") or host) if named else "",
        timeout=_seconds(given.get("timeout", DEFAULT_TIMEOUT_SECONDS)),
        delegate=_text("delegate", given.get("delegate", "")),
        **lists,
    )


def _invalid(read: str, want: str) -> HooksInvalid:
    return HooksInvalid(
        "drain_invalid",
        read=f"in p2p_drain: {read}",
        want=want,
        remedy="correct p2p_drain; docs/rolling.md describes it",
    )


def _words(name: str, value: Any) -> tuple[str, ...]:
    if not isinstance(value, (list, tuple)) or not all(
        isinstance(word, str) and word and "\0" not in word for word in value
    ):
        raise _invalid(f"{name} {value!r}", f"{name} as a list of words, none of them empty")
    return tuple(str(word) for word in value)


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise _invalid(f"{name} {value!r}", f"{name} as text")
    return str(value)


def _node(value: Any) -> str:
    name = _text("node", value)
    if not _NODE.fullmatch(name) or name.lower() == "all":
        raise _invalid(f"node {name!r}", "the name of one node")
    return name


def _seconds(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 < value <= _LONGEST_SECONDS:
        raise _invalid(f"timeout {value!r}", f"seconds, from 1 to {_LONGEST_SECONDS}")
    return int(value)
