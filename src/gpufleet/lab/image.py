# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab's disk image, made once per recipe and shared by every machine.

Layers, each cached under the hash of all that goes into it: the root file system that mmdebstrap
installs with the disk that boots it through its own GRUB, and the golden disk, which adds the
lab's stock driver. A change to the driver's sources makes only the last anew. Guests that start by
EFI have one more in between: the same root file system with another boot loader, on a disk that
boots it.
"""

from __future__ import annotations

import fcntl
import hashlib
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ansible_collections.gpufleet.p2p.plugins.module_utils._host.commands import CommandFailed, run
from ansible_collections.gpufleet.p2p.plugins.module_utils._host.errors import GpufleetError
from ansible_collections.gpufleet.p2p.plugins.module_utils._host.files import (
    atomic_write,
    read_text,
)

from .boot_disk import LAYOUTS, DiskLayout, install_boot_loader, installer_arguments, make_disk
from .chroot import enter_argv
from .content_key import BUILT, KEY_DIGITS
from .execution import stream
from .firmware import FIRMWARE_VARIABLES
from .kind import GuestKind
from .paths import EFI_GUEST_FILES, GUEST_FILES
from .progress import Reporter, Step
from .recipe import (
    DRIVER_PARTS,
    PACKAGES,
    base_key,
    boot_key,
    bootstrap_hooks,
    efi_packages,
    golden_key,
)
from .sources import refuse_missing_release

_EFI_VARIABLES = "efi-variables.fd"
_COPY = ("cp", "--sparse=always", "--reflink=auto")
# Directories below /usr/share that nothing in the lab reads.
_LEFT_OUT = ("man", "doc", "info", "locale")


class ImageFailed(GpufleetError):
    """A layer of the image could not be made."""


class Image:
    """The image of one kind of guest and one set of driver sources, in a cache directory.

    Args:
        cache: directory of all images.
        driver_sources: the simulated driver's directory.
        reporter: told of each step.
        kind: release, firmware and boot loader of the guests.
    """

    def __init__(
        self, cache: Path, driver_sources: Path, reporter: Reporter, kind: GuestKind | None = None
    ) -> None:
        self._cache = cache
        self._driver_sources = driver_sources
        self._reporter = reporter
        self._kind = kind or GuestKind()
        self._layout = LAYOUTS[self._kind.firmware]
        self._base = cache / f"base-{base_key(self._kind.release)}"
        is_base = self._kind.firmware == "bios"
        self._boot = self._base if is_base else cache / f"boot-{boot_key(self._kind)}"
        self._golden = cache / f"golden-{golden_key(self._kind, driver_sources)}"

    @property
    def root_file_system(self) -> Path:
        """The directory of the release's files, with the kernel's headers, DKMS and a compiler."""
        return self._base / "root"

    @property
    def disk(self) -> Path:
        """The golden raw disk that machines' overlays stand on."""
        return self._golden / "disk.raw"

    @property
    def efi_variables(self) -> Path | None:
        """The EFI variables, with the disk's boot entry, that machines start with; or None."""
        return None if self._kind.firmware == "bios" else self._golden / _EFI_VARIABLES

    @property
    def kernel_release(self) -> str:
        """The guest's `uname -r`."""
        return kernel_file(self.root_file_system).name.removeprefix("vmlinuz-")

    def ensure_base(self, sources: Iterable[str]) -> None:
        """Make the file system and the disk that boots it, unless they are in the cache.

        Args:
            sources: yields the deb822 text of the package sources; asked only when needed.

        Raises:
            ImageFailed, CommandFailed, SourcesMissing: the layer could not be made; nothing
                half-made is kept.
        """
        with self._exclusively():
            if not self._base.exists():
                layout = LAYOUTS["bios"]
                with self._layer(self._base) as directory:
                    root = directory / "root"
                    self._install_packages(directory, "".join(sources))
                    with self._reporter.step("Disk with partition table and ext4"):
                        make_disk(directory / "disk.raw", root, layout)
                    with self._reporter.step("GRUB, installed by a boot of the disk") as step:
                        self._install_boot_loader(directory, root, layout, None, step)
            if not self._boot.exists():
                with self._layer(self._boot) as directory:
                    self._make_efi_boot(directory)

    def ensure_golden(self, user: Path) -> None:
        """Make the golden disk unless it is in the cache, and note who stands on it.

        Golden disks that no lab stands on any more are removed.

        Args:
            user: the state directory of the lab that needs the disk.

        Raises:
            ImageFailed, CommandFailed: as ensure_base.
        """
        with self._exclusively():
            if not self._golden.exists():
                with self._layer(self._golden) as directory:
                    self._install_driver(directory)
            atomic_write(_claim(self._golden, user), str(user).encode())
            for other in set(self._cache.glob("golden-*")) - {self._golden}:
                if not _is_used(other):
                    shutil.rmtree(other)

    def release(self, user: Path) -> None:
        """Forget that a lab, whose machines are gone, stands on any golden disk."""
        if self._cache.exists():
            with self._exclusively():
                for golden in self._cache.glob("golden-*"):
                    _claim(golden, user).unlink(missing_ok=True)

    @contextmanager
    def _exclusively(self) -> Iterator[None]:
        with exclusive(self._cache / "lock"):
            for leftover in self._cache.glob(".partial-*"):
                shutil.rmtree(leftover)
            yield

    @contextmanager
    def _layer(self, final: Path) -> Iterator[Path]:
        """Give a directory that becomes the layer only if the block succeeds."""
        partial = self._cache / f".partial-{final.name}"
        partial.mkdir()
        try:
            yield partial
        except BaseException:
            for log in partial.glob("*.log"):
                log.replace(self._cache / f"failed-{log.name}")
            shutil.rmtree(partial)
            raise
        partial.rename(final)

    def _install_packages(self, directory: Path, sources: str) -> None:
        source_file = directory / "apt.sources"
        atomic_write(source_file, sources.encode())
        prepare, finish = GUEST_FILES / "prepare.sh", GUEST_FILES / "finish.sh"
        release = self._kind.release
        log = directory / "packages.log"
        with self._reporter.step(f"Debian {release} with kernel, headers and DKMS") as step:
            argv = [
                *("mmdebstrap", "--mode=root", "--variant=minbase", "--format=directory"),
                "--verbose",
                f"--include={','.join(PACKAGES)}",
                '--aptopt=Apt::Install-Recommends "false"',
                '--aptopt=Acquire::Languages "none"',
                *(f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in _LEFT_OUT),
                *bootstrap_hooks(release),
                f'--essential-hook=sh "{prepare}" "$1" "{GUEST_FILES}"',
                f'--customize-hook=sh "{finish}" "$1"',
                *(release, str(directory / "root"), str(source_file)),
            ]
            try:
                stream(argv, log=log, on_line=step.line)
            except CommandFailed:
                refuse_missing_release(read_text(log) or "", release)
                raise

    def _make_efi_boot(self, directory: Path) -> None:
        root = directory / "root"
        loader = self._kind.boot_loader
        with self._reporter.step(f"Packages of {loader} for EFI on {self._kind.release}") as step:
            run(["cp", "-a", "--reflink=auto", str(self.root_file_system), str(root)], timeout=900)
            stream(
                [
                    *("unshare", "--mount", "--pid", "--fork", "--kill-child"),
                    *("sh", str(EFI_GUEST_FILES / "install-packages.sh"), str(root)),
                    *(str(EFI_GUEST_FILES / "tree"), str(EFI_GUEST_FILES / loader)),
                    *efi_packages(loader),
                ],
                log=directory / "efi-packages.log",
                on_line=step.line,
                end_signal="KILL",
            )
        with self._reporter.step("Disk with EFI partition and ext4"):
            make_disk(directory / "disk.raw", root, self._layout)
        with self._reporter.step(f"{loader}, installed by a boot of the disk by EFI") as step:
            variables = directory / _EFI_VARIABLES
            shutil.copyfile(FIRMWARE_VARIABLES, variables)
            self._install_boot_loader(directory, root, self._layout, variables, step)
        # The disk has all of it, and the release's own file system serves for builds.
        shutil.rmtree(root)

    def _install_boot_loader(
        self, directory: Path, root: Path, layout: DiskLayout, variables: Path | None, step: Step
    ) -> None:
        argv = installer_arguments(
            directory / "disk.raw", kernel_file(root), initramfs_file(root), layout, variables
        )
        log = directory / "boot-loader.log"
        if not install_boot_loader(argv, layout, log, step):
            raise ImageFailed(
                "lab_boot_loader_failed",
                read=f"no line {layout.done!r} on the machine's console",
                want=f"{layout.installer} to succeed in the machine",
                remedy=f"read {self._cache / f'failed-{log.name}'}",
            )

    def _install_driver(self, directory: Path) -> None:
        disk = directory / "disk.raw"
        with self._reporter.step("Stock driver, built against the guest's kernel") as step:
            build = directory / "build"
            (build / "changes").mkdir(parents=True)
            for name in DRIVER_PARTS:
                shutil.copytree(
                    self._driver_sources / name,
                    build / "changes" / "driver" / name,
                    ignore=shutil.ignore_patterns(*BUILT),
                )
            shutil.copy(GUEST_FILES / "build-driver.sh", build / "changes")
            stream(
                enter_argv(
                    self.root_file_system,
                    build,
                    ["sh", "/build-driver.sh", self.kernel_release],
                ),
                log=directory / "driver.log",
                on_line=step.line,
                end_signal="KILL",
            )
            run(
                [*_COPY, str(self._boot / "disk.raw"), str(disk)],
                timeout=600.0,
            )
            if self._kind.firmware == "efi":
                shutil.copyfile(self._boot / _EFI_VARIABLES, directory / _EFI_VARIABLES)
            stream(
                [
                    *("unshare", "--mount", "--pid", "--fork", "--kill-child"),
                    *("sh", str(GUEST_FILES / "install-driver.sh"), str(disk)),
                    *(str(self._layout.root_start_bytes), str(installed_tree(build))),
                    self.kernel_release,
                ],
                log=directory / "install.log",
                on_line=step.line,
                end_signal="KILL",
            )
            shutil.rmtree(build)


