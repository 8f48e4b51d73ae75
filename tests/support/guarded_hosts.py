# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Throw-away hosts whose kernels are updated by their own apt, dpkg, dkms and GRUB.

The disk is not there, so grub-probe, which asks the kernel what / lies on, is replaced by a script
with a disk's answers; grub-mkconfig and all of /etc/grub.d are real.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pynvml
import pytest
from ansible_collections.gpufleet.p2p.plugins.module_utils._boot.grub_debian import GrubDebian
from ansible_collections.gpufleet.p2p.plugins.module_utils._boot.kernel_default import KernelDefault
from ansible_collections.gpufleet.p2p.plugins.plugin_utils.guard_program import guard_program

from support.driver_hosts import INSTALL, Host, cache_directory, give_archive

NewHost = Callable[..., Host]

#: Debian 12's second series of kernels: a real update from 6.1, with another compiler interface.
NEWER_KERNEL = "linux-image-6.12-cloud-amd64"
NEWER_HEADERS = "linux-headers-6.12-cloud-amd64"
_SETS = {
    "grub": ("grub2-common", "grub-pc-bin"),
    "image": (NEWER_KERNEL,),
    "headers": (NEWER_HEADERS,),
}
PROGRAM = "/usr/lib/gpufleet/gpufleet-guard"
GUARD = {"state": "present", "program": "/srv/gpufleet-guard"}
_GRUB_PROBE = """\
#!/bin/sh
for word; do case "$word" in --target=*) target=${word#--target=};; esac; done
case "$target" in
  device) echo /dev/vda1 ;;
  fs_uuid) echo 2a5ab3a0-7c0f-4c38-8f2e-5b7a2ea2b1aa ;;
  fs) echo ext2 ;;
  partmap) echo msdos ;;
  drive) echo '(hd0,msdos1)' ;;
  compatibility_hint) echo hd0,msdos1 ;;
esac
"""
_DEFAULTS = """\
GRUB_DEFAULT=0
GRUB_TIMEOUT=5
GRUB_CMDLINE_LINUX_DEFAULT="quiet"
GRUB_CMDLINE_LINUX=""
"""


@pytest.fixture(scope="session")
def packages(new_host: NewHost) -> Path:
    """Return a folder with a sub-folder of .deb files for each of the sets, kept between runs."""
    key = hashlib.sha256(repr(sorted(_SETS.items())).encode()).hexdigest()[:12]
    kept = cache_directory() / f"packages-{key}"
    if kept.is_dir():
        return kept
    host = new_host("downloads")
    shutil.copy2("/etc/resolv.conf", host.path("/etc/resolv.conf"))
    host.run("apt-get", "update")
    temporary = kept.with_name(f".{kept.name}.{os.getpid()}")
    archives = host.path("/var/cache/apt/archives")
    for name, wanted in _SETS.items():
        words = ["apt-get", "install", "-y", "--no-install-recommends", "--download-only"]
        host.run(*words, *wanted)
        (temporary / name).mkdir(parents=True)
        for path in archives.glob("*.deb"):
            shutil.move(path, temporary / name / path.name)
    temporary.rename(kept)
    return kept


def install_packages(host: Host, packages: Path, name: str) -> str:
    """Install a set as apt would, with every maintainer script; return what was printed."""
    folder = host.path(f"/srv/{name}")
    shutil.copytree(packages / name, folder, dirs_exist_ok=True)
    words = ["env", "DEBIAN_FRONTEND=noninteractive", "dpkg", "-i"]
    return host.run(*words, *(f"/srv/{name}/{path.name}" for path in sorted(folder.iterdir())))


@pytest.fixture(scope="session")
def boot_host(new_host: NewHost, packages: Path) -> Host:
    """Return a host that boots with GRUB, as far as its files go."""
    host = new_host("boot")
    install_packages(host, packages, "grub")
    probe = host.path("/usr/sbin/grub-probe")
    probe.write_text(_GRUB_PROBE)
    host.path("/etc/default/grub").write_text(_DEFAULTS)
    host.path("/boot/grub").mkdir()
    host.run("grub-mkconfig", "-o", "/boot/grub/grub.cfg")
    host.run("grub-editenv", "/boot/grub/grubenv", "create")
    host.path("/srv/gpufleet-guard").write_bytes(guard_program(Path(pynvml.__file__)))
    return host


@pytest.fixture(scope="session")
def driver_host(new_host: NewHost, boot_host: Host, builder: Host) -> Host:
    """Return a host with our driver, not guarded yet. Copy it; do not change it."""
    host = new_host("driver", like=boot_host)
    give_archive(builder, host)
    result = host.module("dkms_module", **INSTALL)
    assert "failed" not in result, result
    return host


def boots(host: Host) -> str | None:
    """Return the release of the kernel that GRUB would boot by default, as its files say."""
    return KernelDefault(GrubDebian(host.root)).present()


def newer_kernel(host: Host) -> str:
    """Return the release of the second kernel."""
    (release,) = (
        path.name for path in host.path("/lib/modules").iterdir() if path.name != host.kernel
    )
    return release
