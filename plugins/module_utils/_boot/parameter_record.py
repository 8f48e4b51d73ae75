# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The record of what gpufleet put into a file that has no room for a mark of its own.

A drop-in says by its being there what is ours. /etc/kernel/cmdline is one line of words, so what is
ours in it, and what it was before, is kept beside.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .._host.files import read_bytes
from .._host.foreign_text import parse_json
from .cmdline import Parameter, parse
from .interface import STATE_DIRECTORY, BootConfigurationRefused, StateFile
from .option_text import words_of

RECORD = STATE_DIRECTORY / "parameters.json"
_SCHEMA = 1
Run = tuple[Parameter, ...]


@dataclass(frozen=True)
class Configured:
    """What is ours in the loader's files.

    Args:
        parameters: what was asked for last. Without any, the file is only kept as it was for the
            time of a trial.
        former: what was ours before; files that a killed run did not come to still have one of
            these.
        original: the file as it was before the first of ours, None where it was not there.
    """

    parameters: Run
    former: tuple[Run, ...]
    original: bytes | None

    @property
    def runs(self) -> tuple[Run, ...]:
        """What a file may have of ours: one of these, or nothing."""
        return (self.parameters, *self.former)

    def replaced_by(self, parameters: Sequence[Parameter]) -> Configured:
        """Return the record for the time in which these take the place of what was ours."""
        wanted = tuple(parameters)
        return Configured(wanted, tuple(r for r in self.runs if r and r != wanted), self.original)

    @property
    def settled(self) -> Configured:
        """Return the record for the time in which every file has the parameters."""
        return Configured(self.parameters, (), self.original)


def read_configured(root: Path) -> Configured | None:
    """Return the record, or None where there is none.

    Raises:
        BootConfigurationRefused: there is one that cannot be understood.
    """
    data = read_bytes(root / RECORD)
    if data is None:
        return None
    try:
        fields = parse_json(data)
        if fields["schema"] != _SCHEMA:
            raise ValueError(f"schema {fields['schema']}")
        original = fields["original"]
        return Configured(
            _run(fields["parameters"]),
            tuple(_run(texts) for texts in fields["former"]),
            None if original is None else str(original).encode("utf-8", "surrogateescape"),
        )
    except (ValueError, KeyError, TypeError) as error:
        # It is written whole or not at all; guessing which words are ours would take others' away.
        raise BootConfigurationRefused(
            "parameter_record_unreadable",
            read=f"/{RECORD}: {error}",
            want=f"the record of gpufleet's kernel parameters, schema {_SCHEMA}",
            remedy="remove gpufleet's kernel parameters from the boot loader's files by hand, then"
            " that file",
        ) from error


def _run(texts: list[Any]) -> Run:
    lines = [parse(str(text)).parameters for text in texts]
    if any(len(parameters) != 1 for parameters in lines):
        raise ValueError(f"{texts!r} has items that are not one parameter")
    return tuple(parameters[0] for parameters in lines)


def record_step(root: Path, name: str, wanted: Configured | None) -> StateFile:
    """Return the step that writes the record, or removes it where ``wanted`` is None."""
    path = root / RECORD
    after = None
    if wanted is not None:
        original = wanted.original
        fields = {
            "schema": _SCHEMA,
            "parameters": words_of(wanted.parameters),
            "former": [words_of(run) for run in wanted.former],
            "original": None if original is None else original.decode("utf-8", "surrogateescape"),
        }
        after = (json.dumps(fields, indent=2) + "\n").encode()
    return StateFile(name, path, read_bytes(path), after, 0o600)