def _claim(golden: Path, user: Path) -> Path:
    return golden / "users" / hashlib.sha256(str(user).encode()).hexdigest()[:KEY_DIGITS]


def _is_used(golden: Path) -> bool:
    claims = (golden / "users").glob("*")
    return any(Path(claim.read_text(encoding="utf-8")).is_dir() for claim in claims)


def installed_tree(build: Path) -> Path:
    """Return where build-driver.sh left the files to install, seen from outside its chroot."""
    changes = build / ("root" if (build / "copied").exists() else "changes")
    return changes / "installed"


def kernel_file(root: Path) -> Path:
    """Return the one kernel in a file system's /boot.

    Raises:
        ImageFailed: there is none, or more than one.
    """
    return _only(root / "boot", "vmlinuz-*")


def initramfs_file(root: Path) -> Path:
    """Return the one initramfs in a file system's /boot.

    Raises:
        ImageFailed: there is none, or more than one.
    """
    return _only(root / "boot", "initrd.img-*")


def _only(directory: Path, pattern: str) -> Path:
    found = sorted(directory.glob(pattern))
    if len(found) != 1:
        raise ImageFailed(
            "lab_image_incomplete",
            read=f"{directory}/{pattern}: {len(found)} files",
            want="exactly one",
            remedy="make the image anew: gpufleet lab destroy --cache, then gpufleet lab up",
        )
    return found[0]


@contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Hold a file's lock while the block runs, after waiting for whoever holds it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
