# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A driver build made once on a builder, and packed for the hosts that import it.

The builder keeps its builds in DKMS trees of their own, one per content key, below a cache
directory: registered in the builder's system-wide DKMS, the driver would be installed into the
builder's own kernel at its next update, and two builds of one version could not exist side by side.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from .._host.compiler import KernelCompiler, headers_compiler
from .._host.errors import GpufleetError
from .._host.files import atomic_write, read_text, sync_directory
from .dkms import DkmsFailed, DkmsPackage, DkmsTrees, failure
from .elf import ModuleUnreadable
from .kernel_interface import require_signature
from .manifest import FILE_NAME, BuildRefused, Manifest, in_archive, observe, recorded
from .source import StagedSource, content_key, staged

#: Where a builder keeps its builds: one DKMS tree and one source tree per content key.
BUILDER_DIRECTORY = Path("/var/cache/gpufleet/driver")

_ERRORS_SHOWN = 12
_LOG_LINES_SHOWN = 12


class BuildFailed(GpufleetError):
    """The driver could not be built for this kernel; nothing that is installed was touched."""


@dataclass(frozen=True)
class BuildRequest:
    """What is to be built: source (tree or tar archive), patches in order, and for which kernel.

    kernel_compiler is what the hosts' kernel was built with: headers of the same release that
    belong to a kernel of another compiler are refused; None takes any. jobs None means one compiler
    per core; memory caps it in either case (dkms.conf).
    """

    name: str
    version: str
    kernel: str
    source: Path
    patches: tuple[Path, ...] = ()
    kernel_compiler: KernelCompiler | None = None
    jobs: int | None = None
    directory: Path = BUILDER_DIRECTORY
    modules_directory: Path = Path("/lib/modules")


@dataclass(frozen=True)
class Build:
    """A build and where it lies; manifest is None while it is only planned."""

    package: DkmsPackage
    source_key: str
    manifest: Manifest | None
    changed: bool


def plan(request: BuildRequest) -> Build:
    """Return the build that exists for the request, or (manifest None) the one to be made.

    Checks all that can be known without compiling: source, version, patches, headers, signature.

    Raises:
        SourceRefused, KernelSignatureMismatch, BuildFailed.
    """
    with _staged(request) as source:
        return _existing(request, source)


def build(request: BuildRequest) -> Build:
    """Return the build for the request, compiling it unless a whole one of this content exists.

    A second caller for the same content waits for the first and then finds its build. Builds of
    other content wait too: each takes all cores and the memory that is free when it begins.

    Raises:
        SourceRefused, KernelSignatureMismatch: before anything is compiled.
        BuildFailed: it does not compile; the message ends with the log's errors.
    """
    with _staged(request) as source, _lock(request.directory, source.key):
        existing = _existing(request, source)
        if existing.manifest is not None:
            return existing
        package = existing.package
        _place(source, package)
        _clear_leftovers(package, request.kernel)
        if not package.is_added():
            _register(package)
        with _lock(request.directory, "compiler"):
            _compile(request, package)
        manifest = _checked(request, package, source)
        record = package.build_directory(request.kernel) / FILE_NAME
        atomic_write(record, manifest.as_json())
        return replace(existing, manifest=manifest, changed=True)


def export(made: Build, archive: Path) -> bool:
    """Pack a build with its source into ``archive``; return whether the archive had to be written.

    The archive is DKMS's own (dkms mktarball), so the host's DKMS can rebuild from it; the manifest
    is inside it, and beside it as ARCHIVE.json for the controller.

    Raises:
        BuildFailed: DKMS did not produce a readable archive; an older one is left as it was.
    """
    manifest = made.manifest
    if manifest is None:
        raise ValueError("a planned build cannot be exported")
    beside = archive.with_name(archive.name + ".json")
    if is_exported(made, archive):
        return atomic_write(beside, manifest.as_json())
    archive.parent.mkdir(parents=True, exist_ok=True, mode=0o755)
    # dkms chooses the compression by the name, so the suffix has to stay the last.
    temporary = archive.with_name(f".{os.getpid()}.{archive.name}")
    try:
        result = made.package.mktarball(manifest.kernel, temporary)
        try:
            packed = in_archive(temporary, manifest.kernel, manifest.arch)
        except BuildRefused as error:
            raise failure(
                "export_failed",
                result,
                want=f"an archive of {manifest.name}/{manifest.version} for {manifest.kernel}",
                remedy=f"check free space of {archive.parent} and of the temporary directory",
            ) from error
        if packed != manifest:
            raise DkmsFailed(
                "export_failed",
                read=f"{temporary}: another build than the one exported",
                want="the archive to hold the build's manifest",
                remedy="run again; another process changed the build meanwhile",
            )
        with temporary.open("rb") as stream:
            os.fsync(stream.fileno())
        temporary.replace(archive)
        sync_directory(archive.parent)
    finally:
        temporary.unlink(missing_ok=True)
    atomic_write(beside, manifest.as_json())
    return True


def is_exported(made: Build, archive: Path) -> bool:
    """Return whether ``archive`` holds exactly this build."""
    manifest = made.manifest
    if manifest is None or not archive.is_file():
        return False
    try:
        return in_archive(archive, manifest.kernel, manifest.arch) == manifest
    except BuildRefused:
        return False


