# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab's disk image, made once per recipe and shared by every machine.

Three layers, each cached under the hash of all that goes into it: the root file system that
mmdebstrap installs, the disk that boots it through its own GRUB, and the golden disk, which adds
the lab's stock driver. A change to the driver's sources makes only the last anew.
"""

from __future__ import annotations

import fcntl
import fnmatch
import hashlib
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ansible_collections.gpufleet.p2p.plugins.module_utils._host.commands import run
from ansible_collections.gpufleet.p2p.plugins.module_utils._host.errors import GpufleetError
from ansible_collections.gpufleet.p2p.plugins.module_utils._host.files import (
    atomic_write,
    read_text,
)

from .chroot import enter_argv
from .execution import stream
from .paths import GUEST_FILES
from .progress import Reporter
from .qemu import QEMU, accelerator_arguments
from .sources import SUITE

# Raise it when this file changes what it makes of the same inputs.
_RECIPE = 1
_KEY_DIGITS = 16
_MIB = 1 << 20
_DISK_MIB = 4096
_PARTITION_START_BYTES = _MIB
_GRUB_SECONDS = 300
_COPY = ("cp", "--sparse=always", "--reflink=auto")
_GRUB_DONE = "gpufleet-lab: grub installed"
# Directories below /usr/share that nothing in the lab reads.
_LEFT_OUT = ("man", "doc", "info", "locale")
_DRIVER_PARTS = ("kernel", "userspace")
# What a build in the checkout leaves beside the sources.
_BUILT = (
    *("*.o", "*.ko", "*.mod", "*.mod.c", "*.cmd", "*.o_binary", "*.symvers", "modules.order"),
    *("*.so", "*.so.*", "_out", "build", "__pycache__"),
)
PACKAGES = (
    # One kernel for both machines, hence one driver build; the cloud kernel has no AMD IOMMU.
    "linux-image-amd64",
    "linux-headers-amd64",
    "initramfs-tools",
    "zstd",
    "systemd-sysv",
    "udev",
    "dbus",  # ansible.builtin.reboot asks systemd by it
    "kmod",
    "openssh-server",
    "python3",
    "iproute2",
    "pciutils",
    "mokutil",
    "grub-pc",
    "dkms",
    "g++",  # forks link their RM object with it
    "libc6-dev",
    "patch",
    "xz-utils",
)


class ImageFailed(GpufleetError):
    """A layer of the image could not be made."""


class Image:
    """The image of one recipe and one set of driver sources, in a cache directory.

    Args:
        cache: directory of all images.
        driver_sources: the simulated driver's directory.
        reporter: told of each step.
    """

    def __init__(self, cache: Path, driver_sources: Path, reporter: Reporter) -> None:
        self._cache = cache
        self._driver_sources = driver_sources
        self._reporter = reporter
        base_key = content_key(GUEST_FILES, (str(_RECIPE), SUITE, *PACKAGES))
        self._base = cache / f"base-{base_key}"
        driver_key = content_key(driver_sources, (base_key,), _DRIVER_PARTS)
        self._golden = cache / f"golden-{driver_key}"

    @property
    def root_file_system(self) -> Path:
        """The directory of the guest's files, with the kernel's headers, DKMS and a compiler."""
        return self._base / "root"

    @property
    def disk(self) -> Path:
        """The golden raw disk that machines' overlays stand on."""
        return self._golden / "disk.raw"

    @property
    def kernel_release(self) -> str:
        """The guest's `uname -r`."""
        return kernel_file(self.root_file_system).name.removeprefix("vmlinuz-")

    def ensure_base(self, sources: Iterable[str]) -> None:
        """Make the file system and the disk that boots it, unless they are in the cache.

        Args:
            sources: yields the deb822 text of the package sources; asked only when needed.

        Raises:
            ImageFailed, CommandFailed: the layer could not be made; nothing half-made is kept.
        """
        with self._exclusively():
            if not self._base.exists():
                with self._layer(self._base) as directory:
                    self._install_packages(directory, "".join(sources))
                    self._make_disk(directory)
                    self._install_grub(directory)

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
        with self._reporter.step(f"Debian {SUITE} with kernel, headers and DKMS") as step:
            stream(
                [
                    *("mmdebstrap", "--mode=root", "--variant=minbase", "--format=directory"),
                    "--verbose",
                    f"--include={','.join(PACKAGES)}",
                    '--aptopt=Apt::Install-Recommends "false"',
                    '--aptopt=Acquire::Languages "none"',
                    *(f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in _LEFT_OUT),
                    f'--essential-hook=sh "{prepare}" "$1" "{GUEST_FILES}"',
                    f'--customize-hook=sh "{finish}" "$1"',
                    *(SUITE, str(directory / "root"), str(source_file)),
                ],
                log=directory / "packages.log",
                on_line=step.line,
            )

    def _make_disk(self, directory: Path) -> None:
        with self._reporter.step("Disk with partition table and ext4"):
            disk = directory / "disk.raw"
            with disk.open("wb") as stream_:
                stream_.truncate(_DISK_MIB * _MIB)
            start = _PARTITION_START_BYTES // 512
            run(
                ["sfdisk", "--quiet", str(disk)],
                stdin=f"label: dos\nstart={start}, type=83, bootable\n",
            )
            # mkfs fills the file system itself: partition nodes do not appear everywhere, and
            # nothing stays mounted when this dies.
            run(
                [
                    *("mkfs.ext4", "-q", "-F", "-L", "gpufleet-lab"),
                    *("-d", str(directory / "root"), "-E", f"offset={_PARTITION_START_BYTES}"),
                    *(str(disk), f"{(_DISK_MIB * _MIB - _PARTITION_START_BYTES) // 1024}k"),
                ],
                env={"MKE2FS_CONFIG": str(GUEST_FILES / "mke2fs.conf")},
                timeout=600.0,
            )

    def _install_grub(self, directory: Path) -> None:
        serial_log = directory / "grub.log"
        root = directory / "root"
        with self._reporter.step("GRUB, installed by a boot of the disk") as step:
            stream(
                [
                    *("timeout", str(_GRUB_SECONDS), QEMU, *accelerator_arguments(kvm=False)),
                    *("-machine", "q35", "-cpu", "max", "-m", "1024", "-no-reboot"),
                    *("-nodefaults", "-no-user-config", "-display", "none", "-vga", "none"),
                    *("-serial", "stdio"),
                    *("-drive", f"file={directory / 'disk.raw'},format=raw,if=virtio"),
                    *("-kernel", str(kernel_file(root))),
                    *("-initrd", str(initramfs_file(root))),
                    "-append",
                    "root=/dev/vda1 ro console=ttyS0 quiet panic=-1 "
                    "init=/usr/local/sbin/gpufleet-lab-install-grub",
                ],
                log=serial_log,
                on_line=step.line,
            )
        if _GRUB_DONE not in (read_text(serial_log) or ""):
            raise ImageFailed(
                "lab_grub_failed",
                read=f"no line {_GRUB_DONE!r} on the machine's console",
                want="grub-install and update-grub to succeed in the machine",
                remedy=f"read {self._cache / 'failed-grub.log'}",
            )

    def _install_driver(self, directory: Path) -> None:
        disk = directory / "disk.raw"
        with self._reporter.step("Stock driver, built against the guest's kernel") as step:
            build = directory / "build"
            (build / "changes").mkdir(parents=True)
            for name in _DRIVER_PARTS:
                shutil.copytree(
                    self._driver_sources / name,
                    build / "changes" / "driver" / name,
                    ignore=shutil.ignore_patterns(*_BUILT),
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
                [*_COPY, str(self._base / "disk.raw"), str(disk)],
                timeout=600.0,
            )
            stream(
                [
                    *("unshare", "--mount", "--pid", "--fork", "--kill-child"),
                    *("sh", str(GUEST_FILES / "install-driver.sh"), str(disk)),
                    *(str(_PARTITION_START_BYTES), str(installed_tree(build))),
                    self.kernel_release,
                ],
                log=directory / "install.log",
                on_line=step.line,
                end_signal="KILL",
            )
            shutil.rmtree(build)


