# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The guard's own look at the host, ended where its copies would pass for somebody's work."""

from __future__ import annotations

import contextlib
from pathlib import Path

from .._host.commands import CommandTimedOut, run
from .units import SERVICE

# As long as systemd itself waits for a service before it kills it.
_STOP_SECONDS = 120.0


def end_own_look(root: Path = Path("/")) -> None:
    """End a look that is under way; the timer makes it again. Nothing where there is none."""
    if (root / "run/systemd/system").is_dir():
        # One that does not end is seen on the GPUs, and told of as any other process there.
        with contextlib.suppress(CommandTimedOut):
            run(["systemctl", "stop", SERVICE], check=False, timeout=_STOP_SECONDS)
