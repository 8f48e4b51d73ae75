# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every supported line of ansible-core, each in an environment of its own.

The lines and their exact versions stand in ansible_core/*.txt. An environment is made by venv and
pip from the configured index when it is first asked for, and kept in .cache/ansible-core under a
name that follows from the versions and the interpreter; no root is needed. The line that runs the
tests is not installed a second time. A line that no Python of this machine runs is skipped and
says why; what cannot be installed is a failure.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PINS = Path(__file__).parent / "ansible_core"
CACHE = ROOT / ".cache/ansible-core"
INSTALL_SECONDS = 900

_PYTHONS = re.compile(r"(?m)^# Controller Python: (.+)$")
_PIN = re.compile(r"(?m)^ansible-core==(\S+)$")
_TELL = "import sys, venv; print('%d.%d' % sys.version_info[:2])"


class EnvironmentUnavailable(Exception):
    """An environment could not be made; the message says what to do."""


@dataclass(frozen=True)
class AnsibleLine:
    """A line of ansible-core such as ``2.20``: its exact version, and Pythons it runs on."""

    name: str
    version: str
    pythons: tuple[str, ...]
    pins: Path

    def playbook_program(self) -> Path:
        """Return the line's ansible-playbook; makes the environment where there is none.

        Raises:
            EnvironmentUnavailable: no package index.
        Skipped: no interpreter that the line runs on; told in the summary.
        """
        if version("ansible-core").rpartition(".")[0] == self.name:
            return Path(sys.executable).parent / "ansible-playbook"
        return _environment(self) / "bin/ansible-playbook"


def lines() -> list[AnsibleLine]:
    """Return the supported lines, oldest first."""
    found = [_line(path) for path in PINS.glob("*.txt")]
    return sorted(found, key=lambda line: [int(part) for part in line.name.split(".")])


def _line(path: Path) -> AnsibleLine:
    text = path.read_text()
    pythons, pin = _PYTHONS.search(text), _PIN.search(text)
    assert pythons is not None
    assert pin is not None
    return AnsibleLine(path.stem, pin.group(1), tuple(pythons.group(1).split()), path)


def _environment(line: AnsibleLine) -> Path:
    python = _interpreter(line)
    content = line.pins.read_bytes() + python.version.encode()
    key = hashlib.sha256(content).hexdigest()[:12]
    home = CACHE / f"{line.name}-{key}"
    CACHE.mkdir(parents=True, exist_ok=True)
    # Several test processes may want it at once.
    with (CACHE / f"{line.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (home / "complete").exists():
            for former in CACHE.glob(f"{line.name}-*"):
                shutil.rmtree(former)
            _make(home, python.path, line)
            (home / "complete").touch()
    return home


def _make(home: Path, python: Path, line: AnsibleLine) -> None:
    # With the interpreter's own pip: another's may be too old for it.
    subprocess.run([python, "-m", "venv", home], check=True)
    # Modules are compiled when they are first imported, most of them never.
    ended = subprocess.run(
        [home / "bin/python", "-m", "pip", "install", "--quiet", "--no-deps", "--no-compile",
         "--disable-pip-version-check", "--only-binary=:all:", "--requirement", line.pins],
        capture_output=True,
        text=True,
        timeout=INSTALL_SECONDS,
        check=False,
    )  # fmt: skip
    if ended.returncode != 0:
        shutil.rmtree(home)
        raise EnvironmentUnavailable(
            f"ansible-core {line.version} could not be installed into {home}. Its tests need the"
            f" package index that pip is configured for, once. pip said:\n{ended.stderr[-2000:]}"
        )


@dataclass(frozen=True)
class _Interpreter:
    path: Path
    version: str


def _interpreter(line: AnsibleLine) -> _Interpreter:
    for found in _interpreters():
        if found.version in line.pythons:
            return found
    pytest.skip(
        f"ansible-core {line.version} runs on Python {', '.join(line.pythons)}, and none of them is"
        " on PATH or in pyenv's versions with its module venv"
    )


@cache
def _interpreters() -> tuple[_Interpreter, ...]:
    """Return the Pythons of this machine that can make an environment, this one first."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    on_path = [shutil.which(f"python3.{minor}") for minor in range(11, 20)]
    candidates = [
        Path(sys.executable),
        *(Path(name) for name in on_path if name),
        *sorted(pyenv.glob("3.*/bin/python3")),
    ]
    found = []
    for path in candidates:
        # pyenv's shims lie on PATH for versions that are not chosen, and end with an error.
        told = subprocess.run([path, "-c", _TELL], capture_output=True, text=True, check=False)
        if told.returncode == 0:
            found.append(_Interpreter(path, told.stdout.strip()))
    return tuple(found)
