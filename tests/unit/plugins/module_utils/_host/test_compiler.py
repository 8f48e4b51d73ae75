# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A kernel's compiler is read alike from /proc/version and from its headers' configuration."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.gpufleet.p2p.plugins.module_utils._host.compiler import (
    KernelCompiler,
    headers_compiler,
    parse_kernel_config,
    parse_proc_version,
    running_compiler,
)
from hypothesis import given
from hypothesis import strategies as st

DEBIAN = "gcc-12 (Debian 12.2.0-14+deb12u1) 12.2.0"
LINKER = "GNU ld (GNU Binutils for Debian) 2.40"


@pytest.mark.parametrize(
    ("text", "identity"),
    [
        (DEBIAN, "gcc12"),
        ("gcc-12 (Debian 12.2.0-14+deb12u2) 12.2.0", "gcc12"),
        ("gcc-10 (Debian 10.2.1-6) 10.2.1 20210110", "gcc10"),
        ("gcc (Ubuntu 11.4.0-1ubuntu1~22.04) 11.4.0", "gcc11"),
        ("x86_64-linux-gnu-gcc-12 (Ubuntu 12.3.0-1ubuntu1~22.04) 12.3.0", "gcc12"),
        ("x86_64-linux-gnu-gcc-13 (Ubuntu 13.2.0-23ubuntu4) 13.2.0", "gcc13"),
        ("gcc (GCC) 11.4.1 20230605 (Red Hat 11.4.1-2)", "gcc11"),
        ("Ubuntu clang version 14.0.0-1ubuntu1.1", "clang14"),
        ("clang version 17.0.6 (https://example.org/llvm-project 6009708b4367)", "clang17"),
        ("a/compiler of mine", "a_compiler_of_mine"),
    ],
)
def test_family_and_major_version_are_the_identity(text: str, identity: str) -> None:
    assert KernelCompiler(text).identity == identity
    for linker in (LINKER, "GNU ld version 2.35.2-42.el9", "LLD 17.0.6"):
        line = f"Linux version 6.1.0-56-amd64 (kernel@example.org) ({text}, {linker}) #1 SMP\n"
        assert parse_proc_version(line) == KernelCompiler(text)
    for line in (f'CONFIG_CC_VERSION_TEXT="{text}"', f"CONFIG_CC_VERSION_TEXT={text}"):
        config = f"CONFIG_CC_IS_GCC=y\n{line}\nCONFIG_GCC_VERSION=120200\n"
        assert parse_kernel_config(config) == KernelCompiler(text)


def test_kernels_before_5_8_tell_no_linker() -> None:
    line = "Linux version 5.4.0 (a@b) (gcc version 9.4.0 (Ubuntu 9.4.0-1ubuntu1)) #1 SMP\n"
    compiler = parse_proc_version(line)
    assert compiler == KernelCompiler("gcc version 9.4.0 (Ubuntu 9.4.0-1ubuntu1)")
    assert compiler.identity == "gcc9"


def test_host_and_headers_agree(tmp_path: Path) -> None:
    assert running_compiler(tmp_path) is None
    assert headers_compiler(tmp_path / "headers") is None
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/version").write_text(f"Linux version 6.1.0 (a@b) ({DEBIAN}, {LINKER}) #1\n")
    config = tmp_path / "headers/include/config/auto.conf"
    config.parent.mkdir(parents=True)
    config.write_text(f"CONFIG_CC_VERSION_TEXT={DEBIAN}\n")
    assert running_compiler(tmp_path) == headers_compiler(tmp_path / "headers")


@given(st.text())
def test_any_text_names_a_compiler_or_none(text: str) -> None:
    for found in (parse_proc_version(text), parse_kernel_config(text)):
        assert found is None or found.identity
