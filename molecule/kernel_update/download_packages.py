#!/usr/bin/env python3
# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Download what apt would install on a guest, judged by the guest's own list of packages.

apt works in a directory of its own, with this machine's sources of the guests' suite; it checks
signatures and checksums as ever, and the machine's own lists and packages stay as they are.
"""

from __future__ import annotations

import argparse
import subprocess
from pathlib import Path

from gpufleet.lab.sources import machine_sources


def main() -> None:
    """Leave the packages in the directory's `archives`."""
    parser = argparse.ArgumentParser(description="Download what apt would install on a guest.")
    parser.add_argument("--status", type=Path, required=True, help="the guest's dpkg status")
    parser.add_argument("--directory", type=Path, required=True, help="where apt works")
    parser.add_argument("packages", nargs="+")
    arguments = parser.parse_args()

    directory = arguments.directory.absolute()
    for name in ("lists/partial", "archives/partial"):
        (directory / name).mkdir(parents=True, exist_ok=True)
    sources = directory / "guest.sources"
    sources.write_text(machine_sources(), encoding="utf-8")
    settings = {
        "Dir::State::lists": directory / "lists",
        "Dir::State::status": arguments.status.absolute(),
        "Dir::Cache": directory,
        "Dir::Cache::archives": directory / "archives",
        "Dir::Etc::sourcelist": sources,
        "Dir::Etc::sourceparts": "/dev/null",
        "APT::Install-Recommends": "false",
        # The sandbox's user could not write below a home directory.
        "APT::Sandbox::User": "root",
    }
    apt = ["apt-get"]
    for key, value in settings.items():
        apt += ["-o", f"{key}={value}"]
    subprocess.run([*apt, "update"], check=True)
    install = [*apt, "install", "--yes", "--download-only", *arguments.packages]
    subprocess.run(install, check=True)


if __name__ == "__main__":
    main()
