# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The cache's keys: they follow what goes into a layer and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from gpufleet.lab.content_key import content_key


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    (tmp_path / "kernel").mkdir()
    (tmp_path / "kernel/nv.c").write_text("int nv;\n")
    (tmp_path / "kernel/build.sh").write_text("true\n")
    return tmp_path


def test_the_same_content_has_the_same_key(tree: Path) -> None:
    assert content_key(tree, ["a"]) == content_key(tree, ["a"])


def test_words_do_not_run_together(tree: Path) -> None:
    assert content_key(tree, ["ab", "c"]) != content_key(tree, ["a", "bc"])


def test_content_name_and_mode_count(tree: Path) -> None:
    keys = {content_key(tree, [])}
    (tree / "kernel/nv.c").write_text("int nw;\n")
    keys.add(content_key(tree, []))
    (tree / "kernel/build.sh").chmod(0o755)
    keys.add(content_key(tree, []))
    (tree / "kernel/nv.c").rename(tree / "kernel/nw.c")
    keys.add(content_key(tree, []))
    assert len(keys) == 4


def test_what_a_build_leaves_in_the_checkout_does_not_count(tree: Path) -> None:
    before = content_key(tree, [])
    for name in (
        "kernel/nv.o",
        "kernel/nvidia.ko",
        "kernel/_out/x.c",
        "userspace/build/libcuda.so.1",
    ):
        (tree / name).parent.mkdir(exist_ok=True, parents=True)
        (tree / name).write_text("built")
    assert content_key(tree, []) == before


def test_parts_that_were_not_asked_for_do_not_count(tree: Path) -> None:
    before = content_key(tree, [], ["kernel"])
    (tree / "patches").mkdir()
    (tree / "patches/p.patch").write_text("+\n")
    assert content_key(tree, [], ["kernel"]) == before
