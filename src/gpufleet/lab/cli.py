# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The commands of `gpufleet lab`."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ansible_collections.gpufleet.p2p.plugins.module_utils._host.errors import GpufleetError
from rich.console import Console
from rich.table import Table

from .lab import Lab, LabStatus
from .paths import DEFAULT_INSTANCE, state_directory


def add_parser(subparsers: Any) -> None:
    """Add `lab` and its commands to a parser's subcommands.

    Each sets `run` to a callable that takes the parsed arguments and returns the exit status;
    a GpufleetError that it raises is for the caller to show.
    """
    lab = subparsers.add_parser(
        "lab",
        help="virtual machines that stand for servers with GPUs",
        description="Real virtual machines with emulated IOMMU, PCIe ports and BARs, and a "
        "simulated NVIDIA driver. Needs root.",
    )
    add_commands(lab)


def add_commands(parser: argparse.ArgumentParser) -> None:
    """Add the lab's commands to a parser."""
    parser.add_argument(
        "--name",
        default=DEFAULT_INSTANCE,
        help="which lab, where there are several (default: %(default)s)",
    )
    commands = parser.add_subparsers(dest="lab_command", required=True, metavar="COMMAND")
    for name, text, run in (
        ("up", "build what is missing and bring the lab up", _up),
        ("reset", "bring the lab up with fresh disks", _reset),
    ):
        command = commands.add_parser(name, help=text)
        command.add_argument(
            "--host",
            metavar="FILE",
            type=Path,
            action="append",
            default=[],
            help="description of a machine; may be repeated (default: alpha and beta)",
        )
        command.add_argument(
            "--apt-sources",
            metavar="FILE",
            type=Path,
            help="apt source with a Debian mirror (default: this machine's own)",
        )
        command.set_defaults(run=run)
    status = commands.add_parser("status", help="what runs, and where")
    status.add_argument("--json", action="store_true", help="print JSON")
    status.set_defaults(run=_status)
    ssh = commands.add_parser("ssh", help="log in to a machine, or run a command there")
    ssh.add_argument("host")
    ssh.add_argument("remote_command", nargs=argparse.REMAINDER, metavar="COMMAND")
    ssh.set_defaults(run=_ssh)
    down = commands.add_parser("down", help="shut down; the machines keep their disks")
    down.set_defaults(run=_down)
    destroy = commands.add_parser("destroy", help="remove the machines")
    destroy.add_argument("--cache", action="store_true", help="remove the image cache too")
    destroy.set_defaults(run=_destroy)
    for name, text, run in (
        ("snapshot", "keep the machines' disks under a name, while the lab is down", _snapshot),
        ("restore", "go back to a snapshot, while the lab is down", _restore),
    ):
        command = commands.add_parser(name, help=text)
        command.add_argument("snapshot")
        command.set_defaults(run=run)
    fault = commands.add_parser("fault", help="make a machine's simulated driver misbehave")
    fault.add_argument("host")
    fault.add_argument("fault", help="name, or name:from>to, * for any GPU; none ends it")
    fault.set_defaults(run=_fault)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command of the lab and return its exit status."""
    parser = argparse.ArgumentParser(prog="gpufleet lab")
    add_commands(parser)
    arguments = parser.parse_args(argv)
    try:
        status: int = arguments.run(arguments)
    except GpufleetError as error:
        print(
            f"error: {error.code}\n  read:   {error.read}\n  want:   {error.want}\n"
            f"  remedy: {error.remedy}",
            file=sys.stderr,
        )
        return 1
    return status


def _lab(arguments: argparse.Namespace) -> Lab:
    return Lab(state_directory(arguments.name), apt_sources=getattr(arguments, "apt_sources", None))


def _up(arguments: argparse.Namespace) -> int:
    _show(_lab(arguments).up(arguments.host))
    return 0


def _reset(arguments: argparse.Namespace) -> int:
    _show(_lab(arguments).reset(arguments.host))
    return 0


def _status(arguments: argparse.Namespace) -> int:
    status = _lab(arguments).status()
    if arguments.json:
        print(json.dumps(_as_data(status), indent=2))
    else:
        _show(status)
    return 0 if status.up else 1


def _ssh(arguments: argparse.Namespace) -> int:
    address = _lab(arguments).address(arguments.host)
    command = arguments.remote_command
    argv = [*address.argv(batch=bool(command)), *command]
    os.execvp(argv[0], argv)


def _down(arguments: argparse.Namespace) -> int:
    _lab(arguments).down()
    return 0


def _destroy(arguments: argparse.Namespace) -> int:
    _lab(arguments).destroy(cache=arguments.cache)
    return 0


def _snapshot(arguments: argparse.Namespace) -> int:
    _lab(arguments).snapshot(arguments.snapshot)
    return 0


def _restore(arguments: argparse.Namespace) -> int:
    _lab(arguments).restore(arguments.snapshot)
    return 0


def _fault(arguments: argparse.Namespace) -> int:
    _lab(arguments).set_fault(arguments.host, arguments.fault)
    return 0


def _as_data(status: LabStatus) -> dict[str, object]:
    return {
        "directory": str(status.directory),
        "inventory": None if status.inventory is None else str(status.inventory),
        "up": status.up,
        "kvm": status.kvm,
        "outdated": status.outdated,
        "members": [
            {
                "name": member.name,
                "kind": member.kind,
                "running": member.running,
                "pid": member.pid,
                "ssh_port": member.ssh_port,
                "console": str(member.console),
            }
            for member in status.members
        ],
    }


def _show(status: LabStatus) -> None:
    console = Console()
    if not status.members:
        console.print("No lab here yet: gpufleet lab up")
        return
    table = Table(box=None, pad_edge=False)
    for heading in ("name", "kind", "state", "ssh port"):
        table.add_column(heading)
    for member in status.members:
        state = "running" if member.running else "off"
        table.add_row(member.name, member.kind, state, str(member.ssh_port))
    console.print(table)
    logs = status.directory / "hosts"
    console.print(f"consoles:  {logs}/*/serial.log", soft_wrap=True, highlight=False)
    if status.inventory:
        console.print(f"inventory: {status.inventory}", soft_wrap=True, highlight=False)
    if status.outdated:
        console.print("The disks stand on an older image; gpufleet lab reset takes the newest.")
