# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Inject faults into guests' disks and record what becomes of the hosts: ``make faults``.

Needs root. What is made is kept in a directory, and the record grows with every fault, so that a
run that was interrupted, or whose time was over, goes on where it ended.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path

from ansible_collections.gpufleet.p2p.plugins.module_utils._host.commands import run
from ansible_collections.gpufleet.p2p.plugins.module_utils._host.errors import GpufleetError
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from gpufleet.lab.image import exclusive

from .campaign import FAST, FULL, Campaign, Planned, product_key
from .fault import NothingStruck
from .guest_disk import NODES
from .preparing import RELEASES
from .record import BOOT, PRODUCT, Outcome, Record, read_record, table
from .scratch import open_scratch

_INSIDE = "GPUFLEET_FAULTS_NAMESPACE"
_RECORD = Path(__file__).with_name("last_record.json")
_WORKERS = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return 0, 1 if the product lost a host, or 2 if the run failed."""
    options = _parser().parse_args(arguments)
    if options.table:
        print(table(read_record(options.record).outcomes))
        return 0
    if os.geteuid() != 0:
        print("root is needed: guests' disks are mounted and entered", file=sys.stderr)
        return 2
    if _INSIDE not in os.environ:
        _enter_namespace(arguments)
    run(["mount", "-t", "tmpfs", "tmpfs", str(NODES)])
    options.home.mkdir(parents=True, exist_ok=True)
    try:
        # Two runs would take each other's disks away, and what the other one recorded.
        with exclusive(options.home / "lock"):
            record = Record() if options.fresh else read_record(options.record)
            try:
                failed = _inject_all(options, record)
            finally:
                record.write(options.record)
    except GpufleetError as error:
        print(f"{error.code}: {error}", file=sys.stderr)
        return 2
    print(table(record.outcomes))
    print(record.summary())
    if failed:
        print(f"{failed} faults could not be injected", file=sys.stderr)
        return 2
    return 1 if record.summary()["hosts_lost"] else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m faults", description=__doc__)
    parser.add_argument("--releases", nargs="+", choices=RELEASES, default=list(RELEASES))
    parser.add_argument("--fast", action="store_true", help="a few faults of each kind only")
    parser.add_argument(
        "--seconds", type=float, default=float("inf"), help="end so long after the first"
    )
    parser.add_argument("--record", type=Path, default=_RECORD, help="JSON file that grows")
    parser.add_argument("--fresh", action="store_true", help="forget what the file records")
    parser.add_argument(
        "--boot", type=int, default=0, metavar="N", help="boot N recorded faults of each kind"
    )
    parser.add_argument("--home", type=Path, default=Path("/var/tmp/gpufleet-faults"))
    parser.add_argument("--table", action="store_true", help="print the record's table, and end")
    return parser


def _enter_namespace(arguments: Sequence[str] | None) -> None:
    """Start anew in a mount namespace, with which every mount of the run ends."""
    words = ["unshare", "--mount", "--propagation", "private", sys.executable, "-m", "faults"]
    words += sys.argv[1:] if arguments is None else arguments
    os.execvpe(words[0], words, {**os.environ, _INSIDE: "1"})


def _inject_all(options: argparse.Namespace, record: Record) -> int:
    """Inject what is not recorded yet; return how many faults could not be injected."""
    scratch = open_scratch(options.home)
    # From the first fault on: what they need is made before, as fast as the machine is.
    deadline: float | None = None
    product = product_key()
    # An emulated guest takes what there is, and is waited for so long only.
    workers = 1 if options.boot else _WORKERS
    with _Show() as show:
        for release in options.releases:
            record.begin(release, product)
            campaign = Campaign(release, options.home / f"{release}-{product}", scratch)
            show.release(release)
            planned = campaign.faults(FAST if options.fast else FULL)
            if options.boot:
                planned = to_boot(planned, record, options.boot)
            else:
                done = record.ids()
                planned = (one for one in planned if one.id not in done)
            with ThreadPoolExecutor(workers) as pool:
                running: set[Future[Outcome]] = set()
                for one in planned:
                    if len(running) >= workers:
                        running = _collect(running, record, show, options.record)
                    if deadline is None:
                        deadline = time.monotonic() + options.seconds
                    if time.monotonic() > deadline:
                        break
                    show.begin(one)
                    running.add(pool.submit(one.inject, bool(options.boot)))
                while running:
                    running = _collect(running, record, show, options.record)
        return show.failed


def to_boot(planned: Iterator[Planned], record: Record, number: int) -> Iterator[Planned]:
    """Yield recorded faults that were not booted yet: the product's and lost controls in turn."""
    outcomes = {outcome.id: outcome for outcome in record.outcomes}
    # Of each kind, on whichever release, so that a sample has as many of them as it can.
    kinds = Counter(
        (outcome.kind, outcome.subject == PRODUCT)
        for outcome in record.outcomes
        if outcome.judged == BOOT
    )
    for one in planned:
        outcome = outcomes.get(one.id)
        product = one.subject == PRODUCT
        if outcome is None or outcome.judged == BOOT or not (product or outcome.lost):
            continue
        if kinds[one.kind, product] < number:
            kinds[one.kind, product] += 1
            yield one


def _collect(
    running: set[Future[Outcome]], record: Record, show: _Show, path: Path
) -> set[Future[Outcome]]:
    finished, rest = wait(running, return_when=FIRST_COMPLETED)
    for future in finished:
        failure = future.exception()
        if isinstance(failure, NothingStruck):
            show.miss()
            continue
        if failure is not None:
            # No outcome: the same fault is tried again by the next run.
            show.fail(failure)
            continue
        outcome = future.result()
        record.add(outcome)
        show.end(outcome)
    record.write(path)
    return rest


class _Show:
    """What goes on, on the terminal; a line for each host of the product that was lost."""

    def __init__(self) -> None:
        self._console = Console(stderr=True)
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("[red]{task.fields[lost]}"),
            console=self._console,
        )
        self._task = self._progress.add_task("", total=None, lost="")
        self._lost = {True: 0, False: 0}
        self._missed = 0
        self.failed = 0

    def __enter__(self) -> _Show:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def release(self, release: str) -> None:
        """Tell that a release begins; its disks may take minutes to make."""
        self._console.log(f"{release}: disks, builds and traces, where they are not kept")

    def begin(self, planned: Planned) -> None:
        """Tell which fault is injected."""
        self._progress.update(self._task, description=f"{planned.kind} of {planned.subject}")

    def miss(self) -> None:
        """Count a fault that its step did not meet: no fault."""
        self._missed += 1

    def fail(self, failure: BaseException) -> None:
        """Tell of a fault that could not be injected or judged."""
        self.failed += 1
        self._console.log(f"NOT INJECTED {failure!r}", markup=False)

    def end(self, outcome: Outcome) -> None:
        """Count an outcome."""
        product = outcome.subject == PRODUCT
        self._lost[product] += outcome.lost
        lost = f"lost: product {self._lost[True]}, controls {self._lost[False]}"
        lost += f"; not met: {self._missed}" if self._missed else ""
        self._progress.update(self._task, advance=1, lost=lost)
        if outcome.lost and product:
            words = (outcome.id, outcome.driver or "not reached", outcome.detail)
            self._console.log(f"LOST {' | '.join(words)}", markup=False)


if __name__ == "__main__":
    sys.exit(main())
