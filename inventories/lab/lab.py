#!/usr/bin/env python3
# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab as an inventory, `-i inventories/lab`: its ports are known only once it is up.

GPUFLEET_LAB_NAME chooses a lab other than the default one. Standard library only: Ansible runs
this by the first python3 on PATH, which need not be the one that gpufleet is installed in.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path


def inventory_file() -> Path:
    """Return the file that `gpufleet lab up` writes, where gpufleet.lab.paths has it."""
    given = os.environ.get("GPUFLEET_LAB_HOME")
    home = Path(given).absolute() if given else Path.home() / ".cache" / "gpufleet" / "lab"
    name = os.environ.get("GPUFLEET_LAB_NAME", "default")
    return (home if name == "default" else home / "instances" / name) / "inventory.json"


def main() -> int:
    """Print the lab's inventory as JSON and return the exit status."""
    # A host's variables come with the list, so Ansible never asks for one host.
    try:
        sys.stdout.write(inventory_file().read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        print(f"{error.filename}: the lab is not up; run: gpufleet lab up", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
