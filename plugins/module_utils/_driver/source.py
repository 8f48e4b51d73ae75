# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A driver source made ready for DKMS: checked, copied, patched, given our own dkms.conf.

Everything happens in a scratch directory; what comes out is a whole tree and the key of its
content, so that a fork and "upstream tag + patch file" of the same content are the same build.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .._host.commands import CommandFailed, run
from .._host.errors import GpufleetError
from .._host.files import read_text, sha256_of
from .identity import DRIVER_MODULES
from .kernel_interface import called_in

_VERSION = re.compile(r"^\s*NVIDIA_VERSION\s*[:?]?=\s*(\S+)", re.MULTILINE)
_UNPACK_SECONDS = 600.0
_MEBIBYTES_PER_JOB = 1024

# What an earlier build leaves behind; make would take it for up to date under another kernel.
_BUILD_PRODUCTS = re.compile(
    r"^(_out|.*\.(o|ko|mod|mod\.c)|\..*\.(cmd|d)|modules\.order|Module\.symvers)$"
)
_KERNEL_INTERFACE = "kernel-open"


class SourceRefused(GpufleetError):
    """The source cannot become the driver build that was asked for."""


@dataclass(frozen=True)
class SourceTree:
    """A checked driver source.

    Attributes:
        path: the tree's root.
        version: the NVIDIA_VERSION that it states.
        prebuilt: whether the RM object comes ready-made (nv-kernel.o_binary) instead of from src/.
        modules: those of the five driver modules that the tree has.
    """

    path: Path
    version: str
    prebuilt: bool
    modules: tuple[str, ...]


@dataclass(frozen=True)
class StagedSource:
    """A patched tree with our dkms.conf; key is the SHA-256 over its content (64 hex digits)."""

    tree: SourceTree
    key: str


def inspect(path: Path, version: str) -> SourceTree:
    """Return what the tree at ``path`` is, having checked that it can be built.

    Raises:
        SourceRefused: no version.mk, another version, no kernel-open, or no RM object and no source
            of it (what a build of kernel-open alone would stumble over after minutes).
    """
    found = _VERSION.search(read_text(path / "version.mk") or "")
    if found is None or found.group(1) != version:
        stated = found.group(1) if found else "no NVIDIA_VERSION"
        raise SourceRefused(
            "source_version_mismatch",
            read=f"{path / 'version.mk'}: {stated}",
            want=f"NVIDIA_VERSION = {version}",
            remedy="make the driver's version and its source agree",
        )
    interface = path / _KERNEL_INTERFACE
    modules = tuple(name for name in DRIVER_MODULES if (interface / name).is_dir())
    if "nvidia" not in modules:
        raise SourceRefused(
            "source_incomplete",
            read=f"{interface}: no nvidia directory",
            want="the sources of an open NVIDIA kernel driver",
            remedy="check out the whole tree, or unpack the whole archive",
        )
    full = (path / "src/nvidia/Makefile").is_file()
    prebuilt = not full and (interface / "nvidia/nv-kernel.o_binary").is_file()
    if not full and not prebuilt:
        raise SourceRefused(
            "source_incomplete",
            read=f"{path}: neither src/nvidia nor {_KERNEL_INTERFACE}/nvidia/nv-kernel.o_binary",
            want="the RM object or its source",
            remedy="use the whole source tree; kernel-open alone cannot be linked",
        )
    return SourceTree(path, version, prebuilt, modules)


