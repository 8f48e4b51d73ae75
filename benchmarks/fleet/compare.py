# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs site.yml and the same work by builtin tasks over converged simulated hosts, and compares.

Prints the controller's CPU time per host and the wall time of both, for each number of hosts. See
benchmarks/README.md for the method.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "collection"))
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "src"))
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests"))

from ansible_collections.gpufleet.p2p.plugins.module_utils._host.errors import GpufleetError

from benchmarks.fleet.controller import RunFailed, play
from benchmarks.fleet.figures import BUILTIN, OURS, table_lines, verdicts
from benchmarks.fleet.hosts import Hosts, System, serve
from benchmarks.fleet.seed import PLAYBOOKS, SeedFailed, converged_system
from gpufleet.lab.progress import Reporter
from gpufleet.lab.requirements import check_requirements

_ROOT = Path(__file__).resolve().parents[2]


def main(arguments: Sequence[str] | None = None) -> int:
    """Compare and print; return 0 if all that is wanted holds, else 1, 2 for a wrong option."""
    parsed = _parser().parse_args(arguments)
    if parsed.read:
        data = json.loads(parsed.read.read_text(encoding="utf-8"))
    else:
        try:
            data = compare(parsed)
        except (GpufleetError, RunFailed, SeedFailed) as error:
            print(error, file=sys.stderr)
            return 1
        if parsed.output:
            parsed.output.parent.mkdir(parents=True, exist_ok=True)
            parsed.output.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
    print("\n".join(table_lines(data, markdown=parsed.markdown)))
    clean = not any(run["troubles"] for run in data["runs"])
    return 0 if clean and all(verdicts(data["runs"]).values()) else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--hosts", type=_count, nargs="+", default=[50, 200], metavar="N", help="fleets (50 200)")
    add(
        "--only",
        choices=(OURS, BUILTIN),
        action="append",
        help="leave the other playbook out",
    )
    add(
        "--description",
        type=Path,
        default=_ROOT / "lab/hosts/alpha.json",
        metavar="FILE",
        help="the GPUs of every host, as the lab describes them (default: alpha, two GPUs)",
    )
    add("--logs", type=Path, metavar="DIR", help="keep the output and the reports of all runs here")
    add("--option", action="append", default=[], help="one more argument of ansible-playbook")
    add("--output", type=Path, metavar="FILE", help="write everything as JSON")
    add("--read", type=Path, metavar="FILE", help="show a JSON file that was written earlier")
    add("--markdown", action="store_true", help="print tables of Markdown")
    return parser


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("a fleet has at least one host")
    return number


def compare(options: argparse.Namespace) -> dict[str, Any]:
    """Run both playbooks over fleets of each size and return all that was measured."""
    check_requirements()
    reporter = Reporter()
    with ExitStack() as stack:
        work = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="gpufleet-fleet-")))
        logs = options.logs.absolute() if options.logs else work / "logs"
        system = stack.enter_context(converged_system(options.description, logs, reporter))
        names = [f"node{number:04}" for number in range(1, max(options.hosts) + 1)]
        hosts = stack.enter_context(serve(system, {name: work / name for name in names}))
        runs = []
        for count in sorted(set(options.hosts)):
            for playbook in options.only or (OURS, BUILTIN):
                with reporter.step(f"{playbook} over {count} hosts"):
                    runs.append(
                        _measure(
                            hosts,
                            system,
                            playbook,
                            count=count,
                            logs=logs,
                            options=options.option,
                        )
                    )
    return {
        "schema": 1,
        "date": datetime.now(UTC).date().isoformat(),
        "machine": _machine(),
        "description": options.description.stem,
        "options": options.option,
        "runs": runs,
    }


def _measure(
    hosts: Hosts,
    system: System,
    playbook: str,
    *,
    count: int,
    logs: Path,
    options: Sequence[str],
) -> dict[str, Any]:
    directory = logs / f"{PLAYBOOKS[playbook].stem}-{count}"
    before = hosts.spent()
    inventory = hosts.inventory(
        count,
        host_kernel=system.kernel,
        p2p_quick=True,
        p2p_report_dir=str(directory / "report"),
    )
    run = play(PLAYBOOKS[playbook], inventory, directory, options)
    after = hosts.spent()
    counts = run.recap.values()
    return {
        "playbook": playbook,
        "hosts": count,
        "cpu_seconds": run.cpu_seconds,
        "user_seconds": run.user_seconds,
        "system_seconds": run.system_seconds,
        "wall_seconds": run.wall_seconds,
        "tasks": {name: sum(one[name] for one in counts) for name in ("ok", "skipped")},
        "connections": after["connections"] - before["connections"],
        "sessions": after["sessions"] - before["sessions"],
        "hosts_cpu_seconds": after["cpu_seconds"] - before["cpu_seconds"],
        "troubles": run.troubles(count),
    }


def _machine() -> dict[str, Any]:
    """Return what the figures depend on, without names of persons and places."""
    return {
        "processors": len(os.sched_getaffinity(0)),
        "processor": _processor(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "ansible_core": version("ansible-core"),
        "ssh": shutil.which("ssh") is not None,
    }


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        name, _colon, value = line.partition(":")
        if name.strip() == "model name":
            return value.strip()
    return platform.machine()


if __name__ == "__main__":
    sys.exit(main())
