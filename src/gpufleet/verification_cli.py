# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The commands about one machine's verification: ``verify`` without an inventory, and ``show``."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from .errors import FleetError
from .local import verify_here
from .output import FORMATS, JSON, TABLE, Verification, read_verification, refuse_unwritable, tell
from .results import FAIL, PASS, WARN, Result
from .view import clock

EXIT_OF_VERDICT = {PASS: 0, FAIL: 1, WARN: 5}

# Options that speak of a fleet or of a playbook: name as parsed -> as typed.
_FLEET_ONLY = {
    "limit": "--limit",
    "tags": "--tags",
    "skip_tags": "--skip-tags",
    "check": "--check",
    "diff": "--diff",
    "extra_vars": "--extra-vars",
    "report_dir": "--report-dir",
    "keep": "--keep",
}


def add_format_options(parser: argparse.ArgumentParser, *, json_too: bool = False) -> None:
    """Add ``--format`` and ``--output``; ``--json`` too where it is a way to say the format."""
    group = parser.add_mutually_exclusive_group()
    group.add_argument(
        "-f",
        "--format",
        choices=FORMATS,
        default=TABLE,
        help="table (default), json, classic (p2pBandwidthLatencyTest's text) or prometheus "
        "(for node_exporter's textfile collector)",
    )
    if json_too:
        group.add_argument(
            "--json",
            dest="format",
            action="store_const",
            const=JSON,
            help="print one JSON document on standard output: --format json",
        )
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        metavar="FILE",
        help="write there instead, at once and with mode 0644",
    )


def add_verify_options(parser: argparse.ArgumentParser) -> None:
    """Add what ``verify`` takes beside a fleet's options."""
    parser.add_argument("--quick", action="store_true", help="move less and repeat less")
    parser.add_argument(
        "--devices",
        type=_words,
        default=[],
        metavar="GPU,GPU",
        help="only these GPUs, by index, UUID or PCI address",
    )
    parser.add_argument(
        "--allow-busy", action="store_true", help="go on although programs use the GPUs"
    )
    add_format_options(parser, json_too=True)


def add_show_parser(subparsers: Any) -> None:
    """Add the command ``show``."""
    parser = subparsers.add_parser(
        "show",
        help="show a stored result in any format",
        description="Show a stored result: a host's record, or what verify --format json wrote.",
    )
    parser.add_argument("result", type=Path, metavar="RESULT.json")
    add_format_options(parser)
    parser.set_defaults(run=_show)


def fleet_variables(parsed: argparse.Namespace) -> dict[str, Any]:
    """Return the playbook's variables for the options of ``verify`` that were given."""
    given = {
        "p2p_quick": parsed.quick,
        "p2p_devices": parsed.devices,
        "p2p_allow_busy": parsed.allow_busy,
    }
    return {name: value for name, value in given.items() if value}


def refuse_single_host_format(parsed: argparse.Namespace) -> None:
    """Refuse a format that is about one machine where there is an inventory.

    Raises:
        FleetError: ``format_of_one_host``.
    """
    if parsed.format not in (TABLE, JSON):
        raise FleetError(
            "format_of_one_host",
            read=f"--format {parsed.format} with an inventory",
            want="table or json, since an inventory can have many hosts",
            remedy="verify first, then gpufleet show gpufleet-report/hosts/HOST.json "
            f"--format {parsed.format}",
        )


def run_verify_here(parsed: argparse.Namespace) -> int:
    """Verify this machine, tell the result, and return the exit code.

    Raises:
        GpufleetError: nothing could be measured, or an option needs an inventory.
    """
    for name, option in _FLEET_ONLY.items():
        if getattr(parsed, name):
            raise FleetError(
                "inventory_missing",
                read=f"{option} without an inventory",
                want="an inventory, which that option is about",
                remedy="name one with -i; without it this machine is verified",
            )
    if parsed.output is not None:
        refuse_unwritable(parsed.output)
    with _Waiting(Console(stderr=True)) as waiting:
        result = verify_here(
            devices=parsed.devices,
            quick=parsed.quick,
            allow_busy=parsed.allow_busy,
            observer=waiting.note,
        )
    tell(Verification(result, time.time()), parsed.format, parsed.output)
    return exit_code_of(result)


def exit_code_of(result: Result) -> int:
    """Return the exit code for a verdict: 0 for pass, 1 for fail, 5 for warn."""
    return EXIT_OF_VERDICT[result.verdict]


def _show(parsed: argparse.Namespace) -> int:
    tell(read_verification(parsed.result), parsed.format, parsed.output)
    return 0


def _words(option: str) -> list[str]:
    return [word.strip() for word in option.split(",") if word.strip()]


class _Waiting:
    """On a terminal, a line that says how far the measurement is; else nothing."""

    def __init__(self, console: Console) -> None:
        self._started = time.monotonic()
        self._progress: tuple[int, int] | None = None
        self._spinner = Spinner("dots", style="cyan")
        self._live = Live(
            console=console, refresh_per_second=8, get_renderable=self._draw, transient=True
        )
        self._shown = console.is_terminal

    def __enter__(self) -> _Waiting:
        if self._shown:
            self._live.start()
        return self

    def note(self, done: int, total: int) -> None:
        """Take in how many pairs are measured, and of how many."""
        self._progress = (done, total)

    def __exit__(self, *_exception: object) -> None:
        if self._shown:
            self._live.stop()

    def _draw(self) -> Table:
        row = Table.grid(padding=(0, 1))
        elapsed = clock(time.monotonic() - self._started)
        words = Text("looking at the GPUs")
        if self._progress is not None:
            done, total = self._progress
            words = Text(f"measuring pairs of GPUs  {done} of {total}")
            row.add_row(self._spinner, words, ProgressBar(total, done, width=28), Text(elapsed))
        else:
            row.add_row(self._spinner, words, Text(elapsed))
        return row
