# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The values of /etc/default/grub and its drop-ins, file by file.

These are shell files: distributions and clouds write ``${VAR:-}``, command substitutions and
conditions into them, so only a shell knows what they come to. They are sourced by the ``sh`` that
grub-mkconfig itself would use, in its order, by a constant script: file names travel as positional
parameters, values come back between NUL bytes, and nothing is ever pasted into shell text.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .._host.commands import run
from . import grub_script
from .cmdline import Parameter
from .interface import BootConfigurationRefused

MAIN = Path("etc/default/grub")
DIRECTORY = Path("etc/default/grub.d")

# exec 3 keeps the answers apart from what a sourced file may print.
_SCRIPT = r"""
exec 3>&1 1>/dev/null
for gpufleet_file in "$@"; do
  . "$gpufleet_file"
  printf '%s\000%s\000%s\000' "$gpufleet_file" "$GRUB_CMDLINE_LINUX" \
    "$GRUB_CMDLINE_LINUX_DEFAULT" >&3
done
"""
_FIELDS = 3
# grub-mkconfig has this set when it sources them; our line on hosts with grubby asks for it.
_GENERATOR = {"grub_mkconfig_dir": "/etc/grub.d"}
_DEFAULT_SCRIPT = r"""
exec 3>&1 1>/dev/null
for gpufleet_file in "$@"; do . "$gpufleet_file"; done
printf '%s' "$GRUB_DEFAULT" >&3
"""


@dataclass(frozen=True)
class Values:
    """What the two variables hold after ``path`` was sourced, as GRUB script text."""

    path: Path
    linux: str = ""
    default: str = ""


def files(root: Path, *, without: Path | None = None) -> list[Path]:
    """Return the files that grub-mkconfig sources, in its order (byte order, as dash globs)."""
    main = [root / MAIN] if (root / MAIN).is_file() else []
    drop_ins = sorted(
        (path for path in (root / DIRECTORY).glob("*.cfg") if not path.name.startswith(".")),
        key=lambda path: path.name.encode(),
    )
    return [path for path in main + drop_ins if path != without and path.exists()]


def appending(variable: str, parameters: Sequence[Parameter]) -> str:
    """Return the assignment that appends ``parameters`` to what ``variable`` holds already.

    Two readers take a layer of quotes each: the shell takes the double quotes, GRUB the single
    ones around words that hold, say, a semicolon.
    """
    words = grub_script.quoted(parameter.text for parameter in parameters)
    escaped = "".join(f"\\{c}" if c in '\\"$`' else c for c in words)
    return f'{variable}="${{{variable}:+${variable} }}{escaped}"'


def evaluate(paths: Sequence[Path]) -> list[Values]:
    """Source the files one after the other and return the values after each.

    Raises:
        BootConfigurationRefused: a file ends the shell, so grub-mkconfig would fail on it too.
    """
    # grub-mkconfig runs under set -e.
    words = ["/bin/sh", "-e", "-c", _SCRIPT, "sh", *map(str, paths)]
    result = run(words, check=False, env=_GENERATOR)
    fields = result.stdout.split("\0")[:-1]
    values = [
        Values(Path(fields[i]), fields[i + 1], fields[i + 2])
        for i in range(0, len(fields) - _FIELDS + 1, _FIELDS)
    ]
    if result.rc != 0 or len(values) != len(paths):
        culprit = paths[len(values)] if len(values) < len(paths) else paths[-1]
        raise BootConfigurationRefused(
            "grub_defaults_unreadable",
            read=f"{culprit} ends the shell that reads it: {result.stderr.strip()}",
            want="files that can be sourced, as grub-mkconfig does",
            remedy=f"mend {culprit}; check with: sh -e {culprit}",
        )
    return values


def default_entry(paths: Sequence[Path]) -> str:
    """Return what GRUB_DEFAULT holds after the files were sourced; empty where none sets it.

    Raises:
        BootConfigurationRefused: a file ends the shell, so grub-mkconfig would fail on it too.
    """
    words = ["/bin/sh", "-e", "-c", _DEFAULT_SCRIPT, "sh", *map(str, paths)]
    result = run(words, check=False, env=_GENERATOR)
    if result.rc != 0:
        evaluate(paths)
    return result.stdout.strip()
