# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The record of one build: which modules it made, by build-id and checksum.

It lies in DKMS's own directory of the build, so that it travels inside DKMS's archives and goes
away with ``dkms remove``; a build without it, or not equal to it, is an interrupted one.
"""

from __future__ import annotations

import json
import tarfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path, PurePosixPath

from .._host.errors import GpufleetError
from .._host.files import read_bytes, sha256_of
from .._host.foreign_text import parse_json
from .dkms import DkmsPackage
from .elf import (
    MODULE_SUFFIXES,
    build_id_of,
    modinfo_of,
    module_bytes,
    sections,
)
from .identity import signer_of

FILE_NAME = "gpufleet.json"
_SCHEMA = 1


class BuildRefused(GpufleetError):
    """A build, or an archive of one, is not what it should be."""


@dataclass(frozen=True)
class ModuleRecord:
    """One built module: its file in DKMS's directory, its GNU build-id, its SHA-256, its signer."""

    name: str
    file: str
    build_id: str
    sha256: str
    signer: str | None


@dataclass(frozen=True)
class Manifest:
    """One build.

    source_key is the content key of the patched tree; kernel_compiler what the kernel was built
    with, by its headers (empty: they do not say); compiler what the modules were (.comment).
    """

    name: str
    version: str
    kernel: str
    arch: str
    source_key: str
    kernel_compiler: str
    compiler: str
    modules: tuple[ModuleRecord, ...]

    def as_dict(self) -> dict[str, object]:
        """Return the manifest as plain data, with its schema version."""
        return {"schema": _SCHEMA, **asdict(self), "modules": [asdict(m) for m in self.modules]}

    def same_build_as(self, other: Manifest | None) -> bool:
        """Whether both are one build, whoever signed the modules: by build-ids."""

        def unsigned(manifest: Manifest) -> Manifest:
            modules = (replace(m, sha256="", signer=None) for m in manifest.modules)
            return replace(manifest, modules=tuple(modules))

        return other is not None and unsigned(self) == unsigned(other)

    def as_json(self) -> bytes:
        """Return the manifest as it stands in its file."""
        return (json.dumps(self.as_dict(), indent=2, sort_keys=True) + "\n").encode()


def parse(data: bytes, origin: str) -> Manifest:
    """Return the manifest in ``data``.

    Raises:
        BuildRefused: not a manifest of this schema.
    """
    try:
        fields = parse_json(data)
        if fields.pop("schema") != _SCHEMA:
            raise ValueError("unknown schema")
        modules = tuple(ModuleRecord(**module) for module in fields.pop("modules"))
        return Manifest(**fields, modules=modules)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BuildRefused(
            "manifest_unreadable",
            read=f"{origin}: {error!r}",
            want=f"a build manifest of schema {_SCHEMA}",
            remedy="build and export the driver again with this release of gpufleet",
        ) from error


def observe(
    package: DkmsPackage,
    kernel: str,
    names: Sequence[str],
    *,
    source_key: str,
    kernel_compiler: str,
) -> Manifest:
    """Return the manifest of the modules that lie in the build directory of ``kernel``.

    Raises:
        BuildRefused: a module is missing, has no build-id, or was compiled for another kernel.
        ModuleUnreadable: a module file is damaged.
    """
    records, compiler = [], ""
    for name in names:
        path = module_file(package.build_directory(kernel) / "module", name)
        if path is None:
            raise _unfit(f"{name}: not built", f"{', '.join(names)} for kernel {kernel}")
        image = module_bytes(path)
        build_id = build_id_of(image, str(path))
        if build_id is None:
            raise _unfit(f"{path}: no GNU build-id", "modules linked with --build-id")
        magic = modinfo_of(image, str(path)).get("vermagic", "")
        if magic.partition(" ")[0] != kernel:
            raise _unfit(f"{path}: compiled for {magic or 'no kernel'}", f"vermagic {kernel}")
        compiler = compiler or _compiler(image, str(path))
        records.append(ModuleRecord(name, path.name, build_id, sha256_of(path), signer_of(path)))
    return Manifest(
        package.name,
        package.version,
        kernel,
        package.arch,
        source_key,
        kernel_compiler,
        compiler,
        tuple(records),
    )


def recorded(package: DkmsPackage, kernel: str) -> Manifest | None:
    """Return the manifest of a whole build for ``kernel``, None where there is no such build.

    Every module file is compared with its checksum, so an interrupted build or import, or a damaged
    file, counts as no build.
    """
    directory = package.build_directory(kernel)
    data = read_bytes(directory / FILE_NAME)
    if data is None:
        return None
    try:
        manifest = parse(data, str(directory / FILE_NAME))
    except BuildRefused:
        return None
    whole = all(_is_whole(directory / "module" / m.file, m.sha256) for m in manifest.modules)
    return manifest if whole else None


def in_archive(archive: Path, kernel: str, arch: str) -> Manifest:
    """Return the manifest that an exported archive holds for ``kernel`` and ``arch``.

    Raises:
        BuildRefused: not an archive of ours, or made for other kernels.
    """
    wanted = PurePosixPath("dkms_main_tree") / kernel / arch / FILE_NAME
    others = set()
    try:
        with tarfile.open(archive) as members:
            for member in members:
                path = PurePosixPath(member.name)
                if path == wanted:
                    stream = members.extractfile(member)
                    return parse(stream.read() if stream else b"", f"{archive}:{path}")
                if path.name == FILE_NAME:
                    others.add("/".join(path.parts[-3:-1]))
    except (OSError, tarfile.TarError, EOFError) as error:
        raise _archive(archive, str(error), "a whole archive made by state=exported") from error
    held = ", ".join(sorted(others)) or "no build of ours"
    raise _archive(archive, held, f"a build for {kernel}/{arch}")


def module_file(directory: Path, name: str) -> Path | None:
    """Return the module file called ``name`` in ``directory``, compressed or not, or None."""
    for suffix in MODULE_SUFFIXES:
        path = directory / f"{name}{suffix}"
        if path.is_file():
            return path
    return None


def _is_whole(path: Path, sha256: str) -> bool:
    try:
        return sha256_of(path) == sha256
    except OSError:
        return False


def _compiler(image: bytes, origin: str) -> str:
    for section in sections(image, origin):
        if section.name == ".comment":
            texts = {text.decode("ascii", "replace") for text in section.data.split(b"\0") if text}
            return "; ".join(sorted(texts))
    return ""


def _unfit(read: str, want: str) -> BuildRefused:
    return BuildRefused(
        "build_incomplete",
        read=read,
        want=want,
        remedy="read the build's make.log; the build is discarded and will be made anew",
    )


def _archive(archive: Path, read: str, want: str) -> BuildRefused:
    return BuildRefused(
        "archive_unfit",
        read=f"{archive}: {read}",
        want=want,
        remedy="export the build for this kernel again and copy it to the host",
    )
