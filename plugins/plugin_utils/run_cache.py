# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the controller makes of its own files once in a run, not once for each host."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ansible import constants
from ansible_collections.gpufleet.p2p.plugins.module_utils._host.files import atomic_write


def made_once(name: str, make: Callable[[], bytes]) -> bytes:
    """Return what ``make`` returns, kept in the run's own temporary folder under ``name``.

    Each task of each host is a process of its own; the first ones may make it at the same time.

    Raises:
        OSError: the folder cannot be written to.
    """
    path = Path(constants.DEFAULT_LOCAL_TMP) / f"gpufleet-{name}"
    if path.is_file():
        return path.read_bytes()
    made = make()
    atomic_write(path, made, mode=0o600)
    return made
