# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The compiler that a kernel was built with, as the running kernel and its headers tell it.

The release alone does not name a kernel: Ubuntu has compiled one and the same release with gcc 12
for 22.04 and with gcc 13 for 24.04. Modules follow their kernel's compiler, whose major version
decides about the flags and plugins that the kernel's configuration asks for.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from .files import read_text

_RUNNING = re.compile(r"^Linux version \S+ \([^()]*\) \((?P<tools>.*)\) #")
_CONFIGURED = re.compile(r"^CONFIG_CC_VERSION_TEXT=(?P<text>.*)$", re.MULTILINE)
_PARENTHESISED = re.compile(r"\([^()]*\)")
_VERSION = re.compile(r"(?<![\w.])(\d+)\.\d+")


@dataclass(frozen=True)
class KernelCompiler:
    """The compiler in its own words, such as ``gcc-12 (Debian 12.2.0-14+deb12u1) 12.2.0``."""

    text: str

    @property
    def identity(self) -> str:
        """Family and major version, such as ``gcc12``; fit for a file name.

        Rebuilds and minor versions are the same compiler here: a kernel that is updated under its
        release keeps the interface that modules were built for.
        """
        version = _VERSION.search(_PARENTHESISED.sub(" ", self.text))
        if version is None:
            return re.sub(r"[^A-Za-z0-9]+", "_", self.text)
        return f"{'clang' if 'clang' in self.text else 'gcc'}{version.group(1)}"


def parse_proc_version(text: str) -> KernelCompiler | None:
    """Return the compiler in the content of /proc/version, None where it has another form."""
    match = _RUNNING.match(text)
    if match is None:
        return None
    # "COMPILER, LINKER"; kernels before 5.8 do not tell the linker.
    compiler, comma, linker = match["tools"].rpartition(", ")
    text = (compiler if comma else linker).strip()
    return KernelCompiler(text) if text else None


def parse_kernel_config(text: str) -> KernelCompiler | None:
    """Return the compiler in a kernel's configuration, None where it does not name one."""
    match = _CONFIGURED.search(text)
    # Quoted in .config, and in auto.conf before Linux 6.0.
    compiler = match["text"].strip().strip('"') if match else ""
    return KernelCompiler(compiler) if compiler else None


def running_compiler(root: Path = Path("/")) -> KernelCompiler | None:
    """Return the compiler of the running kernel, None where it cannot be known."""
    return parse_proc_version(read_text(root / "proc/version") or "")


def headers_compiler(headers: Path) -> KernelCompiler | None:
    """Return the compiler of the kernel that the headers belong to, None where they do not say.

    ``headers`` is what /lib/modules/RELEASE/build leads to.
    """
    return parse_kernel_config(read_text(headers / "include/config/auto.conf") or "")
