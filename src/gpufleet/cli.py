# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The command ``gpufleet``: the four actions on a fleet, this machine, and the lab."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Any

import yaml
from ansible_collections.gpufleet.p2p.plugins.plugin_utils.report_page import summary_lines
from rich.console import Console
from rich.text import Text

from .driver_cli import add_parser as add_driver_parser
from .errors import FleetError, GpufleetError, Interrupted
from .fleet import Fleet
from .lab.cli import add_parser as add_lab_parser
from .output import JSON, refuse_unwritable, write_atomically
from .results import (
    FAILED,
    NOT_REACHED,
    REFUSED,
    SCHEMA_VERSION,
    UNREACHABLE,
    FleetResult,
)
from .verification_cli import (
    add_show_parser,
    add_verify_options,
    fleet_variables,
    refuse_single_host_format,
    run_verify_here,
)
from .view import view_for

EXIT_GOOD = 0
EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_REFUSED = 3
EXIT_UNREACHABLE = 4
EXIT_INTERRUPTED = 130

USAGE_ERRORS = (
    "device_unknown",
    "driver_choice_unclear",
    "driver_choice_unknown",
    "driver_specification_invalid",
    "format_of_one_host",
    "inventory_missing",
    "no_hosts",
    "output_occupied",
    "output_unwritable",
    "result_malformed",
    "result_unreadable",
    "variables_malformed",
    "variables_missing",
    "verification_missing",
)
# This machine was not measured, for a reason that its operator can mend.
REFUSALS = ("gpus_busy", "nvml_unavailable", "userspace_mismatch")

ACTIONS = {
    "preflight": "read every host and evaluate the gates; changes nothing",
    "apply": "take every host to verified peer-to-peer, batch by batch",
    "verify": "verify every pair of GPUs, of this machine or of a fleet; changes nothing",
    "rollback": "take every host back to what it was",
}

EPILOG = """\
exit codes:
  0    every host came through
  1    a host failed, or the run itself did
  2    the command line or the inventory is wrong
  3    a gate refused a host, and none failed
  4    a host could not be reached, and none failed
  130  interrupted
"""