@contextlib.contextmanager
def staged(
    source: Path, patches: Sequence[Path], *, name: str, version: str, scratch: Path
) -> Iterator[StagedSource]:
    """Yield ``source`` copied below ``scratch``, patched and given a dkms.conf; remove it after.

    Args:
        source: a source tree, or a tar archive of one (a single leading directory is dropped).
        patches: patch files for ``patch -p1``, applied in order, without fuzz.
        name: DKMS package name.
        version: the version that the source has to state.
        scratch: directory on the file system where the tree is to end, so that it can be renamed.

    Raises:
        SourceRefused: the source or a patch is missing or unfit, or a patch does not apply.
        CommandMissing: no tar or patch on this host.
    """
    scratch.mkdir(parents=True, exist_ok=True, mode=0o755)
    with tempfile.TemporaryDirectory(prefix=".stage-", dir=scratch) as directory:
        tree = Path(directory) / "tree"
        _copy(_unpacked(source, Path(directory) / "unpacked"), tree)
        for patch in patches:
            apply_patch(tree, patch)
        checked = inspect(tree, version)
        conf = tree / "dkms.conf"
        conf.write_text(dkms_conf(checked, name), encoding="utf-8")
        conf.chmod(0o644)
        # The installer's template below kernel-open would win a search for dkms.conf.
        (tree / _KERNEL_INTERFACE / "dkms.conf").unlink(missing_ok=True)
        yield StagedSource(checked, content_key(tree))


@dataclass(frozen=True)
class SourceDescription:
    """What gates judge a host by before anything is built from a source.

    Attributes:
        version: the driver's release.
        prebuilt: whether the RM object comes ready-made.
        modules: the modules that the tree has.
        resize_arguments: the argument counts of its calls of pci_resize_resource().
    """

    version: str
    prebuilt: bool
    modules: tuple[str, ...]
    resize_arguments: tuple[int, ...]

    def as_dict(self) -> dict[str, Any]:
        """Return the description as plain data."""
        return {
            "version": self.version,
            "prebuilt": self.prebuilt,
            "modules": list(self.modules),
            "resize_arguments": list(self.resize_arguments),
        }


def describe(
    source: Path, patches: Sequence[Path], *, version: str, scratch: Path
) -> SourceDescription:
    """Return what a source is once its patches are applied, without building it.

    Raises:
        SourceRefused: as staged, for a patch that does not apply above all.
        CommandMissing: no tar or patch on this machine.
    """
    with staged(source, patches, name="description", version=version, scratch=scratch) as made:
        tree = made.tree
        called = called_in(tree.path)
        return SourceDescription(tree.version, tree.prebuilt, tree.modules, tuple(sorted(called)))


def apply_patch(tree: Path, patch: Path) -> None:
    """Apply one patch file to ``tree`` after a dry run; the tree is unchanged where it fails.

    Raises:
        SourceRefused: no such patch file, or a hunk does not apply (or is applied already).
    """
    if not patch.is_file():
        raise SourceRefused(
            "patch_missing",
            read=f"{patch}: no such file",
            want="the patch file on the host that builds",
            remedy="correct the list of patches",
        )
    # No fuzz: a hunk that lands beside its place compiles and then corrupts memory.
    words = ["patch", "-p1", "--forward", "--batch", "--fuzz=0", "--no-backup-if-mismatch"]
    words += ["--reject-file=-", "-i", str(patch.resolve())]
    try:
        run([*words, "--dry-run"], cwd=tree)
        run(words, cwd=tree)
    except CommandFailed as error:
        raise SourceRefused(
            "patch_does_not_apply",
            read=f"{patch.name}: {error.read}",
            want="every hunk to apply to the source as it is",
            remedy="use the patch made for this very driver version; none if the source has it",
        ) from error


def content_key(tree: Path) -> str:
    """Return the SHA-256 over names, kinds, execute bits and content of everything in ``tree``."""
    digest = hashlib.sha256()
    for path in sorted(_files(tree)):
        if path.is_symlink():
            kind, content = "link", hashlib.sha256(os.fsencode(path.readlink())).hexdigest()
        else:
            kind = "executable" if path.stat().st_mode & 0o100 else "file"
            content = sha256_of(path)
        line = "\0".join((path.relative_to(tree).as_posix(), kind, content))
        digest.update(line.encode("utf-8", "surrogateescape") + b"\n")
    return digest.hexdigest()


