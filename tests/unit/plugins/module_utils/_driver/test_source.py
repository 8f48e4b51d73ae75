# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sources checked, copied, patched and keyed; patch, tar and bash are the real tools."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from ansible_collections.gpufleet.p2p.plugins.module_utils._driver import source
from ansible_collections.gpufleet.p2p.plugins.module_utils._driver.source import SourceRefused

VERSION = "595.58.03"
PATCH = """\
--- a/kernel-open/nvidia/nv.c
+++ b/kernel-open/nvidia/nv.c
@@ -1,3 +1,3 @@
 int first;
-int peer = 0;
+int peer = 1;
 int last;
"""


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Return a source tree of the forks' shape, with an RM source and two modules."""
    path = tmp_path / "tree"
    for directory in ("kernel-open/nvidia", "kernel-open/nvidia-uvm", "src/nvidia"):
        (path / directory).mkdir(parents=True)
    (path / "version.mk").write_text(f"NVIDIA_VERSION = {VERSION}\n")
    (path / "kernel-open/nvidia/nv.c").write_text("int first;\nint peer = 0;\nint last;\n")
    (path / "kernel-open/dkms.conf").write_text('PACKAGE_VERSION="__VERSION_STRING"\n')
    (path / "src/nvidia/Makefile").write_text("all:\n")
    return path


def code_of(error: pytest.ExceptionInfo[SourceRefused]) -> str:
    return error.value.code


def stage(tree: Path, scratch: Path, *patches: Path, version: str = VERSION):
    return source.staged(tree, patches, name="gpufleet-nvidia", version=version, scratch=scratch)


class TestInspect:
    def test_a_full_tree_and_the_modules_it_has(self, tree: Path) -> None:
        assert source.inspect(tree, VERSION) == source.SourceTree(
            tree, VERSION, prebuilt=False, modules=("nvidia", "nvidia-uvm")
        )

    def test_a_prebuilt_object_stands_for_its_source(self, tree: Path) -> None:
        shutil.rmtree(tree / "src")
        (tree / "kernel-open/nvidia/nv-kernel.o_binary").write_bytes(b"\x7fELF")
        assert source.inspect(tree, VERSION).prebuilt

    def test_neither_object_nor_source_is_refused(self, tree: Path) -> None:
        shutil.rmtree(tree / "src")
        with pytest.raises(SourceRefused) as error:
            source.inspect(tree, VERSION)
        assert code_of(error) == "source_incomplete"

    @pytest.mark.parametrize("version", ["595.58.04", "595.58"])
    def test_another_version_is_refused(self, tree: Path, version: str) -> None:
        with pytest.raises(SourceRefused) as error:
            source.inspect(tree, version)
        assert code_of(error) == "source_version_mismatch"
        assert VERSION in error.value.read


