# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a kernel module file says of itself: its GNU build-id and its modinfo strings.

Read in pure Python because a target has no binutils, and because the build-id is the only
identity that covers NVIDIA's RM object and survives strip and signing (srcversion does not cover
it, size measures stripping). Layouts: System V ABI, "Object Files" and "Note Section"; the
build-id note is type 3 (NT_GNU_BUILD_ID) of owner "GNU".
"""

from __future__ import annotations

import gzip
import lzma
import struct
import tempfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from .._host.commands import run
from .._host.errors import GpufleetError

MODULE_SUFFIXES = (".ko", ".ko.xz", ".ko.gz", ".ko.zst")

_SHT_NOTE = 7
_NT_GNU_BUILD_ID = 3
_ZSTD_SECONDS = 60.0


class ModuleUnreadable(GpufleetError):
    """A kernel module file is not a whole ELF object."""


@dataclass(frozen=True)
class Section:
    """One ELF section: its name, its type (SHT_*) and its bytes."""

    name: str
    kind: int
    data: bytes


def module_bytes(path: Path) -> bytes:
    """Return the ELF image in a module file, decompressed by its suffix.

    Raises:
        OSError: the file cannot be read.
        ModuleUnreadable: the compressed data is damaged.
        CommandMissing, CommandFailed: a .zst file, and no zstd or a damaged file.
    """
    if path.name.endswith(".zst"):
        return _zstd(path)
    data = path.read_bytes()
    try:
        if path.name.endswith(".xz"):
            return lzma.decompress(data)
        if path.name.endswith(".gz"):
            return gzip.decompress(data)
    except (lzma.LZMAError, zlib.error, EOFError, gzip.BadGzipFile) as error:
        raise _unreadable(str(path), f"compressed data is damaged: {error}") from error
    return data


def sections(image: bytes, origin: str) -> tuple[Section, ...]:
    """Return the sections of an ELF image (32 or 64 bit, either byte order).

    Args:
        image: the whole file.
        origin: what to call it in an error.

    Raises:
        ModuleUnreadable: not ELF, or cut short: every section must lie inside the image.
    """
    if image[:4] != b"\x7fELF" or len(image) < 52:
        raise _unreadable(origin, "no ELF header")
    wide = image[4] == 2
    order = "<" if image[5] == 1 else ">"
    try:
        if wide:
            (table,) = struct.unpack_from(order + "Q", image, 0x28)
            size, count, names = struct.unpack_from(order + "HHH", image, 0x3A)
        else:
            (table,) = struct.unpack_from(order + "I", image, 0x20)
            size, count, names = struct.unpack_from(order + "HHH", image, 0x2E)
        layout = order + ("IIQQQQ" if wide else "IIIIII")
        headers = [struct.unpack_from(layout, image, table + n * size) for n in range(count)]
    except (struct.error, OverflowError) as error:
        raise _unreadable(origin, "section table outside the file") from error
    if table + count * (64 if wide else 40) > len(image):
        raise _unreadable(origin, "section table cut short")
    bodies = [_body(image, header, origin) for header in headers]
    labels = bodies[names] if names < len(bodies) else b""
    return tuple(
        Section(_label(labels, header[0]), header[1], body) for header, body in zip(headers, bodies)
    )


def build_id_in_notes(notes: bytes, *, little_endian: bool = True) -> str | None:
    """Return the GNU build-id (lower-case hexadecimal) held by ELF notes, or None.

    ``notes`` is a note section's content, or /sys/module/NAME/notes/.note.gnu.build-id.
    """
    order = "<" if little_endian else ">"
    offset = 0
    while offset + 12 <= len(notes):
        name_size, description_size, kind = struct.unpack_from(order + "III", notes, offset)
        name_at = offset + 12
        description_at = name_at + _padded(name_size)
        end = description_at + description_size
        if end > len(notes):
            return None
        owner = notes[name_at : name_at + name_size]
        if kind == _NT_GNU_BUILD_ID and owner == b"GNU\0" and description_size:
            return notes[description_at:end].hex()
        offset = description_at + _padded(description_size)
    return None


def build_id_of(image: bytes, origin: str) -> str | None:
    """Return the build-id of an ELF image, None where it was linked without one.

    Raises:
        ModuleUnreadable: as sections().
    """
    for section in sections(image, origin):
        if section.kind == _SHT_NOTE:
            found = build_id_in_notes(section.data, little_endian=image[5] == 1)
            if found is not None:
                return found
    return None


def modinfo_of(image: bytes, origin: str) -> dict[str, str]:
    """Return the module's modinfo strings (version, vermagic, srcversion, name…); last one wins.

    Raises:
        ModuleUnreadable: as sections().
    """
    return dict(_modinfo_entries(image, origin))


def parameters_of(image: bytes, origin: str) -> dict[str, str]:
    """Return the module's parameters, name to type as modinfo tells it (int, uint, charp, bool…).

    Raises:
        ModuleUnreadable: as sections().
    """
    found: dict[str, str] = {}
    for key, value in _modinfo_entries(image, origin):
        if key == "parmtype":
            name, _colon, kind = value.partition(":")
            found[name] = kind
    return found


def _modinfo_entries(image: bytes, origin: str) -> Iterator[tuple[str, str]]:
    for section in sections(image, origin):
        if section.name == ".modinfo":
            for entry in section.data.split(b"\0"):
                key, separator, value = entry.decode("utf-8", "backslashreplace").partition("=")
                if separator:
                    yield key, value


def _zstd(path: Path) -> bytes:
    # The standard library reads zstd from Python 3.14 only; hosts whose modules are .ko.zst carry
    # the tool. Its output is binary, so it goes through a file rather than through decoded text.
    with tempfile.TemporaryDirectory(prefix="gpufleet-") as directory:
        plain = Path(directory) / "module.ko"
        run(["zstd", "-dqf", str(path), "-o", str(plain)], timeout=_ZSTD_SECONDS)
        return plain.read_bytes()


def _body(image: bytes, header: tuple[int, ...], origin: str) -> bytes:
    kind, offset, size = header[1], header[4], header[5]
    # SHT_NULL and SHT_NOBITS occupy no bytes of the file whatever their size says.
    if kind in (0, 8):
        return b""
    if offset + size > len(image):
        raise _unreadable(origin, f"{len(image)} bytes, a section ends at {offset + size}")
    return image[offset : offset + size]


def _label(labels: bytes, offset: int) -> str:
    end = labels.find(b"\0", offset)
    return labels[offset : end if end >= 0 else None].decode("utf-8", "backslashreplace")


def _padded(size: int) -> int:
    return (size + 3) & ~3


def _unreadable(origin: str, found: str) -> ModuleUnreadable:
    return ModuleUnreadable(
        "module_unreadable",
        read=f"{origin}: {found}",
        want="a whole kernel module (ELF object)",
        remedy="install the driver build again; the file was cut short or damaged",
    )
