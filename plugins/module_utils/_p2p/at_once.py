# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Doing the same for several GPUs at the same time, where most of it is waiting for the driver."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Callable, TypeVar

Item = TypeVar("Item")
Made = TypeVar("Made")


def at_once(work: Callable[[Item], Made], items: Sequence[Item]) -> list[Made]:
    """Return what ``work`` returns for each item, called in a thread for each but the first.

    Raises:
        Exception: what ``work`` raised, of the first item where it did; all have ended by then.
    """
    made: dict[int, Made] = {}
    failed: dict[int, Exception] = {}

    def do(number: int) -> None:
        try:
            made[number] = work(items[number])
        except Exception as error:  # raised again by the thread that waits for it
            failed[number] = error

    others = [threading.Thread(target=do, args=(number,)) for number in range(1, len(items))]
    for thread in others:
        thread.start()
    if items:
        do(0)
    for thread in others:
        thread.join()
    if failed:
        raise failed[min(failed)]
    return [made[number] for number in range(len(items))]
