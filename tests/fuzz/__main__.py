# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Gives every parser of the registry damaged texts for a while, and says how many it stood.

python -m fuzz --seconds 600      (make fuzz)

A case that raises anything but a GpufleetError is shown shrunk, with its parser, and the exit
status is 1 in the end. One that does not return within a minute ends the run with the place where
it stood.
"""

from __future__ import annotations

import argparse
import faulthandler
import random
import signal
import sys
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, field

import hypothesis
from ansible_collections.gpufleet.p2p.plugins.module_utils._host.errors import GpufleetError
from fuzz.parsers import PARSERS, Parser

_CASES_A_ROUND = 250
_HANG_SECONDS = 60


@dataclass
class Tally:
    """What came of one parser: cases read and refused, the slowest in seconds, and a crash."""

    cases: int = 0
    refused: int = 0
    seconds: float = 0.0
    slowest: float = 0.0
    crash: str = ""
    begun: float = field(default_factory=time.monotonic)


def fuzz(parser: Parser, seconds: float, seed: int, cases_a_round: int = _CASES_A_ROUND) -> Tally:
    """Return what came of a parser in about this many seconds: at least one round of cases."""
    tally = Tally()

    def read(case: object) -> None:
        signal.setitimer(signal.ITIMER_REAL, _HANG_SECONDS)
        began = time.process_time()
        try:
            parser.read(case)
        except GpufleetError:
            tally.refused += 1
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            tally.cases += 1
            tally.slowest = max(tally.slowest, time.process_time() - began)

    # Where a case hangs, its place is printed before the signal's usual effect ends the process.
    faulthandler.register(signal.SIGALRM, file=sys.__stderr__, chain=True)
    number = 0
    while number == 0 or time.monotonic() - tally.begun < seconds:
        settings = hypothesis.settings(
            max_examples=cases_a_round,
            database=None,
            deadline=None,
            suppress_health_check=list(hypothesis.HealthCheck),
        )
        seeded = hypothesis.seed(seed + number)
        try:
            settings(seeded(hypothesis.given(parser.cases)(read)))()
        except Exception:  # whatever a parser raises is what this looks for
            tally.crash = traceback.format_exc()
            break
        number += 1
    faulthandler.unregister(signal.SIGALRM)
    tally.seconds = time.monotonic() - tally.begun
    return tally


def main(arguments: Sequence[str] | None = None) -> int:
    """Fuzz, print a line for each parser and a sum, and return the exit status."""
    options = _options(arguments)
    chosen = [parser for parser in PARSERS if not options.only or parser.name in options.only]
    if not chosen:
        print(f"no such parser; there are:\n{chr(10).join(parser.name for parser in PARSERS)}")
        return 2
    print(f"{len(chosen)} parsers, {options.seconds:g} s, seed {options.seed}")
    print(f"{'parser':<48} {'cases':>9} {'refused':>9} {'slowest':>9}")
    tallies = []
    for parser in chosen:
        tally = fuzz(parser, options.seconds / len(chosen), options.seed)
        tallies.append(tally)
        end = "  CRASHED" if tally.crash else ""
        print(
            f"{parser.name:<48} {tally.cases:>9} {tally.refused:>9} "
            f"{1000 * tally.slowest:>6.1f} ms{end}",
            flush=True,
        )
        if tally.crash:
            print(tally.crash, flush=True)
    crashed = sum(bool(tally.crash) for tally in tallies)
    print(
        f"{sum(tally.cases for tally in tallies)} cases in "
        f"{sum(tally.seconds for tally in tallies):.0f} s, {crashed} parsers crashed"
    )
    return 1 if crashed else 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="fuzz", description="damaged texts for every parser")
    parser.add_argument("--seconds", type=float, default=600.0, help="of the whole run")
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    parser.add_argument("--only", action="append", metavar="PARSER", help="may be repeated")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
