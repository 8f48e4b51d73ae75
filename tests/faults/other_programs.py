# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Other programs that work on the host's driver and boot files at the same time, or are killed."""

from __future__ import annotations

import contextlib
import shutil
import threading
import time
from collections.abc import Iterator
from typing import Any

from support.driver_hosts import ARCHIVE, EXPORT, Host, copy_source

from .fault import REAL, STRUCK, Fault, attempt, installing, replaced
from .subjects import FORKS, Step

_RELEASE = "999.99.01"
_LIBRARIES = "/usr/lib/x86_64-linux-gnu"
_CONTROL = """Package: nvidia-libraries
Version: {version}
Architecture: amd64
Maintainer: nobody <nobody@localhost>
Description: libraries of another release
"""
# As a driver's packages do it.
_POSTINST = "#!/bin/sh\nset -e\nldconfig\ndepmod -a {kernel}\nupdate-initramfs -u -k {kernel}\n"
_PACKAGE = "/srv/libraries"
# What packages' scripts and triggers run, as unattended-upgrades has them do at any time.
_WORK = {
    "update-grub": ("update-grub",),
    "update-initramfs": ("update-initramfs", "-u", "-k", "all"),
    "depmod": ("depmod", "-a"),
    "dkms autoinstall": ("dkms", "autoinstall", "-k", "{kernel}"),
}
# The build and all that it started dies, as with the session that it runs in.
_KILLED_BUILD = """case "$*" in *install*) exec {real}/make "$@";; esac
setsid {real}/make "$@" & build=$!
sleep {seconds}
if kill -0 $build; then : > {struck}; fi
kill -KILL -- -$build
wait $build
"""


def userspace_bumped(delay: float | None) -> Fault:
    """The package manager brings NVIDIA libraries of another release, with what belongs to it.

    Args:
        delay: so many seconds into the step; None before it.
    """

    def strike(host: Host, step: Step, notes: dict[str, Any]) -> None:
        _pack_libraries(host)
        work = ("dpkg", "--install", f"{_PACKAGE}.deb")
        if delay is None:
            host.run(*work, check=False)
            attempt(host, step, notes)
        else:
            _meanwhile(host, step, notes, delay, work)

    return Fault("userspace_bumped", "before" if delay is None else f"after {delay} s", strike)


def _pack_libraries(host: Host) -> None:
    tree = host.path(_PACKAGE)
    libraries = tree / _LIBRARIES.lstrip("/")
    libraries.mkdir(parents=True)
    for name in ("libnvidia-ml.so", "libcuda.so"):
        # The same library under another release's name; the link that programs open leads there.
        new = libraries / f"{name}.{_RELEASE}"
        shutil.copyfile(host.path(_LIBRARIES) / f"{name}.1", new)
        (libraries / f"{name}.1").symlink_to(new.name)
    control = tree / "DEBIAN"
    control.mkdir()
    (control / "control").write_text(_CONTROL.format(version=_RELEASE))
    postinst = control / "postinst"
    postinst.write_text(_POSTINST.format(kernel=host.kernel))
    postinst.chmod(0o755)
    host.run("dpkg-deb", "--build", _PACKAGE)
    shutil.rmtree(tree)


def package_work(variant: str, delay: float) -> Fault:
    """A package's script works on the same files, so many seconds into the step."""

    def strike(host: Host, step: Step, notes: dict[str, Any]) -> None:
        words = tuple(word.format(kernel=host.kernel) for word in _WORK[variant])
        _meanwhile(host, step, notes, delay, words)

    return Fault("package_manager_beside", f"{variant} after {delay} s", strike)


def _meanwhile(
    host: Host, step: Step, notes: dict[str, Any], delay: float, words: tuple[str, ...]
) -> None:
    step_runs = threading.Thread(target=attempt, args=(host, step, notes), daemon=True)
    step_runs.start()
    time.sleep(delay)
    host.run(*words, check=False)
    step_runs.join()


def build_killed(seconds: float) -> Fault:
    """The host compiles the driver itself; make and all below it are killed after so long."""

    def strike(host: Host, step: Step, notes: dict[str, Any]) -> None:
        script = _KILLED_BUILD.format(real=REAL, seconds=seconds, struck=STRUCK)
        for fork in FORKS:
            for suffix in (".o", ".ko", ".mod"):
                for path in host.path(fork).rglob(f"*{suffix}"):
                    path.unlink()
        with replaced(host, "make", script):
            if step.archive:
                _build_on_host(host, step.archive)
            attempt(host, step, notes)

    return Fault("build_killed", f"after {seconds} s", strike, installing)


def _build_on_host(host: Host, archive: str) -> None:
    copy_source(host)
    for path in (archive, f"{archive}.json"):
        host.path(path).unlink()
    patches = EXPORT["patches"] if archive == ARCHIVE else []
    # A module that was killed prints no result.
    with contextlib.suppress(IndexError):
        host.module("dkms_module", **{**EXPORT, "archive": archive, "patches": patches})


def program_faults() -> Iterator[Fault]:
    """Yield every fault of this file."""
    for delay in (None, 0.0, 0.3, 0.8):
        yield userspace_bumped(delay)
    for delay in (0.0, 0.4):
        for variant in _WORK:
            yield package_work(variant, delay)
    for seconds in (0.2, 0.6, 1.2, 2.0, 3.0, 4.0):
        yield build_killed(seconds)
