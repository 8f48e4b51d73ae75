# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The commands ``gpufleet driver list`` and ``gpufleet driver lock``."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from ansible_collections.gpufleet.p2p.plugins.module_utils._driver.catalogue import (
    Catalogue,
    CatalogueBuild,
)
from ansible_collections.gpufleet.p2p.plugins.module_utils._driver.registry import version_order
from ansible_collections.gpufleet.p2p.plugins.module_utils._driver.specification import USERSPACES
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from .driver_lock import Choice, Locked, lock, read_catalogue, write
from .errors import FleetError
from .view import printable

_SCHEMA = 1
_COMMIT_SHOWN = 12
_NVLINK_STYLES = {"kept": "green", "lost": "yellow", "unknown": "dim"}
_LIST_EPILOG = """\
NVLink "lost": the branch forces BAR1, so that NVLinks go unused. Kernels "old only": the line below
the table names those that the driver does not compile for; the gates compare source and headers.
"""
_LOCK_EPILOG = """\
CHOICE is a name of `gpufleet driver list`, or upstream-VERSION for a release of NVIDIA's. Examples:
  gpufleet driver lock aikitoria-595.58.03
  gpufleet driver lock upstream-580.126.09 --patch files/p2p.patch
  gpufleet driver lock aikitoria-595.58.03 --mirror /srv/mirrors/open-gpu-kernel-modules.git
  gpufleet driver lock --archive /srv/driver.tar.gz --version 595.58.03

The file is one of variables: put it into group_vars, or give it with -e @driver.lock.yml.
"""


