# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the tests of packaging need: commands that show why they failed, run far away from here."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path


def execute(argv: list[str], *, cwd: Path, env: dict[str, str] | None = None) -> str:
    """Return the standard output of a command; a failure shows all that it wrote.

    Raises:
        AssertionError: the command's exit status is not 0.
    """
    done = subprocess.run(argv, cwd=cwd, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(argv)}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@dataclass(frozen=True)
class Installation:
    """A directory of programs, and a working directory and home that hold nothing of ours."""

    programs: Path
    elsewhere: Path
    collections_path: Path | None = None

    def run(self, *argv: str) -> str:
        """Return the standard output of a program of this installation, run elsewhere."""
        kept = {
            name: os.environ[name] for name in ("LANG", "LC_ALL", "TMPDIR") if name in os.environ
        }
        env = {
            **kept,
            "PATH": f"{self.programs}:/usr/bin:/bin",
            "HOME": str(self.elsewhere),
            "ANSIBLE_NOCOLOR": "1",
        }
        if self.collections_path:
            env["ANSIBLE_COLLECTIONS_PATH"] = str(self.collections_path)
        return execute([str(self.programs / argv[0]), *argv[1:]], cwd=self.elsewhere, env=env)

    @property
    def collection_root(self) -> Path:
        """The one directory in which the collection is installed.

        Raises:
            ValueError: it is installed in none, or in more than one.
        """
        part = "ansible_collections/gpufleet/p2p"
        if self.collections_path:
            return self.collections_path / part
        (root,) = self.programs.parent.glob(f"lib/*/site-packages/{part}")
        return root
