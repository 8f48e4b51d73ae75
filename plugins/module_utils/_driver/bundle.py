# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A driver source and its patches as one archive named by what is in it.

The controller packs a source once; every cache entry and every build is then keyed by the content,
so a changed file or patch is a new build and an unchanged one is never compiled again.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import re
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from .._host.errors import GpufleetError
from .._host.files import sha256_of, sync_directory

# Half the time of the default level for a driver tree, for a few percent more bytes.
_COMPRESSION = 6
_KEPT_OUT = frozenset({".git", ".github", ".gitignore", ".gitattributes"})
_VERSION_LINE = re.compile(rb"^\s*NVIDIA_VERSION\s*[:?]?=\s*(\S+)", re.MULTILINE)


class SourceRefused(GpufleetError):
    """The source is not the driver source that was asked for."""


@dataclass(frozen=True)
class Bundle:
    """A packed source.

    Attributes:
        archive: gzip-compressed tar; its members lie at the archive's top level.
        key: SHA-256 over the members (names, types, execute bits, content) and the patches.
        changed: whether the archive had to be written.
    """

    archive: Path
    key: str
    changed: bool


@dataclass(frozen=True)
class _Member:
    name: str
    kind: bytes
    executable: bool
    content: bytes


def bundle(source: Path, patches: Sequence[Path], *, version: str, cache: Path) -> Bundle:
    """Pack a source folder or tar archive into ``cache`` and return the bundle.

    The result is the same for the same content wherever and whenever it is made.

    Args:
        source: a driver source tree, or a tar archive of one (one leading folder is dropped).
        patches: patch files in the order of their application; only their content counts here, they
            are not applied.
        version: the version that the tree's ``version.mk`` has to state.
        cache: folder for the bundle; made when missing.

    Raises:
        SourceRefused: the source or a patch is missing, or the source has another version.
        OSError: the cache cannot be written.
    """
    members, planned = _plan(source, patches, version, cache)
    if planned.changed:
        cache.mkdir(parents=True, exist_ok=True, mode=0o755)
        _write(planned.archive, members)
    return planned


def plan(source: Path, patches: Sequence[Path], *, version: str, cache: Path) -> Bundle:
    """Return what bundle would return, without writing anything.

    Raises:
        SourceRefused: as bundle.
    """
    return _plan(source, patches, version, cache)[1]


def _plan(
    source: Path, patches: Sequence[Path], version: str, cache: Path
) -> tuple[list[_Member], Bundle]:
    for patch in patches:
        if not patch.is_file():
            raise SourceRefused(
                "patch_missing",
                read=f"{patch}: no such file",
                want="every patch file of the driver build on the controller",
                remedy="correct p2p_driver.patches",
            )
    members = sorted(_members(source), key=lambda member: member.name)
    _require_version(source, members, version)
    key = _key(members, patches)
    archive = cache / f"{key}.tar.gz"
    return members, Bundle(archive, key, changed=not archive.exists())


def _members(source: Path) -> Iterator[_Member]:
    if source.is_dir():
        yield from _members_of_tree(source)
    elif source.is_file() and tarfile.is_tarfile(source):
        yield from _members_of_archive(source)
    else:
        raise SourceRefused(
            "driver_source_missing",
            read=f"{source}: neither a folder nor a tar archive",
            want="a driver source tree or a tar archive of one",
            remedy="correct p2p_driver.source",
        )


def _members_of_tree(source: Path) -> Iterator[_Member]:
    for folder, folders, files in os.walk(source):
        folders[:] = sorted(set(folders) - _KEPT_OUT)
        for name in files:
            path = Path(folder, name)
            relative = path.relative_to(source).as_posix()
            if name in _KEPT_OUT:
                continue
            if path.is_symlink():
                target = os.fsencode(path.readlink())
                yield _Member(relative, tarfile.SYMTYPE, executable=True, content=target)
            elif path.is_file():
                executable = bool(path.stat().st_mode & 0o100)
                yield _Member(relative, tarfile.REGTYPE, executable, path.read_bytes())


def _members_of_archive(source: Path) -> Iterator[_Member]:
    with tarfile.open(source) as archive:
        entries = [entry for entry in archive if entry.isfile() or entry.issym()]
        leading = _common_leading_folder([entry.name for entry in entries])
        for entry in entries:
            relative = PurePosixPath(entry.name)
            if relative.is_absolute() or ".." in relative.parts:
                raise SourceRefused(
                    "driver_source_unsafe",
                    read=f"{source}: member {entry.name}",
                    want="relative member names without '..'",
                    remedy="pack the source again from its own folder",
                )
            name = relative.relative_to(leading).as_posix()
            if _KEPT_OUT & set(PurePosixPath(name).parts):
                continue
            if entry.issym():
                yield _Member(name, tarfile.SYMTYPE, True, os.fsencode(entry.linkname))
            else:
                stream = archive.extractfile(entry)
                content = stream.read() if stream is not None else b""
                yield _Member(name, tarfile.REGTYPE, bool(entry.mode & 0o100), content)


def _common_leading_folder(names: Sequence[str]) -> PurePosixPath:
    paths = [PurePosixPath(name) for name in names]
    firsts = {path.parts[0] for path in paths if path.parts}
    if len(firsts) == 1 and all(len(path.parts) > 1 for path in paths):
        return PurePosixPath(firsts.pop())
    return PurePosixPath()


def _require_version(source: Path, members: Sequence[_Member], version: str) -> None:
    statement = next((member.content for member in members if member.name == "version.mk"), None)
    match = _VERSION_LINE.search(statement) if statement is not None else None
    found = match.group(1).decode("ascii", "backslashreplace") if match else None
    if found != version:
        raise SourceRefused(
            "driver_version_mismatch",
            read=f"{source}: version.mk states {found or 'no NVIDIA_VERSION'}",
            want=f"NVIDIA_VERSION = {version}",
            remedy="correct p2p_driver.version or p2p_driver.source so that they agree",
        )


def _key(members: Sequence[_Member], patches: Sequence[Path]) -> str:
    digest = hashlib.sha256()
    for member in members:
        content = hashlib.sha256(member.content).hexdigest()
        fields = (member.name, member.kind.decode("ascii"), str(member.executable), content)
        digest.update("\0".join(fields).encode("utf-8", "surrogateescape") + b"\n")
    for patch in patches:
        digest.update(f"patch\0{sha256_of(patch)}\n".encode())
    return digest.hexdigest()


def _write(archive: Path, members: Sequence[_Member]) -> None:
    # Streamed into a temporary beside the target: a driver tree is too large to hold compressed.
    with tempfile.NamedTemporaryFile(
        dir=archive.parent, prefix=f".{archive.name}.", delete=False
    ) as raw:
        temporary = Path(raw.name)
        try:
            # No file name and no time in the gzip header, so equal content gives equal bytes.
            with (
                gzip.GzipFile("", "wb", _COMPRESSION, raw, mtime=0) as stream,
                tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as tar,
            ):
                for member in members:
                    _add(tar, member)
            raw.flush()
            os.fchmod(raw.fileno(), 0o644)
            os.fsync(raw.fileno())
            temporary.replace(archive)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    sync_directory(archive.parent)


def _add(tar: tarfile.TarFile, member: _Member) -> None:
    entry = tarfile.TarInfo(member.name)
    entry.type = member.kind
    entry.mode = 0o755 if member.executable else 0o644
    if member.kind == tarfile.SYMTYPE:
        entry.linkname = os.fsdecode(member.content)
        tar.addfile(entry)
        return
    entry.size = len(member.content)
    tar.addfile(entry, io.BytesIO(member.content))
