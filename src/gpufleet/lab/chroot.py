# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Working in a copy of the image's file system without ever changing the image's own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from .paths import GUEST_FILES


def enter_argv(root_file_system: Path, work: Path, command: Sequence[str]) -> list[str]:
    """Return the command line that runs a command in a writable view of a file system.

    All of it runs in mount, process and host-name namespaces of its own: when unshare ends, for
    whatever reason, every process in it is killed and every mount disappears.

    Args:
        root_file_system: the image's files, which stay untouched.
        work: a directory for what is changed; kept between calls.
        command: what to run, as root, in the view.
    """
    return [
        *("unshare", "--mount", "--pid", "--uts", "--ipc", "--fork", "--kill-child"),
        *("sh", str(GUEST_FILES / "enter.sh"), str(root_file_system), str(work)),
        *command,
    ]
