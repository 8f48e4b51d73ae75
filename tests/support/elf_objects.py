# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Small whole ELF objects for tests: kernel modules with a build-id note, GPU kernels by name."""

from __future__ import annotations

import struct
from collections.abc import Sequence

_SYMBOL_TABLE = 2
_STRING_TABLE = 3
_GLOBAL_FUNCTION = 0x12
_MACHINE_CUDA = 190


def build_id_note(build_id: bytes, *, order: str = "<") -> bytes:
    """Return the content of a .note.gnu.build-id section."""
    padding = b"\0" * (-len(build_id) % 4)
    return struct.pack(order + "III", 4, len(build_id), 3) + b"GNU\0" + build_id + padding


def module_image(
    build_id: bytes | None,
    modinfo: dict[str, str] | None = None,
    *,
    parameters: dict[str, str] | None = None,
    wide: bool = True,
    order: str = "<",
) -> bytes:
    """Return an ELF relocatable object such as insmod takes, with the sections given.

    ``parameters`` has the type of each parameter that modinfo tells.
    """
    entries = [f"{key}={value}" for key, value in (modinfo or {}).items()]
    entries += [f"parmtype={name}:{kind}" for name, kind in (parameters or {}).items()]
    text = b"\0".join(entry.encode() for entry in entries) + b"\0"
    bodies = [(".modinfo", 1, text)]
    if build_id is not None:
        bodies.insert(0, (".note.gnu.build-id", 7, build_id_note(build_id, order=order)))
    names = b"\0" + b"".join(name.encode() + b"\0" for name, _, _ in bodies) + b".shstrtab\0"
    bodies.append((".shstrtab", 3, names))

    header_size, entry = (64, "IIQQQQIIQQ") if wide else (52, "IIIIIIIIII")
    data, headers = b"", [struct.pack(order + entry, *[0] * 10)]
    for name, kind, body in bodies:
        offset = header_size + len(data)
        label = names.index(name.encode() + b"\0")
        headers.append(struct.pack(order + entry, label, kind, 0, 0, offset, len(body), 0, 0, 4, 0))
        data += body + b"\0" * (-len(body) % 8)
    ident = b"\x7fELF" + bytes([2 if wide else 1, 1 if order == "<" else 2, 1]) + b"\0" * 9
    table = header_size + len(data)
    if wide:
        fields = (1, 62, 1, 0, 0, table, 0, 64, 0, 0, 64, len(headers), len(headers) - 1)
        header = struct.pack(order + "HHIQQQIHHHHHH", *fields)
    else:
        fields = (1, 3, 1, 0, 0, table, 0, 52, 0, 0, 40, len(headers), len(headers) - 1)
        header = struct.pack(order + "HHIIIIIHHHHHH", *fields)
    return ident + header + data + b"".join(headers)


def cubin_image(kernels: Sequence[str]) -> bytes:
    """Return a compiled GPU image that has nothing but the names of its kernels.

    A 64-bit ELF file for machine 190 (CUDA) whose global function symbols are the kernels.
    """
    names = b"\0" + b"".join(kernel.encode() + b"\0" for kernel in kernels)
    symbols = struct.pack("<IBBHQQ", 0, 0, 0, 0, 0, 0)
    for kernel in kernels:
        place = names.index(b"\0" + kernel.encode() + b"\0") + 1
        symbols += struct.pack("<IBBHQQ", place, _GLOBAL_FUNCTION, 0, 0, 0, 0)
    symbols_at = 64
    names_at = symbols_at + len(symbols)
    table = names_at + len(names) + -(names_at + len(names)) % 8
    sections = (
        (0,) * 10,
        (0, _SYMBOL_TABLE, 0, 0, symbols_at, len(symbols), 2, 1, 8, 24),
        (0, _STRING_TABLE, 0, 0, names_at, len(names), 0, 0, 1, 0),
    )
    header = struct.pack(
        "<16sHHIQQQIHHHHHH",
        b"\x7fELF\x02\x01\x01",
        *(2, _MACHINE_CUDA, 1, 0, 0, table, 0, 64, 0, 0, 64, len(sections), 0),
    )
    body = header + symbols + names
    return body.ljust(table, b"\0") + b"".join(
        struct.pack("<IIQQQQIIQQ", *section) for section in sections
    )
