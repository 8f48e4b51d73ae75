# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How the programs tell what they measured, and how they wait."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Callable
from typing import NoReturn

from support.cuda_library import CudaFailure, Gpu

# What stands for a user's patience with a program that does not come back.
_PATIENCE_SECONDS = 4.0


def tell(**record: object) -> None:
    """Print one record."""
    print(json.dumps(record), flush=True)


def stop(words: str, number: int | None = None) -> NoReturn:
    """Print an error and exit as the tools do."""
    tell(error=words, number=number)
    sys.exit(1)


def synchronise(gpu: Gpu) -> None:
    """Wait for a GPU's stream inside the driver, as the tools do; SIGALRM ends a wait for good."""
    signal.setitimer(signal.ITIMER_REAL, _PATIENCE_SECONDS)
    gpu.synchronise()
    signal.setitimer(signal.ITIMER_REAL, 0)


def checked(number: int, call: str) -> None:
    """Raise CudaFailure unless the result of a call is success."""
    if number:
        raise CudaFailure(call, number)


def run(main: Callable[[], None]) -> None:
    """Run a program; an error of the driver ends it as it ends the tools."""
    try:
        main()
    except CudaFailure as failure:
        stop(f"{failure.described()} in {failure.args[0]}", failure.number)
