# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""gpufleet driver: the list, and locks of sources that lie on this machine."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.gpufleet.p2p.plugins.module_utils._driver.locked_source import (
    locked_source,
)
from ansible_collections.gpufleet.p2p.plugins.module_utils._host.files import sha256_of
from support.driver_remotes import Remote

from gpufleet import cli

CHOICE = "aikitoria-595.58.03"


@pytest.fixture
def remote(tmp_path: Path) -> Remote:
    return Remote(tmp_path / "mirror", version="595.58.03", branch="595.58.03-p2p")


@pytest.fixture
def lock_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path / "driver.lock.yml"


def lock(*options: str) -> int:
    return cli.main(["driver", "lock", *options])


def variables(path: Path) -> dict[str, Any]:
    return dict(yaml.safe_load(path.read_text()))


def test_the_list_shows_every_build(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["driver", "list", "--json"]) == 0
    builds = {build["name"]: build for build in json.loads(capsys.readouterr().out)["builds"]}
    assert builds["aikitoria-565.77"]["nvlink"] == "lost"
    assert {"from": "6.12.97", "distribution": None} in builds["aikitoria-565.77"]["breaks_on"]
    assert builds[CHOICE]["breaks_on"] == []
    assert cli.main(["driver", "list"]) == 0
    shown = capsys.readouterr().out
    assert all(name in shown for name in builds)
    assert "6.1.192+ (debian)" in shown


def test_a_branch_is_locked_to_its_head_and_the_lock_holds(
    remote: Remote, lock_file: Path, tmp_path: Path
) -> None:
    assert lock(CHOICE, "--mirror", remote.url) == 0
    written = variables(lock_file)
    assert written["p2p_driver"]["source"] == {"git": remote.url, "commit": remote.head()}
    assert written["p2p_driver"] == written["p2p_driver_lock"]["build"]
    result = locked_source(written["p2p_driver"], written["p2p_driver_lock"], tmp_path / "cache")
    assert result["key"] == written["p2p_driver_lock"]["content"]


def test_the_lock_stays_where_the_branch_moves_on(
    remote: Remote, lock_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = remote.head()
    remote.write("kernel-open/nvidia/nv.c", "int later;\n")
    assert lock(CHOICE, "--mirror", remote.url, "--commit", first) == 0
    assert variables(lock_file)["p2p_driver"]["source"]["commit"] == first
    assert f"is at {remote.head()} now" in capsys.readouterr().out


def test_an_upstream_tag_with_a_patch_file(remote: Remote, lock_file: Path) -> None:
    remote.git("tag", "595.58.03")
    remote.git("branch", "--move", "main")
    patch = lock_file.with_name("note.patch")
    patch.write_text("--- /dev/null\n+++ b/NOTE\n@@ -0,0 +1 @@\n+patched\n")
    options = ("--mirror", remote.url, "--patch", "note.patch", "--registry", "RMForceP2PType=bar1")
    assert lock("upstream-595.58.03", *options) == 0
    build = variables(lock_file)["p2p_driver"]
    assert build["patches"] == [{"path": str(patch), "sha256": sha256_of(patch)}]
    assert build["registry"] == {"RMForceP2PType": "bar1"}


def test_an_archive_and_the_same_content_from_git_have_one_content(
    remote: Remote, lock_file: Path
) -> None:
    archive = lock_file.with_name("driver.tar.gz")
    with tarfile.open(archive, "w:gz") as packed:
        packed.add(remote.path, arcname="driver-595.58.03")
    assert lock("--archive", str(archive), "--version", "595.58.03") == 0
    by_archive = variables(lock_file)["p2p_driver_lock"]
    assert by_archive["build"]["source"]["sha256"] == sha256_of(archive)
    assert lock("--git", remote.url, "--ref", "595.58.03-p2p", "--version", "595.58.03") == 0
    assert variables(lock_file)["p2p_driver_lock"]["content"] == by_archive["content"]


def test_a_second_lock_of_the_same_changes_nothing(
    remote: Remote, lock_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lock(CHOICE, "--mirror", remote.url)
    before = lock_file.read_bytes()
    capsys.readouterr()
    assert lock(CHOICE, "--mirror", remote.url) == 0
    assert "was up to date" in capsys.readouterr().out
    assert lock_file.read_bytes() == before


@pytest.mark.parametrize(
    ("options", "code", "exit_code"),
    [
        ((), "driver_choice_unclear", 2),
        (("nobody-595.58.03",), "driver_choice_unknown", 2),
        ((CHOICE, "--path", "/srv"), "driver_choice_unclear", 2),
        (("--git", "file:///nowhere", "--version", "595.58.03"), "driver_choice_unclear", 2),
        ((CHOICE, "--mirror", "file:///nowhere"), "driver_source_unavailable", 1),
        (("--archive", "/nowhere.tar", "--version", "595.58.03"), "driver_source_unavailable", 1),
        (("--path", "."), "driver_specification_invalid", 2),
        (("--path", ".", "--version", "595.58.03"), "driver_version_mismatch", 1),
        ((CHOICE, "--registry", "X"), "variables_malformed", 2),
    ],
)
def test_a_refusal_is_named_and_writes_nothing(
    lock_file: Path,
    capsys: pytest.CaptureFixture[str],
    options: tuple[str, ...],
    code: str,
    exit_code: int,
) -> None:
    assert lock(*options) == exit_code
    assert f"gpufleet: {code}" in capsys.readouterr().err
    assert not lock_file.exists()


def test_another_file_is_not_written_over(
    remote: Remote, lock_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lock_file.write_text("p2p_hosts: {}\n")
    assert lock(CHOICE, "--mirror", remote.url) == 2
    assert "output_occupied" in capsys.readouterr().err
    assert lock_file.read_text() == "p2p_hosts: {}\n"
