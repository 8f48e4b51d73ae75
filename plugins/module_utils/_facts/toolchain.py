# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What drivers are built with on this host, and for which kernels: versions, compilers, headers.

A release such as 6.1.0-56-amd64 does not tell the version of the kernel (6.1.192), and it is by the
version that drivers break; the headers tell both that and the interface itself.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from .._driver.initramfs_generator import generator_of
from .._driver.kernel_interface import declared_in
from .._host.commands import CommandFailed, CommandMissing, CommandTimedOut, run
from .._host.compiler import KernelCompiler, headers_compiler
from .._host.files import read_text
from .._host.kernel import Kernel

Record = dict[str, Any]

#: What a build needs beside the compiler and dkms.
TOOLS = ("make", "patch", "tar", "xz")
_VERSION_HEADERS = ("include/generated/uapi/linux/version.h", "include/linux/version.h")
_APT_SECONDS = 60.0


def toolchain_record(root: Path, kernel: Kernel) -> Record:
    """Return the facts' ``toolchain``.

    ``distribution`` is the ID of os-release, ``initramfs`` the tool that makes initial RAM disks,
    ``missing`` the tools that a build needs and that are not there. ``kernels`` has a record for
    each installed kernel, each part None where it cannot be told: ``version`` (6.1.192);
    ``compiler``, which built it; ``compiler_found``, one of the same family and major version here;
    ``resize_arguments`` of its pci_resize_resource(); ``headers_package``, which apt could install
    where the headers are missing.
    """
    return {
        "distribution": _distribution(root),
        "initramfs": generator_of(root),
        "kernels": [_kernel_record(root, kernel, release) for release in kernel.installed],
        "missing": [tool for tool in TOOLS if shutil.which(tool) is None],
    }


def _kernel_record(root: Path, kernel: Kernel, release: str) -> Record:
    if release not in kernel.with_headers:
        return {
            "release": release,
            "version": None,
            "compiler": None,
            "compiler_found": None,
            "resize_arguments": None,
            "headers_package": headers_package(release),
        }
    modules = root / "lib/modules" / release
    build = below(root, modules / "build")
    source = below(root, modules / "source")
    compiler = headers_compiler(build)
    return {
        "release": release,
        "version": kernel_version(build),
        "compiler": compiler.text if compiler else None,
        "compiler_found": compiler_like(compiler) if compiler else None,
        # Debian keeps the common half of the headers behind "source", others all behind "build".
        "resize_arguments": declared_in(source) or declared_in(build),
        "headers_package": None,
    }


def below(root: Path, link: Path) -> Path:
    """Return what a link leads to, an absolute target taken below ``root``."""
    if not link.is_symlink():
        return link
    target = link.readlink()
    return root / target.relative_to("/") if target.is_absolute() else link.parent / target


def kernel_version(headers: Path) -> str | None:
    """Return the version that headers belong to, such as 6.1.192."""
    for name in _VERSION_HEADERS:
        text = read_text(headers / name) or ""
        fields = dict(re.findall(r"#define LINUX_VERSION_(\w+)\s+(\d+)", text))
        if {"MAJOR", "PATCHLEVEL", "SUBLEVEL"} <= set(fields):
            return f"{fields['MAJOR']}.{fields['PATCHLEVEL']}.{fields['SUBLEVEL']}"
        if "CODE" in fields:
            # Before 5.12 the code alone, whose last part ends at 255.
            code = int(fields["CODE"])
            return f"{code >> 16}.{code >> 8 & 0xFF}.{code & 0xFF}"
    return None


def compiler_like(wanted: KernelCompiler) -> str | None:
    """Return, in its own words, a compiler on this host of the same family and major version."""
    for command in _candidates(wanted):
        try:
            said = run([command, "--version"]).stdout.partition("\n")[0].strip()
        except (CommandMissing, CommandFailed, CommandTimedOut):
            continue
        if KernelCompiler(said).identity == wanted.identity:
            return said
    return None


def _candidates(wanted: KernelCompiler) -> Iterable[str]:
    named = wanted.text.partition(" ")[0]
    family = wanted.identity.rstrip("0123456789")
    major = wanted.identity[len(family) :]
    return dict.fromkeys((named, f"{family}-{major}", family, "cc"))


def headers_package(release: str) -> str | None:
    """Return the package with a kernel's headers where apt could install it now, else None."""
    name = f"linux-headers-{release}"
    try:
        told = run(["apt-cache", "policy", name], timeout=_APT_SECONDS).stdout
    except (CommandMissing, CommandFailed, CommandTimedOut):
        return None
    candidate = re.search(r"^\s*Candidate:\s*(\S+)", told, re.MULTILINE)
    return name if candidate and candidate.group(1) != "(none)" else None


def _distribution(root: Path) -> str | None:
    text = read_text(root / "etc/os-release") or read_text(root / "usr/lib/os-release") or ""
    found = re.search(r"^ID=[\"']?([^\"'\n]+)", text, re.MULTILINE)
    return found.group(1) if found else None
