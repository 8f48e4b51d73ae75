# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Git repositories on this machine that stand for the forks: a driver tree in a branch."""

from __future__ import annotations

import subprocess
from pathlib import Path

_CALL = "pci_resize_resource(dev, 1, size{exclude});"


class Remote:
    """A repository with a small driver source tree.

    Args:
        path: where it is made.
        version: what its version.mk states.
        branch: the branch that holds it.
        adapted: whether it calls pci_resize_resource() with the newer kernels' arguments.
    """

    def __init__(self, path: Path, *, version: str, branch: str, adapted: bool = True) -> None:
        self.path = path
        path.mkdir(parents=True)
        self.git("init", "--quiet", "--initial-branch", branch)
        call = _CALL.format(exclude=", 0" if adapted else "")
        files = {
            "version.mk": f"NVIDIA_VERSION = {version}\n",
            "kernel-open/nvidia/nv.c": "int nv;\n",
            "kernel-open/nvidia/nv-pci.c": f"int r(void)\n{{\n    return {call}\n}}\n",
            "src/nvidia/Makefile": "all:\n",
        }
        for name, content in files.items():
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            (path / name).write_text(content)
        self._commit()

    @property
    def url(self) -> str:
        """The address that git fetches from."""
        return self.path.as_uri()

    def git(self, *words: str) -> str:
        """Run git inside; return what it printed."""
        identity = ("-c", "user.name=fork", "-c", "user.email=fork@example.org")
        command = ["git", *identity, *words]
        return subprocess.run(
            command, cwd=self.path, check=True, capture_output=True, text=True
        ).stdout.strip()

    def head(self) -> str:
        """Return the commit at the head of the branch."""
        return self.git("rev-parse", "HEAD")

    def write(self, name: str, content: str) -> str:
        """Change a file; return the new head."""
        (self.path / name).write_text(content)
        return self._commit()

    def _commit(self) -> str:
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", "change")
        return self.head()
