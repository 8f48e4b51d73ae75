# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs p2p_verify beside nvbandwidth, p2pBandwidthLatencyTest and nccl-tests, and compares.

All on the same GPUs in one session, in turns, so that what drifts (clocks, heat, other load) drifts
for all. A tool that is missing or fails is reported and does not stop the rest. See
benchmarks/README.md for the method.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.p2p.comparison import summary, table_lines, trouble_lines
from benchmarks.p2p.tools import (
    OURS,
    OURS_QUICK,
    Run,
    Tool,
    environment_for,
    other_tools,
    our_tool,
    run,
)

_ROOT = Path(__file__).resolve().parents[2]
_GPUS_OF_DRIVER = Path("/proc/driver/nvidia/gpus")


def main(arguments: Sequence[str] | None = None) -> int:
    """Compare, print, and return 0; 1 where p2p_verify gave no figure, 2 for a wrong option."""
    parsed = _parser().parse_args(arguments)
    if parsed.read:
        data = json.loads(parsed.read.read_text(encoding="utf-8"))
    else:
        data = compare(parsed)
        if parsed.output:
            parsed.output.parent.mkdir(parents=True, exist_ok=True)
            parsed.output.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
    print("\n".join([*table_lines(data, markdown=parsed.markdown), *trouble_lines(data)]))
    ours = [one for one in data["runs"] if one["tool"] == OURS]
    return 0 if any(one["figures"] for one in ours) else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--repeats", type=int, default=3, help="rounds; every tool runs once in each (default 3)")
    add("--devices", default="", metavar="GPU,GPU", help="only these, as p2p_verify takes them")
    add("--quick", action="store_true", help="p2p_verify with quick")
    add("--allow-busy", action="store_true", help="p2p_verify although programs use the GPUs")
    add("--gpu-match", action="append", default=[], help="what is a GPU, as p2p_verify takes it")
    add("--limit", type=float, default=180.0, metavar="S", help="seconds until a run is killed")
    add(
        "--tool",
        action="append",
        default=[],
        type=_named_path,
        metavar="NAME=PATH",
        help="where a tool is; the others are looked for on PATH; NAME= leaves one out",
    )
    add("--output", type=Path, metavar="FILE", help="write everything as JSON")
    add("--read", type=Path, metavar="FILE", help="show a JSON file that was written earlier")
    add("--markdown", action="store_true", help="print tables of Markdown")
    return parser


def _named_path(option: str) -> tuple[str, str]:
    name, equals, path = option.partition("=")
    if not equals or not name:
        raise argparse.ArgumentTypeError(f"read {option}; want NAME=PATH")
    return name, path


def compare(parsed: argparse.Namespace) -> dict[str, Any]:
    """Run everything and return the comparison as plain data."""
    ours = our_tool(_our_options(parsed))
    paths = dict(parsed.tool)
    runs = [_told(run(ours, (), os.environ, parsed.limit))]
    gpus, uuids = _gpus(runs[0])
    # Without a choice every tool takes all GPUs, which is what p2p_verify does.
    chosen = uuids if parsed.devices or "CUDA_VISIBLE_DEVICES" in os.environ else []
    environment = environment_for(chosen)
    others, absent = other_tools(len(gpus), paths)
    others = [tool for tool in others if paths.get(tool.name) != ""]
    for number in range(parsed.repeats):
        # Ours has run once already, to tell which GPUs there are.
        tools = [*others] if number == 0 else in_turn([ours, *others], number)
        runs += [_told(run(tool, gpus, environment, parsed.limit)) for tool in tools]
    if not parsed.quick:
        quick = our_tool([*_our_options(parsed), "--quick"], name=OURS_QUICK)
        runs.append(_told(run(quick, gpus, os.environ, parsed.limit)))
    machine = _machine(runs[0], parsed)
    data: dict[str, Any] = summary(runs, absent, machine)
    return data


def in_turn(tools: Sequence[Tool], number: int) -> list[Tool]:
    """Return the tools beginning with another one in each round."""
    first = number % len(tools)
    return [*tools[first:], *tools[:first]]


def _our_options(parsed: argparse.Namespace) -> list[str]:
    options = [f"--gpu-match={pattern}" for pattern in parsed.gpu_match]
    options += [f"--devices={parsed.devices}"] if parsed.devices else []
    return options + ["--quick"] * parsed.quick + ["--allow-busy"] * parsed.allow_busy


def _told(one: Run) -> Run:
    ending = one.trouble or f"{len(one.figures)} figures"
    print(f"{one.tool}: {one.wall_seconds:.2f} s, {ending}", file=sys.stderr, flush=True)
    return one


def _gpus(first: Run) -> tuple[list[int], list[str]]:
    """Return the GPUs' numbers and UUIDs; where p2p_verify failed, as many as the driver lists."""
    if first.result is not None:
        gpus = sorted(first.result["gpus"], key=lambda gpu: int(gpu["index"]))
        return [int(gpu["index"]) for gpu in gpus], [str(gpu["uuid"]) for gpu in gpus]
    listed = list(_GPUS_OF_DRIVER.iterdir()) if _GPUS_OF_DRIVER.is_dir() else []
    return list(range(len(listed))), []


def _machine(first: Run, parsed: argparse.Namespace) -> dict[str, Any]:
    result = first.result or {}
    return {
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": _commit(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "cpu": _cpu(),
        "driver": (result.get("driver") or {}).get("version"),
        "gpus": [
            {"index": gpu["index"], "name": gpu["name"], "link": gpu["link"]}
            for gpu in result.get("gpus", [])
        ],
        "paths": sorted({pair["path"] for pair in result.get("pairs", [])}),
        "repeats": parsed.repeats,
        "quick": parsed.quick,
    }


def _commit() -> str | None:
    """Return the checkout's commit; None where it is not a checkout of git."""
    try:
        done = subprocess.run(
            ["git", "-C", str(_ROOT), "rev-parse", "HEAD"],
            capture_output=True,
            text=True,
            check=False,
            timeout=10,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None


def _cpu() -> str | None:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else None


if __name__ == "__main__":
    sys.exit(main())
