# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sources from git, archives and patch files, with repositories on this machine as the remotes."""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest
from ansible_collections.gpufleet.p2p.plugins.module_utils._driver.fetch import (
    SourceUnavailable,
    checkout,
    download,
    obtain,
    resolve,
)
from ansible_collections.gpufleet.p2p.plugins.module_utils._driver.specification import parse
from ansible_collections.gpufleet.p2p.plugins.module_utils._host.files import sha256_of
from support.driver_remotes import Remote


@pytest.fixture
def remote(tmp_path: Path) -> Remote:
    return Remote(tmp_path / "fork", version="595.58.03", branch="595.58.03-p2p")


class TestResolve:
    def test_a_branch_gives_its_head(self, remote: Remote) -> None:
        assert resolve(remote.url, ["refs/heads/595.58.03-p2p"]) == remote.head()

    def test_an_annotated_tag_gives_the_commit_and_not_the_tag(self, remote: Remote) -> None:
        remote.git("tag", "-a", "-m", "release", "595.58.03")
        assert resolve(remote.url, ["refs/tags/595.58.03"]) == remote.head()

    def test_the_first_reference_that_exists_is_taken(self, remote: Remote) -> None:
        found = resolve(remote.url, ["refs/tags/none", "refs/heads/595.58.03-p2p"])
        assert found == remote.head()

    def test_a_missing_reference_is_told_by_its_name(self, remote: Remote) -> None:
        with pytest.raises(SourceUnavailable, match=r"driver_reference_missing.*refs/heads/other"):
            resolve(remote.url, ["refs/heads/other"])

    def test_a_missing_remote_is_told_by_its_address(self, tmp_path: Path) -> None:
        with pytest.raises(SourceUnavailable, match=r"driver_source_unavailable.*nowhere"):
            resolve(f"file://{tmp_path}/nowhere", ["HEAD"])


class TestCheckout:
    def test_the_files_of_the_commit_and_no_history(self, remote: Remote, tmp_path: Path) -> None:
        first = remote.head()
        remote.write("kernel-open/nvidia/nv.c", "int later;\n")
        folder = checkout(remote.url, first, tmp_path / "cache", reference="595.58.03-p2p")
        assert (folder / "kernel-open/nvidia/nv.c").read_text() == "int nv;\n"
        assert not (folder / ".git").exists()
        assert [path.name for path in folder.parent.iterdir()] == [first]

    def test_a_commit_in_the_cache_needs_no_remote(self, remote: Remote, tmp_path: Path) -> None:
        commit = remote.head()
        first = checkout(remote.url, commit, tmp_path / "cache")
        remote.path.rename(tmp_path / "moved")
        assert checkout(remote.url, commit, tmp_path / "cache") == first

    def test_a_commit_that_is_not_there_leaves_nothing(
        self, remote: Remote, tmp_path: Path
    ) -> None:
        with pytest.raises(SourceUnavailable, match="driver_source_unavailable"):
            checkout(remote.url, "0" * 40, tmp_path / "cache")
        assert list((tmp_path / "cache/git").iterdir()) == []

    def test_hooks_of_this_machine_do_not_run(
        self, remote: Remote, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        template = tmp_path / "template/hooks"
        template.mkdir(parents=True)
        hook = template / "post-checkout"
        hook.write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n")
        hook.chmod(0o755)
        monkeypatch.setenv("GIT_TEMPLATE_DIR", str(template.parent))
        checkout(remote.url, remote.head(), tmp_path / "cache")
        assert not (tmp_path / "ran").exists()


class TestDownload:
    def test_a_url_is_kept_by_its_checksum(self, tmp_path: Path) -> None:
        (tmp_path / "a b.patch").write_text("text")
        sha256 = sha256_of(tmp_path / "a b.patch")
        url = (tmp_path / "a b.patch").as_uri()
        kept = download(url, tmp_path / "cache", sha256=sha256)
        assert kept == tmp_path / "cache/downloads" / sha256
        (tmp_path / "a b.patch").unlink()
        assert download(url, tmp_path / "cache", sha256=sha256).read_text() == "text"

    @pytest.mark.parametrize("as_url", [True, False])
    def test_another_checksum_is_refused_and_not_kept(self, tmp_path: Path, as_url: bool) -> None:
        path = tmp_path / "source.tar"
        path.write_text("changed")
        location = path.as_uri() if as_url else str(path)
        with pytest.raises(SourceUnavailable, match="driver_checksum_mismatch") as caught:
            download(location, tmp_path / "cache", sha256="ab" * 32)
        assert sha256_of(path) in caught.value.read
        assert not list(tmp_path.glob("cache/downloads/*"))

    def test_what_was_damaged_in_the_cache_is_refused(self, tmp_path: Path) -> None:
        path = tmp_path / "source.tar"
        path.write_text("good")
        sha256 = sha256_of(path)
        download(path.as_uri(), tmp_path / "cache", sha256=sha256).write_text("bad")
        with pytest.raises(SourceUnavailable, match="driver_checksum_mismatch"):
            download(path.as_uri(), tmp_path / "cache", sha256=sha256)

    @pytest.mark.parametrize("location", ["{}/none", "file://{}/none", "http://127.0.0.1:9/none"])
    def test_what_cannot_be_read_is_told(self, tmp_path: Path, location: str) -> None:
        with pytest.raises(SourceUnavailable, match=r"driver_source_unavailable.*none"):
            download(location.format(tmp_path), tmp_path / "cache")


def test_upstream_tag_with_patch_files(remote: Remote, tmp_path: Path) -> None:
    remote.git("tag", "595.58.03")
    patch = tmp_path / "p2p.patch"
    patch.write_text("--- a/x\n")
    build = parse(
        {
            "version": "595.58.03",
            "source": {"git": remote.url, "commit": remote.head()},
            "patches": [
                {"path": str(patch), "sha256": sha256_of(patch)},
                {"url": patch.as_uri(), "sha256": sha256_of(patch)},
            ],
        }
    )
    obtained = obtain(build, tmp_path / "cache")
    assert (obtained.source / "version.mk").is_file()
    assert [path.read_text() for path in obtained.patches] == ["--- a/x\n"] * 2
    patch.write_text("--- a/y\n")
    with pytest.raises(SourceUnavailable, match="driver_checksum_mismatch"):
        obtain(build, tmp_path / "cache")


def test_an_archive_by_path(remote: Remote, tmp_path: Path) -> None:
    archive = tmp_path / "source.tar.gz"
    with tarfile.open(archive, "w:gz") as packed:
        packed.add(remote.path, arcname="fork-595.58.03")
    source = {"archive": str(archive), "sha256": sha256_of(archive)}
    build = parse({"version": "595.58.03", "source": source})
    assert obtain(build, tmp_path / "cache").source == archive