class TestStaged:
    def test_the_original_is_untouched_and_the_copy_goes_away(
        self, tree: Path, tmp_path: Path
    ) -> None:
        before = source.content_key(tree)
        patch = tmp_path / "peer.patch"
        patch.write_text(PATCH)
        with stage(tree, tmp_path / "scratch", patch) as staged:
            assert "peer = 1" in (staged.tree.path / "kernel-open/nvidia/nv.c").read_text()
            assert not (staged.tree.path / "kernel-open/dkms.conf").exists()
        assert source.content_key(tree) == before
        assert list((tmp_path / "scratch").iterdir()) == []

    def test_a_fork_and_a_patched_tag_of_the_same_content_are_the_same_build(
        self, tree: Path, tmp_path: Path
    ) -> None:
        patch = tmp_path / "peer.patch"
        patch.write_text(PATCH)
        fork = tmp_path / "fork"
        shutil.copytree(tree, fork)
        subprocess.run(["patch", "-sp1", "-i", str(patch)], cwd=fork, check=True)
        with stage(tree, tmp_path / "s", patch) as one, stage(fork, tmp_path / "s") as other:
            assert one.key == other.key
        with stage(tree, tmp_path / "s") as unpatched:
            assert unpatched.key != one.key

    def test_leftovers_of_a_build_and_version_control_do_not_count(
        self, tree: Path, tmp_path: Path
    ) -> None:
        with stage(tree, tmp_path / "s") as clean:
            key = clean.key
        for name in ("kernel-open/nvidia/nv.o", "kernel-open/nvidia.ko", ".gitignore"):
            (tree / name).write_text("left over")
        (tree / "kernel-open/nvidia/nv-kernel.o_binary").symlink_to("../../src/nvidia/_out/x.o")
        (tree / "src/nvidia/_out").mkdir()
        (tree / ".git").mkdir()
        with stage(tree, tmp_path / "s") as dirty:
            assert dirty.key == key

    def test_a_tar_archive_is_the_same_build_as_its_directory(
        self, tree: Path, tmp_path: Path
    ) -> None:
        archive = tmp_path / "tree.tar.xz"
        subprocess.run(["tar", "-C", str(tmp_path), "-cJf", str(archive), "tree"], check=True)
        with stage(tree, tmp_path / "s") as one, stage(archive, tmp_path / "s") as other:
            assert one.key == other.key

    def test_a_patch_twice_is_refused_and_named(self, tree: Path, tmp_path: Path) -> None:
        patch = tmp_path / "peer.patch"
        patch.write_text(PATCH)
        with pytest.raises(SourceRefused) as error, stage(tree, tmp_path / "s", patch, patch):
            pass
        assert code_of(error) == "patch_does_not_apply"
        assert error.value.read.startswith("peer.patch")

    @pytest.mark.parametrize(
        ("name", "content", "code"),
        [
            ("nowhere.tar", None, "source_missing"),
            ("broken.tar.gz", b"\x1f\x8bnot gzip", "source_unreadable"),
        ],
    )
    def test_a_source_that_cannot_be_read_is_named(
        self, tmp_path: Path, name: str, content: bytes | None, code: str
    ) -> None:
        if content is not None:
            (tmp_path / name).write_bytes(content)
        with pytest.raises(SourceRefused) as error, stage(tmp_path / name, tmp_path / "s"):
            pass
        assert code_of(error) == code


class TestDkmsConf:
    def sourced(self, tree: Path, cores: int, free_mebibytes: int, script: str) -> str:
        """Return what bash makes of our dkms.conf with the variables that dkms sets."""
        conf = source.dkms_conf(source.inspect(tree, VERSION), "gpufleet-nvidia")
        conf = conf.replace("/proc/meminfo", str(tree / "meminfo"))
        (tree / "meminfo").write_text(f"MemAvailable: {free_mebibytes * 1024} kB\n")
        set_by_dkms = f"parallel_jobs={cores} kernelver=6.1.0-56 kernel_source_dir={tree}/build\n"
        command = ["bash", "-uc", set_by_dkms + conf + script]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    @pytest.mark.parametrize(
        ("cores", "free", "jobs"), [(2, 64000, 2), (64, 8192, 8), (16, 100, 1), (1, 1024, 1)]
    )
    def test_jobs_are_capped_by_cores_and_memory(
        self, tree: Path, cores: int, free: int, jobs: int
    ) -> None:
        assert f" -j{jobs} " in self.sourced(tree, cores, free, 'echo "${MAKE[0]}"')

    def test_split_headers_are_both_named(self, tree: Path) -> None:
        (tree / "source").mkdir()
        make = self.sourced(tree, 2, 8192, 'echo "${MAKE[0]}"').strip()
        assert make == (
            f"'make' -j2 KERNEL_UNAME=6.1.0-56 SYSSRC={tree}/source SYSOUT={tree}/build modules"
        )

    def test_headers_in_one_piece_are_both(self, tree: Path) -> None:
        make = self.sourced(tree, 2, 8192, 'echo "${MAKE[0]}"')
        assert f"SYSSRC={tree}/build SYSOUT={tree}/build" in make

    def test_only_the_modules_that_the_tree_has(self, tree: Path) -> None:
        names = self.sourced(tree, 1, 8192, 'echo "${BUILT_MODULE_NAME[@]}"')
        assert names.split() == ["nvidia", "nvidia-uvm"]