def _claim(golden: Path, user: Path) -> Path:
    return golden / "users" / hashlib.sha256(str(user).encode()).hexdigest()[:_KEY_DIGITS]


def _is_used(golden: Path) -> bool:
    claims = (golden / "users").glob("*")
    return any(Path(claim.read_text(encoding="utf-8")).is_dir() for claim in claims)


def installed_tree(build: Path) -> Path:
    """Return where build-driver.sh left the files to install, seen from outside its chroot."""
    changes = build / ("root" if (build / "copied").exists() else "changes")
    return changes / "installed"


def content_key(directory: Path, words: Iterable[str], parts: Iterable[str] = (".",)) -> str:
    """Return a hash of words and of files, by which a layer made from them is found again.

    Args:
        directory: whose files' paths, executable bits and contents count; not what a build left.
        words: what else counts.
        parts: the subdirectories that count.
    """
    digest = hashlib.sha256()
    for word in words:
        digest.update(word.encode() + b"\0")
    paths = (path for part in parts for path in sorted((directory / part).rglob("*")))
    for path in paths:
        relative = path.relative_to(directory)
        if path.is_file() and not any(_is_built(name) for name in relative.parts):
            content = path.read_bytes()
            executable = os.access(path, os.X_OK)
            digest.update(f"{relative.as_posix()}\0{executable}\0{len(content)}\0".encode())
            digest.update(content)
    return digest.hexdigest()[:_KEY_DIGITS]


def _is_built(name: str) -> bool:
    return any(fnmatch.fnmatch(name, pattern) for pattern in _BUILT)


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
