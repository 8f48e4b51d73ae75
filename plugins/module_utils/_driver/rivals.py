# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""nouveau and nova kept off the GPUs, which they would take before the NVIDIA driver is loaded.

A `blacklist` line keeps udev from loading a module for a device that it finds (modprobe.d(5));
who loads one by its name still can.
"""

from __future__ import annotations

from pathlib import Path

from .._host.files import atomic_write, read_bytes, remove

#: A file of our own; no order matters, since blacklist lines add up.
RIVALS_FILE = Path("/etc/modprobe.d/gpufleet-nvidia-alone.conf")
#: The kernel's own drivers of NVIDIA GPUs. nova's upper half was first built as nova.
RIVALS = ("nouveau", "nova_core", "nova_drm", "nova")
#: What our file says.
CONTENT = (
    "# Written by gpufleet: the GPUs are the NVIDIA driver's. Taken away with the driver.\n"
    + "".join(f"blacklist {name}\n" for name in RIVALS)
).encode()


def are_kept_off(root: Path = Path("/")) -> bool:
    """Return whether our file is there and says what it should."""
    return read_bytes(_file(root)) == CONTENT


def keep_off(root: Path = Path("/")) -> None:
    """Write our file, unless it is there."""
    if not are_kept_off(root):
        atomic_write(_file(root), CONTENT)


def let_on(root: Path = Path("/")) -> None:
    """Take our file away, if it is there."""
    remove(_file(root))


def is_there(root: Path = Path("/")) -> bool:
    """Return whether there is a file of our name."""
    return _file(root).exists()


def _file(root: Path) -> Path:
    return root / str(RIVALS_FILE).lstrip("/")
