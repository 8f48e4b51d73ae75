# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hosts as they are found: files that somebody edited or locked, a clock that was wrong."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from typing import Any

from ansible_collections.gpufleet.p2p.plugins.module_utils._host.commands import run
from support.driver_hosts import Host

from .fault import Fault, NothingStruck, attempt, installing
from .subjects import Step

_DEFAULTS = "/etc/default/grub"
# What is written after the lines that the host has; the last of two assignments counts.
_HOSTILE = {
    "unbalanced quote": 'GRUB_CMDLINE_LINUX_DEFAULT="quiet splash\n',
    "continuation lines": 'GRUB_CMDLINE_LINUX_DEFAULT="quiet \\\n  nosplash \\\n  rootdelay=1"\n',
    "value over two lines": 'GRUB_CMDLINE_LINUX_DEFAULT="quiet\nnosplash"\n',
    "no newline at the end": "GRUB_CMDLINE_LINUX_DEFAULT='quiet nosplash'",
    "line ends of Windows": 'GRUB_CMDLINE_LINUX_DEFAULT="quiet"\r\nGRUB_CMDLINE_LINUX=""\r\n',
    "appended by the shell": 'GRUB_CMDLINE_LINUX="$GRUB_CMDLINE_LINUX $(echo a=b)"\n',
    "a command that fails": "export GRUB_CMDLINE_LINUX_DEFAULT=quiet\nset -e\nfalse\n",
    "quotes within quotes": "GRUB_CMDLINE_LINUX_DEFAULT='quiet dyndbg=\\\"file a.c +p\\\"'\n",
}
_YEAR_SECONDS = 365 * 86_400
_AGES = {
    "ten years back": -10 * _YEAR_SECONDS,
    "ten years ahead": 10 * _YEAR_SECONDS,
    "a day back": -86_400,
}
# What steps before have written, and what tells the time of it by its files.
_DATED = ("boot", "etc/default", "etc/initramfs-tools", "lib/modules", "srv", "usr/src", "var/lib")


def hostile_defaults(variant: str) -> Fault:
    """Somebody's line ends /etc/default/grub, one that not every reader takes as a shell does."""

    def strike(host: Host, step: Step, notes: dict[str, Any]) -> None:
        with host.path(_DEFAULTS).open("a", newline="") as stream:
            stream.write(_HOSTILE[variant])
        attempt(host, step, notes)

    return Fault("hostile_grub_defaults", variant, strike, lambda step: not step.installs)


def immutable(place: str) -> Fault:
    """Somebody has made a file immutable (chattr +i), to keep updates off it."""

    def strike(host: Host, step: Step, notes: dict[str, Any]) -> None:
        path = host.path(place.format(kernel=host.kernel))
        if not path.exists():
            raise NothingStruck(f"no {place} on the host")
        run(["chattr", "+i", str(path)])
        attempt(host, step, notes)

    of_modules = "modules" in place
    return Fault(
        "immutable_file", place, strike, installing if of_modules else lambda step: step.generates
    )


def clock_jumped(variant: str) -> Fault:
    """The clock jumps by so much before the step: what was written before has the other time.

    No clock of this machine is set: the files get the times that they would have from it, and
    what counts to a step is the difference.
    """

    def strike(host: Host, step: Step, notes: dict[str, Any]) -> None:
        written = time.time() - _AGES[variant]
        for name in _DATED:
            for path in host.path(name).rglob("*"):
                with contextlib.suppress(OSError):
                    os.utime(path, (written, written), follow_symlinks=False)
        attempt(host, step, notes)

    return Fault("clock_jumped", variant, strike)


def found_faults() -> Iterator[Fault]:
    """Yield every fault of this file."""
    for variant in _HOSTILE:
        yield hostile_defaults(variant)
    for place in (
        "/boot/grub/grub.cfg",
        "/boot/grub/grubenv",
        "/etc/default/grub",
        "/boot/initrd.img-{kernel}",
        "/lib/modules/{kernel}/modules.dep.bin",
        "/lib/modules/{kernel}",
    ):
        yield immutable(place)
    for variant in _AGES:
        yield clock_jumped(variant)
