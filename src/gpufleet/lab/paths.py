# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the lab keeps its machines, its image cache and its sources."""

from __future__ import annotations

import os
from pathlib import Path

from ansible_collections.gpufleet.p2p.plugins.module_utils._host.errors import GpufleetError

DEFAULT_INSTANCE = "default"
DEFAULT_HOSTS = ("alpha", "beta")
GUEST_FILES = Path(__file__).parent / "guest"
# Apart from the others, so that a change to them makes no BIOS guest's image anew.
EFI_GUEST_FILES = Path(__file__).parent / "guest_efi"


class LabFilesMissing(GpufleetError):
    """The checkout's lab directory, with the driver's sources, is not where it should be."""


def lab_home() -> Path:
    """Return the directory of all lab state: $GPUFLEET_LAB_HOME or ~/.cache/gpufleet/lab."""
    given = os.environ.get("GPUFLEET_LAB_HOME")
    return Path(given).absolute() if given else Path.home() / ".cache" / "gpufleet" / "lab"


def state_directory(instance: str = DEFAULT_INSTANCE) -> Path:
    """Return where the named lab keeps its machines and its inventory.yml."""
    home = lab_home()
    return home if instance == DEFAULT_INSTANCE else home / "instances" / instance


def cache_directory() -> Path:
    """Return where images are kept, shared by every lab of this user."""
    return lab_home() / "images"


def lab_files() -> Path:
    """Return the directory that holds hosts/ and simulated_driver/.

    It is the repository's lab/, or gpufleet/lab/files in an installed wheel.

    Raises:
        LabFilesMissing: neither is there.
    """
    candidates = (Path(__file__).parents[3] / "lab", Path(__file__).parent / "files")
    for candidate in candidates:
        if (candidate / "hosts").is_dir():
            return candidate
    raise LabFilesMissing(
        "lab_files_missing",
        read="no hosts/ under " + " or ".join(str(candidate) for candidate in candidates),
        want="the lab directory of a gpufleet checkout",
        remedy="run the lab from a clone of the repository",
    )


def default_descriptions() -> tuple[Path, ...]:
    """Return the descriptions of the two machines that `lab up` brings up unasked."""
    return tuple(lab_files() / "hosts" / f"{name}.json" for name in DEFAULT_HOSTS)
