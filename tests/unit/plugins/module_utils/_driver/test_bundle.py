# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A bundle is named by its content, whatever it was packed from."""

from __future__ import annotations

import os
import tarfile
from pathlib import Path

import pytest
from ansible_collections.gpufleet.p2p.plugins.module_utils._driver.bundle import (
    SourceRefused,
    bundle,
    plan,
)

VERSION = "595.58.03"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    source = tmp_path / "open-gpu-kernel-modules"
    (source / "kernel-open").mkdir(parents=True)
    (source / "version.mk").write_text(f"NVIDIA_VERSION = {VERSION}\n")
    (source / "kernel-open" / "nv.c").write_text("int nv;\n")
    (source / "kernel-open" / "conftest.sh").write_text("#!/bin/sh\n")
    (source / "kernel-open" / "conftest.sh").chmod(0o755)
    (source / "link").symlink_to("kernel-open/nv.c")
    (source / ".git").mkdir()
    (source / ".git" / "HEAD").write_text("ref: refs/heads/main\n")
    return source


def test_the_archive_holds_the_tree_and_not_its_history(tree: Path, tmp_path: Path) -> None:
    packed = bundle(tree, [], version=VERSION, cache=tmp_path / "cache")
    with tarfile.open(packed.archive) as archive:
        members = {entry.name: entry for entry in archive}
    assert sorted(members) == ["kernel-open/conftest.sh", "kernel-open/nv.c", "link", "version.mk"]
    assert members["kernel-open/conftest.sh"].mode == 0o755
    assert members["link"].linkname == "kernel-open/nv.c"
    assert packed.archive.name == f"{packed.key}.tar.gz"


def test_times_and_place_do_not_count(tree: Path, tmp_path: Path) -> None:
    first = bundle(tree, [], version=VERSION, cache=tmp_path / "one")
    os.utime(tree / "version.mk", (0, 0))
    moved = tree.rename(tmp_path / "elsewhere")
    second = bundle(moved, [], version=VERSION, cache=tmp_path / "two")
    assert first.key == second.key
    assert first.archive.read_bytes() == second.archive.read_bytes()


def test_a_tar_archive_with_a_leading_folder_is_the_same_source(tree: Path, tmp_path: Path) -> None:
    packed = tmp_path / "source.tar.xz"
    with tarfile.open(packed, "w:xz") as archive:
        archive.add(tree, arcname="open-gpu-kernel-modules-595.58.03")
    from_archive = bundle(packed, [], version=VERSION, cache=tmp_path / "cache")
    assert from_archive.key == plan(tree, [], version=VERSION, cache=tmp_path / "cache").key


def test_content_execute_bits_and_patches_count(tree: Path, tmp_path: Path) -> None:
    patch = tmp_path / "p2p.patch"
    patch.write_text("--- a/x\n+++ b/x\n")
    keys = [bundle(tree, [], version=VERSION, cache=tmp_path).key]
    keys.append(bundle(tree, [patch], version=VERSION, cache=tmp_path).key)
    (tree / "kernel-open" / "nv.c").chmod(0o755)
    keys.append(bundle(tree, [], version=VERSION, cache=tmp_path).key)
    (tree / "kernel-open" / "nv.c").write_text("int nv2;\n")
    keys.append(bundle(tree, [], version=VERSION, cache=tmp_path).key)
    assert len(set(keys)) == len(keys)


def test_a_second_bundle_changes_nothing(tree: Path, tmp_path: Path) -> None:
    assert plan(tree, [], version=VERSION, cache=tmp_path / "cache").changed
    assert not (tmp_path / "cache").exists()
    assert bundle(tree, [], version=VERSION, cache=tmp_path / "cache").changed
    assert not bundle(tree, [], version=VERSION, cache=tmp_path / "cache").changed


def test_another_version_is_refused_with_both_versions(tree: Path, tmp_path: Path) -> None:
    with pytest.raises(SourceRefused) as refusal:
        bundle(tree, [], version="595.58.04", cache=tmp_path / "cache")
    assert refusal.value.code == "driver_version_mismatch"
    assert VERSION in refusal.value.read
    assert "595.58.04" in refusal.value.want
    assert not (tmp_path / "cache").exists()


def test_a_missing_source_or_patch_is_refused_by_name(tree: Path, tmp_path: Path) -> None:
    with pytest.raises(SourceRefused, match="driver_source_missing"):
        bundle(tmp_path / "nowhere", [], version=VERSION, cache=tmp_path)
    with pytest.raises(SourceRefused, match="patch_missing"):
        bundle(tree, [tmp_path / "no.patch"], version=VERSION, cache=tmp_path)


def test_an_archive_that_climbs_out_is_refused(tmp_path: Path) -> None:
    packed = tmp_path / "evil.tar"
    (tmp_path / "f").write_text("x")
    with tarfile.open(packed, "w") as archive:
        archive.add(tmp_path / "f", arcname="a/../../f")
    with pytest.raises(SourceRefused, match="driver_source_unsafe"):
        bundle(packed, [], version=VERSION, cache=tmp_path)
