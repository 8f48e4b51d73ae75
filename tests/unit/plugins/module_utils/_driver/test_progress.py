# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Objects counted in a build's log, in the forms of both makefiles, and those to be expected."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from ansible_collections.gpufleet.p2p.plugins.module_utils._driver.progress import (
    compiled_objects,
    expected_objects,
    running_build,
)
from hypothesis import given
from hypothesis import strategies as st

LOG = """\
DKMS make.log for gpufleet-nvidia-570.86.16 for kernel 6.1.0-56-cloud-amd64 (x86_64)
make[1]: Entering directory '/var/lib/dkms/gpufleet-nvidia/570.86.16/build/src/nvidia'
 [ nvidia-modeset    ]  XZ           _out/Linux_x86_64/maxwell_shaders.xz
 [ nvidia            ]  CC           generated/g_access_cntr_buffer_nvoc.c
 [ nvidia-modeset    ]  CXX          ../common/displayport/src/dp_auxretry.cpp
 [ nvidia            ]  LD           _out/Linux_x86_64/nv-kernel.o
 CONFTEST: set_pages_uc
  SYMLINK /var/lib/dkms/build/kernel-open/nvidia/nv-kernel.o
  CC [M]  /var/lib/dkms/gpufleet-nvidia/570.86.16/build/kernel-open/nvidia/nv.o
  LD [M]  /var/lib/dkms/gpufleet-nvidia/570.86.16/build/kernel-open/nvidia.o
  CC [M]  /var/lib/dkms/gpufleet-nvidia/570.86.16/build/kernel-open/nvidia.mod.o
"""
OBJECTS = 4


def test_compiler_lines_are_counted_and_no_others() -> None:
    assert compiled_objects(LOG) == OBJECTS
    assert compiled_objects("") == 0


@given(st.integers(0, len(LOG)), st.integers(0, len(LOG)))
def test_the_count_never_falls_as_the_log_grows(first: int, second: int) -> None:
    shorter, longer = sorted((first, second))
    assert compiled_objects(LOG[:shorter]) <= compiled_objects(LOG[:longer]) <= OBJECTS


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    home = tmp_path / "content" / "source" / "gpufleet-nvidia-570.86.16"
    files = {
        "src/nvidia/srcs.mk": "SRCS ?=\nSRCS_CXX ?=\n\nSRCS += a.c\nSRCS += b.c\n",
        "src/nvidia-modeset/srcs.mk": "SRCS += c.c\nSRCS_CXX += d.cpp\n",
        "kernel-open/nvidia/nvidia.Kbuild": "X = nvidia/nv.c nvidia/os.c\nX += nvidia/nv.c\n",
        "kernel-open/nvidia-uvm/nvidia-uvm.Kbuild": "UVM += nvidia-uvm/uvm.c\n",
        "kernel-open/common/inc/nv.h": "",
    }
    for name, content in files.items():
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_text(content)
    return home


def test_the_sources_that_the_makefiles_list_are_expected(tree: Path, tmp_path: Path) -> None:
    # Four of the resource manager and modesetting, three of the kernel interface, one per module.
    assert expected_objects(tree) == 4 + 3 + 2
    assert expected_objects(tmp_path / "nothing") is None


def test_the_newest_running_build_is_told(tree: Path, tmp_path: Path) -> None:
    assert running_build(tmp_path, "gpufleet-nvidia", "570.86.16") is None
    for content, age in (("content", 0), ("other", 60)):
        log = tmp_path / content / "dkms/gpufleet-nvidia/570.86.16/build/make.log"
        log.parent.mkdir(parents=True)
        log.write_text(LOG)
        os.utime(log, (1_000_000 - age, 1_000_000 - age))
    found = running_build(tmp_path, "gpufleet-nvidia", "570.86.16")
    assert found is not None
    assert (found.objects, found.expected) == (OBJECTS, 9)
    assert found.log.is_relative_to(tmp_path / "content")
    assert running_build(tmp_path, "gpufleet-nvidia", "595.58.03") is None