VERIFY_EPILOG = """\
Without an inventory this machine is verified. Exit codes then:
  0    pass: every pair gets the right data as fast as its link allows
  1    fail, or the measurement itself failed
  2    the command line is wrong
  3    nothing was measured: programs use the GPUs, or there is no driver
  5    warn: right data, but a pair is slower than it should be or not all could be checked
  130  interrupted

With an inventory, """


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code.

    Args:
        arguments: the command line without the program's name, ``sys.argv`` by default.
    """
    parsed = _parser().parse_args(arguments)
    as_json = getattr(parsed, "format", "") == JSON or bool(getattr(parsed, "json", False))
    previous = signal.signal(signal.SIGTERM, _interrupt)
    try:
        return int(parsed.run(parsed))
    except Interrupted as error:
        _tell_error(error, as_json)
        return EXIT_INTERRUPTED
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except GpufleetError as error:
        _tell_error(error, as_json)
        if error.code in REFUSALS:
            return EXIT_REFUSED
        return EXIT_USAGE if error.code in USAGE_ERRORS else EXIT_FAILED
    finally:
        signal.signal(signal.SIGTERM, previous)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="gpufleet",
        description="Direct GPU-to-GPU transfers over PCIe on a fleet: set up, proven, kept.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    subparsers = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for action, sentence in ACTIONS.items():
        action_parser = subparsers.add_parser(
            action,
            help=sentence,
            description=f"{sentence[0].upper()}{sentence[1:]}.",
            epilog=VERIFY_EPILOG + EPILOG if action == "verify" else EPILOG,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        _add_fleet_options(action_parser)
        if action == "verify":
            add_verify_options(action_parser)
        else:
            action_parser.add_argument(
                "--json", action="store_true", help="print one JSON document on standard output"
            )
        action_parser.set_defaults(run=_run_action, action=action)
    add_show_parser(subparsers)
    add_driver_parser(subparsers)
    add_lab_parser(subparsers)
    return parser


def _add_fleet_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "-i",
        "--inventory",
        action="append",
        metavar="PATH",
        help="inventory file or directory; may repeat (default: the environment's INVENTORY)",
    )
    add("-l", "--limit", metavar="PATTERN", help="only the hosts that match")
    add("-t", "--tags", action="append", default=[], help="only these steps, comma separated")
    add("--skip-tags", action="append", default=[], help="all steps but these, comma separated")
    add("-C", "--check", action="store_true", help="change nothing, tell what would change")
    add("-D", "--diff", action="store_true", help="show the differences of files")
    add(
        "-e",
        "--extra-vars",
        action="append",
        default=[],
        metavar="KEY=VALUE|@FILE",
        help="a variable (a string), a JSON or YAML mapping in braces, or a file; may repeat",
    )
    add("--report-dir", metavar="DIR", help="folder of the report (default: ./gpufleet-report)")
    add(
        "--keep",
        action="store_true",
        help="keep the run's private data of a run that did not succeed, for a look",
    )


def _run_action(parsed: argparse.Namespace) -> int:
    as_json, output = False, None
    if parsed.action == "verify":
        if not (parsed.inventory or _inventory_of_environment()):
            return run_verify_here(parsed)
        refuse_single_host_format(parsed)
        as_json, output = parsed.format == JSON, parsed.output
        if output is not None:
            refuse_unwritable(output)
    else:
        as_json = parsed.json
    result = _run_fleet(parsed)
    text = _result_text(result, as_json)
    if output is None:
        sys.stdout.write(text)
    else:
        write_atomically(output, text)
    return exit_code(result)


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _run_fleet(parsed: argparse.Namespace) -> FleetResult:
    variables, files = parse_extra_vars(parsed.extra_vars)
    if parsed.action == "verify":
        variables.update(fleet_variables(parsed))
    # The screen is standard error, so that standard output holds the result and nothing else.
    with view_for(Console(stderr=True), parsed.action) as view:
        fleet = Fleet(
            parsed.inventory or _inventory_of_environment(),
            limit=parsed.limit,
            tags=_words(parsed.tags),
            skip_tags=_words(parsed.skip_tags),
            check=parsed.check,
            diff=parsed.diff,
            extra_vars=variables,
            extra_vars_files=files,
            report_dir=parsed.report_dir,
            observer=view.show,
            keep_on_failure=parsed.keep,
        )
        return fleet.run(parsed.action)


def _inventory_of_environment() -> list[str]:
    named = os.environ.get("INVENTORY", "")
    return [named] if named else []


def _words(options: Sequence[str]) -> list[str]:
    return [word.strip() for option in options for word in option.split(",") if word.strip()]


def parse_extra_vars(options: Sequence[str]) -> tuple[dict[str, Any], list[Path]]:
    """Return variables and files of ``-e`` options, by Ansible's own rules.

    ``KEY=VALUE`` gives a string, so that a version such as 595.10 keeps its zero.

    Raises:
        FleetError: code ``variables_malformed``.
    """
    variables: dict[str, Any] = {}
    files = []
    for option in options:
        name, equals, value = option.partition("=")
        if option.startswith("@"):
            files.append(Path(option[1:]))
        elif option.startswith("{"):
            variables.update(_mapping(option))
        elif equals and name.isidentifier():
            variables[name] = value
        else:
            raise _malformed_variables(option)
    return variables, files


def _mapping(option: str) -> dict[str, Any]:
    try:
        loaded = yaml.safe_load(option)
    except yaml.YAMLError as error:
        raise _malformed_variables(option) from error
    if not isinstance(loaded, dict) or not all(isinstance(name, str) for name in loaded):
        raise _malformed_variables(option)
    return loaded


def _malformed_variables(option: str) -> FleetError:
    return FleetError(
        "variables_malformed",
        read=f"-e {option}",
        want="KEY=VALUE, @FILE, or a mapping in braces",
        remedy="""write it as -e p2p_report_dir=/srv/report or -e '{"p2p_allow_busy": true}'""",
    )


def exit_code(result: FleetResult) -> int:
    """Return the exit code for a result; a failure outranks a lost host, that a refusal."""
    outcomes = {host.outcome for host in result.hosts}
    if FAILED in outcomes:
        return EXIT_FAILED
    if outcomes & {UNREACHABLE, NOT_REACHED}:
        return EXIT_UNREACHABLE
    return EXIT_REFUSED if REFUSED in outcomes else EXIT_GOOD


def _result_text(result: FleetResult, as_json: bool) -> str:
    if as_json:
        return json.dumps(result.to_dict(), indent=2, sort_keys=True) + "\n"
    records = [host.record.to_dict() for host in result.hosts]
    report = str(result.report) if result.report else ""
    lines = summary_lines(records, report)
    if result.kept:
        lines.append(f"kept: {result.kept}")
    return "\n".join(lines) + "\n"


def _tell_error(error: GpufleetError, as_json: bool) -> None:
    if as_json:
        json.dump({"schema": SCHEMA_VERSION, "error": error.as_dict()}, sys.stdout, indent=2)
        sys.stdout.write("\n")
        return
    screen = Console(stderr=True)
    screen.print(Text(f"gpufleet: {error.code}", style="bold red"))
    for name in ("read", "want", "remedy"):
        screen.print(Text(f"  {name:<7} {error.as_dict()[name]}"), soft_wrap=True)
