# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The program that guards a host, packed from the collection's own module_utils into one file."""

from __future__ import annotations

import hashlib
import io
import zipfile
from pathlib import Path

from ansible_collections.gpufleet.p2p.plugins.plugin_utils.pynvml_carrier import controller_pynvml
from ansible_collections.gpufleet.p2p.plugins.plugin_utils.run_cache import made_once

PLUGINS = Path(__file__).resolve().parents[1]

#: The packages of module_utils that the program consists of.
PACKAGES = ("_boot", "_driver", "_gpu", "_guard", "_host", "_p2p")

# -I: neither the environment nor a user's site-packages can put code beside the program's own.
_INTERPRETER = b"#!/usr/bin/python3 -I\n"
_IMPORT_ROOT = "gpufleet_host"
_ENTRY = f"from {_IMPORT_ROOT}._guard.program import main\n\nraise SystemExit(main())\n"
_EPOCH = (1980, 1, 1, 0, 0, 0)


def guard_program(pynvml: Path, module_utils: Path = PLUGINS / "module_utils") -> bytes:
    """Return the program as a zip application with its first line.

    The same sources give the same bytes everywhere: sorted, without dates, and not compressed,
    because compressed data differs between releases of zlib.

    Args:
        pynvml: the controller's pynvml.py, which goes along as it does with the modules.
        module_utils: the collection's module_utils.
    """
    members = {"__main__.py": _ENTRY.encode(), "pynvml.py": pynvml.read_bytes()}
    members[f"{_IMPORT_ROOT}/__init__.py"] = b""
    for package in PACKAGES:
        members[f"{_IMPORT_ROOT}/{package}/__init__.py"] = b""
        for path in (module_utils / package).glob("*.py"):
            members[f"{_IMPORT_ROOT}/{package}/{path.name}"] = path.read_bytes()
    stream = io.BytesIO(_INTERPRETER)
    stream.seek(0, io.SEEK_END)
    with zipfile.ZipFile(stream, "a", zipfile.ZIP_STORED) as archive:
        for name in sorted(members):
            archive.writestr(zipfile.ZipInfo(name, _EPOCH), members[name])
    return stream.getvalue()


def own_guard_program() -> bytes:
    """Return the program with this controller's pynvml, packed once in a run.

    Raises:
        AnsibleActionFail: as controller_pynvml.
    """
    return made_once("guard", lambda: guard_program(Path(controller_pynvml())))


def guard_program_sha256() -> str:
    """Return the checksum of that program, in hexadecimal.

    Raises:
        AnsibleActionFail: as controller_pynvml.
    """

    def checksum() -> bytes:
        return hashlib.sha256(own_guard_program()).hexdigest().encode("ascii")

    return made_once("guard-sha256", checksum).decode("ascii")