def headers_of(modules_directory: Path, kernel: str) -> Path:
    """Return the directory with the kernel's include/linux: Debian's common half, or the only one.

    Raises:
        BuildFailed: the kernel's headers are not installed.
    """
    for name in ("source", "build"):
        directory = modules_directory / kernel / name
        if (directory / "include/linux/pci.h").is_file():
            return directory
    raise BuildFailed(
        "kernel_headers_missing",
        read=f"{modules_directory / kernel}/build: no headers of kernel {kernel}",
        want="the headers of the very kernel release",
        remedy=f"install linux-headers-{kernel} (RHEL: kernel-devel-{kernel}) on the builder",
    )


def _require_compiler(request: BuildRequest) -> None:
    """Refuse headers of another build of the kernel; what neither side tells is not held against.

    Raises:
        BuildFailed: they belong to a kernel that another compiler built.
    """
    wanted, found = request.kernel_compiler, _kernel_compiler(request)
    if wanted is None or found is None or wanted.identity == found.identity:
        return
    raise BuildFailed(
        "kernel_compiler_mismatch",
        read=f"headers of {request.kernel} as built with {found.text}",
        want=f"headers of {request.kernel} as built with {wanted.text}, which the hosts run",
        remedy="build on a host of the distribution that this kernel is of: name one in "
        "p2p_builder_group, or set that to '' so that a host of each kernel compiles",
    )


def _kernel_compiler(request: BuildRequest) -> KernelCompiler | None:
    return headers_compiler(request.modules_directory / request.kernel / "build")


@contextlib.contextmanager
def _staged(request: BuildRequest) -> Iterator[StagedSource]:
    headers = headers_of(request.modules_directory, request.kernel)
    _require_compiler(request)
    with staged(
        request.source,
        request.patches,
        name=request.name,
        version=request.version,
        scratch=request.directory,
    ) as source:
        require_signature(source.tree.path, headers, request.kernel)
        yield source


@contextlib.contextmanager
def _lock(directory: Path, key: str) -> Iterator[None]:
    with (directory / f"{key}.lock").open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def _existing(request: BuildRequest, source: StagedSource) -> Build:
    home = request.directory / source.key
    trees = DkmsTrees(home / "dkms", home / "source", request.modules_directory)
    package = DkmsPackage(request.name, request.version, trees)
    manifest = recorded(package, request.kernel)
    if manifest is not None and not _is_for(manifest, _kernel_compiler(request)):
        manifest = None
    return Build(package, source.key, manifest, changed=manifest is None)


def _is_for(manifest: Manifest, compiler: KernelCompiler | None) -> bool:
    """Whether the build was made for the kernel as its headers have it now."""
    identity = compiler.identity if compiler else ""
    return KernelCompiler(manifest.kernel_compiler).identity == identity


def _place(source: StagedSource, package: DkmsPackage) -> None:
    """Move the staged tree to its place, unless an equal one is there."""
    target = package.source_directory
    if target.is_dir():
        if content_key(target) == source.key:
            return
        shutil.rmtree(target)
    target.parent.mkdir(parents=True, exist_ok=True, mode=0o755)
    package.trees.state.mkdir(parents=True, exist_ok=True, mode=0o755)
    source.tree.path.rename(target)
    sync_directory(target.parent)


def _clear_leftovers(package: DkmsPackage, kernel: str) -> None:
    """Remove what an interrupted build left.

    Before 3.1.7 DKMS takes a half-filled directory for a finished build and refuses both to build
    and to remove it.
    """
    for directory in (package.build_directory(kernel), package.state_directory / "build"):
        if directory.is_dir():
            shutil.rmtree(directory)


def _compile(request: BuildRequest, package: DkmsPackage) -> None:
    jobs = request.jobs or len(os.sched_getaffinity(0))
    result = package.build(request.kernel, jobs=jobs)
    if result.rc == 0:
        return
    log = package.state_directory / "build/make.log"
    raise failure(
        "driver_build_failed",
        replace(result, stdout=result.stdout + "\n" + log_summary(read_text(log) or "")),
        want=f"{request.name}/{request.version} to compile for kernel {request.kernel}",
        remedy=f"read {log}; installed modules were not touched",
    )


def log_summary(log: str) -> str:
    """Return the first errors of a build log and its last lines."""
    lines = log.splitlines()
    words = ("error:", "error ", "undefined reference", "no rule to make", "killed")
    errors = [line for line in lines if any(word in line.lower() for word in words)]
    return "\n".join([*errors[:_ERRORS_SHOWN], *lines[-_LOG_LINES_SHOWN:]])


def _checked(request: BuildRequest, package: DkmsPackage, source: StagedSource) -> Manifest:
    compiler = _kernel_compiler(request)
    try:
        return observe(
            package,
            request.kernel,
            source.tree.modules,
            source_key=source.key,
            kernel_compiler=compiler.text if compiler else "",
        )
    except (BuildRefused, ModuleUnreadable):
        # Left in place it would read as "already built".
        shutil.rmtree(package.build_directory(request.kernel), ignore_errors=True)
        raise


def _register(package: DkmsPackage) -> None:
    result = package.add()
    if not package.is_added():
        raise failure(
            "dkms_add_failed",
            result,
            want="DKMS to register the source tree",
            remedy="mend what DKMS names, then run again",
        )