def add_parser(subparsers: Any) -> None:
    """Add ``driver`` and its commands to a parser's subcommands.

    Each sets ``run`` to a callable that takes the parsed arguments and returns the exit status.
    """
    parser = subparsers.add_parser(
        "driver",
        help="the published driver builds, and the lock of one",
        description="The published driver builds with peer-to-peer, and the lock of one.",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_list(commands)
    _add_lock(commands)


def _add_list(commands: Any) -> None:
    parser = commands.add_parser(
        "list",
        help="show the catalogue of known builds",
        description="Show the catalogue of known builds.",
        epilog=_LIST_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--json", action="store_true", help="print JSON on standard output")
    parser.set_defaults(run=_list)


def _add_lock(commands: Any) -> None:
    parser = commands.add_parser(
        "lock",
        help="resolve a build to commit and checksums, and write them to a lock file",
        description="Resolve a build to commit and checksums, and write them to a lock file.",
        epilog=_LOCK_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("choice", nargs="?", metavar="CHOICE", help="a name of the catalogue")
    add("--git", metavar="URL", help="a repository that the catalogue does not have")
    add("--ref", metavar="NAME", help="branch or tag in it")
    add("--archive", metavar="PATH|URL", help="a tar archive of a source tree")
    add("--path", metavar="DIR", help="a folder with a source tree")
    add("--version", metavar="VERSION", help="the driver's release, for these sources")
    add("--mirror", metavar="URL", help="ask this repository in place of the catalogue's")
    add("--commit", metavar="COMMIT", help="lock this commit, not the catalogue's or the head")
    add(
        "--patch",
        action="append",
        default=[],
        metavar="PATH|URL",
        help="a patch file on top; may repeat, applied in this order",
    )
    add(
        "--registry",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="a registry key of the resource manager; may repeat",
    )
    add("--userspace", choices=USERSPACES, default="keep", help="how the libraries get there")
    add("--cache", type=Path, metavar="DIR", help="keep what is fetched here (default: nothing)")
    add(
        "-o",
        "--output",
        type=Path,
        default=Path("driver.lock.yml"),
        metavar="FILE",
        help="the lock file (default: %(default)s)",
    )
    add("--json", action="store_true", help="print the lock as JSON on standard output too")
    parser.set_defaults(run=_lock)


def _list(parsed: argparse.Namespace) -> int:
    known = read_catalogue()
    builds = sorted(known.builds, key=lambda build: (version_order(build.version), build.name))
    if parsed.json:
        records = [_record(build, known) for build in builds]
        _print_json({"schema": _SCHEMA, "builds": records})
        return 0
    console = Console()
    console.print(_table(builds, known))
    for breakage in known.breakages:
        kernels = ", ".join(map(str, breakage.kernels))
        line = f"old only: not on kernels {kernels}; {breakage.reason}."
        console.print(Text(line), soft_wrap=not console.is_terminal)
    return 0


def _record(build: CatalogueBuild, known: Catalogue) -> dict[str, Any]:
    return {
        "name": build.name,
        "version": build.version,
        "git": build.git,
        "branch": build.branch,
        "commit": build.commit,
        "generations": list(build.generations),
        "nvlink": build.nvlink,
        "breaks_on": [
            {"from": kernels.since, "distribution": kernels.distribution}
            for kernels in known.broken_kernels(build.version)
        ],
    }


def _table(builds: list[CatalogueBuild], known: Catalogue) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for name in ("Name", "Commit", "GPUs", "NVLink", "Kernels"):
        table.add_column(name, no_wrap=True)
    for build in builds:
        broken = bool(known.broken_kernels(build.version))
        table.add_row(
            build.name,
            Text(build.commit[:_COMMIT_SHOWN]) if build.commit else Text("by branch", style="dim"),
            " ".join(build.generations),
            Text(build.nvlink, style=_NVLINK_STYLES[build.nvlink]),
            Text("old only", style="yellow") if broken else Text("all", style="dim"),
        )
    return table


def _lock(parsed: argparse.Namespace) -> int:
    known = read_catalogue()
    choice = Choice(
        name=parsed.choice,
        version=parsed.version,
        git=parsed.git,
        reference=parsed.ref,
        archive=parsed.archive,
        path=parsed.path,
        mirror=parsed.mirror,
        commit=parsed.commit,
        patches=parsed.patch,
        registry=dict(_registry(option) for option in parsed.registry),
        userspace=parsed.userspace,
    )
    screen = Console(stderr=True)
    with screen.status("Fetching the source …"):
        locked = lock(choice, known, parsed.cache)
    changed = write(locked, parsed.output)
    if parsed.json:
        _print_json(locked.as_dict())
        return 0
    _tell(Console(), locked, known, parsed.output, changed=changed)
    return 0


def _registry(option: str) -> tuple[str, int | str]:
    key, equals, value = option.partition("=")
    if not equals:
        raise FleetError(
            "variables_malformed",
            read=f"--registry {option}",
            want="KEY=VALUE",
            remedy="write it as --registry PeerMappingOverride=1",
        )
    try:
        return key, int(value, 0)
    except ValueError:
        return key, value


def _tell(
    console: Console, locked: Locked, known: Catalogue, output: Path, *, changed: bool
) -> None:
    build, entry = locked.lock.build, locked.entry
    rows = [("version", build.version)]
    rows += [(name, str(value)) for name, value in build.source.as_dict().items()]
    rows += [("patch", patch.location) for patch in build.patches]
    rows.append(("content", locked.lock.content))
    if entry is not None and entry.generations:
        rows += [("GPUs", ", ".join(entry.generations)), ("NVLink", entry.nvlink)]
    broken = known.broken_kernels(build.version)
    if broken:
        rows.append(("breaks on", "kernels " + ", ".join(map(str, broken))))
    rows += [("note", note) for note in locked.notes]
    for name, value in rows:
        console.print(Text(f"{name:<10} {printable(value)}"), soft_wrap=True)
    console.print(Text(f"{output} {'written' if changed else 'was up to date'}"), soft_wrap=True)


def _print_json(document: dict[str, Any]) -> None:
    json.dump(document, sys.stdout, indent=2, sort_keys=True)
    sys.stdout.write("\n")
