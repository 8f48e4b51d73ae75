# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A build fetched, held to its lock, packed and described."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.gpufleet.p2p.plugins.module_utils._driver.lock import (
    LockInvalid,
    LockMismatch,
    parse_lock,
)
from ansible_collections.gpufleet.p2p.plugins.module_utils._driver.locked_source import (
    locked_source,
)
from ansible_collections.gpufleet.p2p.plugins.module_utils._driver.source import SourceRefused
from ansible_collections.gpufleet.p2p.plugins.module_utils._host.files import sha256_of
from support.driver_remotes import Remote

VERSION = "570.86.16"


@pytest.fixture
def remote(tmp_path: Path) -> Remote:
    return Remote(tmp_path / "fork", version=VERSION, branch=f"{VERSION}-p2p", adapted=False)


@pytest.fixture
def patch(remote: Remote, tmp_path: Path) -> Path:
    """Return a patch file that adapts the source to the newer kernels."""
    name = "kernel-open/nvidia/nv-pci.c"
    before = (remote.path / name).read_text()
    after = before.replace("size)", "size, 0)")
    lines = difflib.unified_diff(
        before.splitlines(True), after.splitlines(True), f"a/{name}", f"b/{name}"
    )
    path = tmp_path / "adapt.patch"
    path.write_text("".join(lines))
    return path


def build(remote: Remote, *patches: Path) -> dict[str, Any]:
    return {
        "version": VERSION,
        "source": {"git": remote.url, "commit": remote.head()},
        "patches": [{"path": str(path), "sha256": sha256_of(path)} for path in patches],
    }


def lock_of(data: dict[str, Any], cache: Path, **changes: Any) -> dict[str, Any]:
    result = locked_source(data, None, cache)
    lock = {"schema": 1, "choice": "x", "build": result["build"], "content": result["key"]}
    return {**lock, **changes}


def test_the_description_is_that_of_the_patched_source(
    remote: Remote, patch: Path, tmp_path: Path
) -> None:
    plain = locked_source(build(remote), None, tmp_path / "cache")
    assert plain["description"] == {
        "version": VERSION,
        "prebuilt": False,
        "modules": ["nvidia"],
        "resize_arguments": [3],
    }
    patched = locked_source(build(remote, patch), None, tmp_path / "cache")
    assert patched["description"]["resize_arguments"] == [4]
    assert plain["key"] != patched["key"]
    assert patched["patches"] == [str(patch)]


def test_a_second_run_finds_everything_in_the_cache(remote: Remote, tmp_path: Path) -> None:
    data = build(remote)
    first = locked_source(data, None, tmp_path / "cache")
    remote.path.rename(tmp_path / "moved")
    second = locked_source(data, None, tmp_path / "cache")
    assert first["changed"] and not second["changed"]
    assert {**first, "changed": False} == second


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"version": "595.58.03"}'])
def test_a_damaged_description_in_the_cache_is_made_anew(
    remote: Remote, tmp_path: Path, text: str
) -> None:
    first = locked_source(build(remote), None, tmp_path / "cache")
    kept = tmp_path / "cache" / f"{first['key']}.json"
    whole = kept.read_text()
    kept.write_text(text)
    assert (
        locked_source(build(remote), None, tmp_path / "cache")["description"]
        == (first["description"])
    )
    assert kept.read_text() == whole


def test_a_patch_for_another_source_is_refused_before_any_build(
    remote: Remote, patch: Path, tmp_path: Path
) -> None:
    patch.write_text(patch.read_text().replace("return", "retrun"))
    with pytest.raises(SourceRefused, match=r"patch_does_not_apply.*adapt\.patch"):
        locked_source(build(remote, patch), None, tmp_path / "cache")


def test_what_was_locked_passes_from_a_mirror_and_a_copy_of_the_patch_too(
    remote: Remote, patch: Path, tmp_path: Path
) -> None:
    data = build(remote, patch)
    lock = lock_of(data, tmp_path / "cache")
    copy = patch.rename(tmp_path / "moved.patch")
    data["patches"] = [{"path": str(copy), "sha256": sha256_of(copy)}]
    assert locked_source(data, lock, tmp_path / "other")["key"] == lock["content"]
    registry = {**data, "registry": {"PeerMappingOverride": 1}, "userspace": "packages"}
    result = locked_source(registry, lock, tmp_path / "other")
    assert result["module_parameters"] == {"NVreg_RegistryDwords": "PeerMappingOverride=1"}


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"version": "570.124.06"}, "p2p_driver.version: 570.124.06"),
        ({"patches": []}, r"p2p_driver.patches: \[\]"),
        ({"source": {"path": "/srv/other"}}, "p2p_driver.source: {'path': '/srv/other'}"),
    ],
)
def test_what_differs_from_the_lock_is_refused_before_a_fetch(
    remote: Remote, patch: Path, tmp_path: Path, change: dict[str, Any], place: str
) -> None:
    data = build(remote, patch)
    lock = lock_of(data, tmp_path / "cache")
    with pytest.raises(LockMismatch, match=f"driver_lock_mismatch: read {place}"):
        locked_source({**data, **change}, lock, tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_content_that_differs_from_the_lock_is_refused(tmp_path: Path, remote: Remote) -> None:
    data = {"version": VERSION, "source": {"path": str(remote.path)}}
    lock = lock_of(data, tmp_path / "cache")
    locked_source(data, lock, tmp_path / "cache")
    remote.write("kernel-open/nvidia/nv.c", "int changed;\n")
    with pytest.raises(LockMismatch, match="driver_lock_content_mismatch") as caught:
        locked_source(data, lock, tmp_path / "cache")
    assert lock["content"] in caught.value.want


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"schema": 2}, "schema 2"),
        ({"content": "abc"}, "content 'abc'"),
        ({"build": {"version": "1"}}, r"p2p_driver_lock\.build\.version"),
    ],
)
def test_a_damaged_lock_is_told(
    remote: Remote, tmp_path: Path, changes: dict[str, Any], told: str
) -> None:
    lock = lock_of(build(remote), tmp_path / "cache", **changes)
    with pytest.raises(LockInvalid, match=told):
        parse_lock(lock)
    with pytest.raises(LockInvalid):
        parse_lock("lock")