def dkms_conf(tree: SourceTree, name: str) -> str:
    """Return our dkms.conf for ``tree``: all its modules, built by the tree's own Makefile."""
    directory = f"-C {_KERNEL_INTERFACE} " if tree.prebuilt else ""
    lines = [
        "# Written by gpufleet. The tree's own template is the vendor installer's.",
        f'PACKAGE_NAME="{name}"',
        f'PACKAGE_VERSION="{tree.version}"',
        'AUTOINSTALL="yes"',
        "# DKMS reads this override by itself, but for autoinstall, which forgets whose it is.",
        f"[ -r /etc/dkms/{name}.conf ] && . /etc/dkms/{name}.conf",
        "",
        "# As many compilers as there are cores, but no more than memory holds.",
        "available=$(awk '/^MemAvailable:/ {print int($2 / 1024)}' /proc/meminfo)",
        f"jobs=$((available / {_MEBIBYTES_PER_JOB}))",
        "((jobs < 1)) && jobs=1",
        "((jobs > ${parallel_jobs:-1})) && jobs=${parallel_jobs:-1}",
        "",
        "# Debian splits a kernel's headers in two: SYSOUT is the flavour's part, SYSSRC the rest.",
        'headers="${kernel_source_dir:-/lib/modules/$kernelver/build}"',
        'common="${headers%/build}/source"',
        '[ -d "$common" ] || common="$headers"',
        "",
        "# 'make' in quotes keeps DKMS from adding KERNELRELEASE, which would turn the Makefile",
        "# into its kbuild half.",
        f"MAKE[0]=\"'make' {directory}-j$jobs KERNEL_UNAME=$kernelver "
        'SYSSRC=$common SYSOUT=$headers modules"',
        "# Each build starts from a fresh copy.",
        'CLEAN="true"',
    ]
    for index, module in enumerate(tree.modules):
        lines += [
            "",
            f'BUILT_MODULE_NAME[{index}]="{module}"',
            f'BUILT_MODULE_LOCATION[{index}]="{_KERNEL_INTERFACE}"',
            f'DEST_MODULE_LOCATION[{index}]="/updates/dkms"',
        ]
    return "\n".join(lines) + "\n"


def _unpacked(source: Path, directory: Path) -> Path:
    if source.is_dir():
        return source
    if not source.is_file():
        raise SourceRefused(
            "source_missing",
            read=f"{source}: no such file or directory",
            want="a driver source tree or a tar archive of one on the host that builds",
            remedy="correct the source's path, or copy the source there first",
        )
    directory.mkdir()
    words = ["tar", "-xf", str(source), "-C", str(directory)]
    try:
        run([*words, "--no-same-owner", "--no-same-permissions"], timeout=_UNPACK_SECONDS)
    except CommandFailed as error:
        raise SourceRefused(
            "source_unreadable",
            read=f"{source}: {error.read}",
            want="a tar archive of a driver source tree",
            remedy="fetch the archive again and compare its checksum",
        ) from error
    inside = list(directory.iterdir())
    return inside[0] if len(inside) == 1 and inside[0].is_dir() else directory


def _copy(source: Path, tree: Path) -> None:
    """Copy without version control and build products; modes are 0755 and 0644 only."""
    full = (source / "src/nvidia").is_dir()

    def skipped(directory: str, names: list[str]) -> set[str]:
        at_root = Path(directory) == source
        drop = {name for name in names if _BUILD_PRODUCTS.match(name)}
        # dkms copies a tree by a shell's *, so hidden files would not reach the hosts.
        drop |= {name for name in names if name == ".git" or (at_root and name.startswith("."))}
        if full:
            drop |= {name for name in names if name.endswith(".o_binary")}
            drop |= {"conftest"} & set(names) if directory.endswith(_KERNEL_INTERFACE) else set()
        return drop

    shutil.copytree(source, tree, symlinks=True, ignore=skipped)
    tree.chmod(0o755)
    for path in tree.rglob("*"):
        if not path.is_symlink():
            executable = path.is_dir() or path.stat().st_mode & 0o100
            path.chmod(0o755 if executable else 0o644)


def _files(tree: Path) -> Iterator[Path]:
    for path in tree.rglob("*"):
        if path.is_symlink() or path.is_file():
            yield path
