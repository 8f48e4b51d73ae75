# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a fault is, and how a tool of the host is replaced for as long as a step runs."""

from __future__ import annotations

import contextlib
import shutil
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from support.driver_hosts import Host

from .subjects import STEP_ENDS, Step

#: Where a replaced tool finds the real one, and notes that it did its harm.
REAL = "/srv/real"
STRUCK = f"{REAL}/struck"
#: Runs a step under a fault; True or False where a run that followed healed the host or did not.
Strike = Callable[[Host, Step, dict[str, Any]], "bool | None"]


class NothingStruck(Exception):
    """The step went by without the fault: it is no fault, and is not counted as one."""


def anything(step: Step) -> bool:
    """Return that every step can be struck."""
    return True


@dataclass(frozen=True)
class Fault:
    """A kind of fault, and one way to inject it.

    Attributes:
        kind: as the record calls it.
        variant: what tells it from others of the kind, such as the bytes left on a full disk.
        strike: runs the step on the host under the fault.
        hits: which steps there is anything of to strike at.
    """

    kind: str
    variant: str
    strike: Strike
    hits: Callable[[Step], bool] = anything


def installing(step: Step) -> bool:
    """Return whether a step brings a build to the host."""
    return step.installs


def generating(step: Step) -> bool:
    """Return whether a step has the boot loader's configuration made anew."""
    return step.generates


def attempt(host: Host, step: Step, notes: dict[str, Any]) -> bool:
    """Do a step that may fail, as it does under a fault; return whether it was done."""
    try:
        step.act(host, dict(notes))
    except STEP_ENDS:
        return False
    return True


def beside(host: Host, step: Step, notes: dict[str, Any]) -> threading.Thread:
    """Return a thread, not started yet, that does a step that may fail."""
    return threading.Thread(target=attempt, args=(host, step, notes), daemon=True)


@contextlib.contextmanager
def replaced(host: Host, tool: str, script: str) -> Iterator[None]:
    """Put a script before a tool for as long as the block runs.

    Raises:
        NothingStruck: the host has no such tool, or the script did not note that it did harm.
    """
    found = host.run("sh", "-c", f"command -v {tool}", check=False).strip()
    if not found:
        raise NothingStruck(f"no {tool} on the host")
    real = host.path(REAL) / tool
    real.parent.mkdir(exist_ok=True)
    shutil.copy2(host.path(found).resolve(), real)
    path = host.path("/usr/local/sbin") / tool
    path.write_text(f"#!/bin/bash\n{script}\n")
    path.chmod(0o755)
    try:
        yield
    finally:
        path.unlink()
    if not host.path(STRUCK).exists():
        raise NothingStruck(f"the step did not get so far as to have {tool} harmed")


def stub(
    kind: str, variant: str, tool: str, script: str, hits: Callable[[Step], bool] = anything
) -> Fault:
    """A tool is replaced by a script while the step runs."""

    def strike(host: Host, step: Step, notes: dict[str, Any]) -> None:
        with replaced(host, tool, script):
            attempt(host, step, notes)

    return Fault(kind, variant, strike, hits)
