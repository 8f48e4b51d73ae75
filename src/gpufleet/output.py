# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A verification's result in the format that was asked for, on standard output or in a file."""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
import tempfile
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from rich.console import Console

from .classic import classic_text
from .errors import FleetError
from .prometheus import prometheus_text
from .results import HostRecord, Result
from .tables import print_tables

TABLE = "table"
JSON = "json"
CLASSIC = "classic"
PROMETHEUS = "prometheus"
FORMATS = (TABLE, JSON, CLASSIC, PROMETHEUS)

_FILE_COLUMNS = 160
_MODE = 0o644


@dataclass(frozen=True)
class Verification:
    """A result and when it was measured, in seconds since the epoch; None where not known."""

    result: Result
    at: float | None = None


def read_verification(path: Path) -> Verification:
    """Return the verification in a file: a result, a host's record, or what p2p_verify returned.

    A record says when it was finished; any other file is taken to be as old as its last change.

    Raises:
        FleetError: ``result_unreadable``, or the record has no verification
            (``verification_missing``).
        MalformedResult: the file does not have the schema's shape.
    """
    try:
        changed = path.stat().st_mtime
        loaded = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise _unreadable(path, error.strerror or str(error)) from error
    except (ValueError, RecursionError) as error:
        raise _unreadable(path, str(error)) from error
    keys = loaded.keys() if isinstance(loaded, dict) else ()
    if "outcome" not in keys:
        inner = loaded["p2p"] if "p2p" in keys else loaded
        return Verification(Result.from_dict(inner), changed)
    record = HostRecord.from_dict(loaded)
    if record.verify is None:
        raise FleetError(
            "verification_missing",
            read=f"{path}: host {record.host}, outcome {record.outcome}",
            want="a record of a host that was verified",
            remedy="see its gates and failure in the report, then run gpufleet verify",
        )
    return Verification(record.verify, _seconds(record.finished) or changed)


def formatted(verification: Verification, name: str) -> str:
    """Return the text of a verification in one of FORMATS, ending in a line feed."""
    if name == JSON:
        return json.dumps(verification.result.to_dict(), indent=2, sort_keys=True) + "\n"
    if name == CLASSIC:
        return classic_text(verification.result)
    if name == PROMETHEUS:
        return prometheus_text(verification.result, verification.at)
    screen = io.StringIO()
    print_tables(Console(file=screen, width=_FILE_COLUMNS), verification.result)
    return "\n".join(line.rstrip() for line in screen.getvalue().splitlines()) + "\n"


def tell(verification: Verification, name: str, output: Path | None) -> None:
    """Write a verification to a file, or to standard output, there in colour on a terminal.

    Raises:
        FleetError: ``output_unwritable``.
    """
    if output is not None:
        write_atomically(output, formatted(verification, name))
    elif name == TABLE and sys.stdout.isatty():
        print_tables(Console(), verification.result)
    else:
        sys.stdout.write(formatted(verification, name))


def write_atomically(path: Path, text: str) -> None:
    """Put text into a file of mode 0644, so that a reader sees the old or the new, never a part.

    What is no regular file (a pipe, /dev/stderr) is written to as it is; a link's target is
    replaced, not the link.

    Raises:
        FleetError: ``output_unwritable``.
    """
    target = Path(os.path.realpath(path))
    data = text.encode("utf-8", "replace")
    try:
        if target.exists() and not target.is_file():
            target.write_bytes(data)
        else:
            _replace(target, data)
    except OSError as error:
        raise _unwritable(path, error.strerror or str(error)) from error


def refuse_unwritable(path: Path) -> None:
    """Refuse what write_atomically could not write to, before the work that is to be told there.

    Raises:
        FleetError: ``output_unwritable``.
    """
    target = Path(os.path.realpath(path))
    folder = target.parent
    if target.is_dir():
        raise _unwritable(path, "is a folder")
    if not folder.is_dir():
        raise _unwritable(path, f"no folder {folder}")
    written = target if target.exists() and not target.is_file() else folder
    if not os.access(written, os.W_OK):
        raise _unwritable(path, f"{written} is not writable")


def _replace(target: Path, data: bytes) -> None:
    # node_exporter reads *.prom: a name that begins with a dot and ends otherwise is not seen.
    descriptor, scratch = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            os.fchmod(file.fileno(), _MODE)
            file.flush()
            os.fsync(file.fileno())
        Path(scratch).replace(target)
    except BaseException:
        with contextlib.suppress(OSError):
            Path(scratch).unlink()
        raise


def _seconds(moment: str | None) -> float | None:
    try:
        return datetime.fromisoformat(moment).timestamp() if moment else None
    except (ValueError, OverflowError):
        return None


def _unwritable(path: Path, said: str) -> FleetError:
    return FleetError(
        "output_unwritable",
        read=f"{path}: {said}",
        want="a file in an existing folder that this user may write to",
        remedy="choose another path for --output, or run as the owner of that folder",
    )


def _unreadable(path: Path, said: str) -> FleetError:
    return FleetError(
        "result_unreadable",
        read=f"{path}: {said}",
        want="a JSON file with a result of p2p_verify or a host's record",
        remedy="name a file of gpufleet-report/hosts, or one written by verify --format json",
    )
