# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The driver's own state files, cut short or of somebody else: named, and nothing is lost."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.gpufleet.p2p.plugins.module_utils._driver import initramfs, install
from ansible_collections.gpufleet.p2p.plugins.module_utils._driver.dkms import (
    DkmsPackage,
    DkmsTrees,
)
from ansible_collections.gpufleet.p2p.plugins.module_utils._driver.initramfs import Initramfs
from ansible_collections.gpufleet.p2p.plugins.module_utils._driver.install import Target
from ansible_collections.gpufleet.p2p.plugins.module_utils._driver.userspace_record import (
    Held,
    parse_held,
    read_held,
)
from ansible_collections.gpufleet.p2p.plugins.module_utils._host.state_file import StateUnreadable
from hypothesis import given
from hypothesis import strategies as st

KERNEL = "6.1.0-56-amd64"
JOURNAL = {"files": ["updates/dkms/nvidia.ko"], "active": "x/y", "package": "gpufleet-nvidia"}
IMAGE = {"previous": "a" * 64, "refreshed": "b" * 64}
HELD = json.loads(Held({"libcuda1": "install"}, False, {"libcuda1": "1"}).as_json())


def target(root: Path) -> Target:
    trees = DkmsTrees(root / "dkms", root / "src", root / "modules")
    return Target(DkmsPackage("gpufleet-nvidia", "595.58.03", trees), KERNEL, root / "state", root)


def image(root: Path) -> Initramfs:
    return Initramfs(KERNEL, root / "boot", root / "state", root)


#: By name: what is read, the file, and a content that is right.
READERS: dict[str, tuple[Callable[[Path], object], Callable[[Path], Path], Any]] = {
    "journal": (lambda r: install.read_journal(target(r)), lambda r: target(r).journal, JOURNAL),
    "image": (lambda r: initramfs.refresh(image(r)), lambda r: image(r).record, IMAGE),
    "userspace": (lambda r: read_held(r / "held.json"), lambda r: r / "held.json", HELD),
}


def written(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


@pytest.fixture
def stale_image(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Let the image be stale, so that its record is asked for."""
    monkeypatch.setattr(initramfs, "stale_parts", lambda *_: ("nvidia",))
    written(image(tmp_path).image, b"image")


@pytest.mark.usefixtures("stale_image")
@pytest.mark.parametrize("name", READERS)
def test_cut_short_anywhere_it_is_told(tmp_path: Path, name: str) -> None:
    read, place, content = READERS[name]
    whole = json.dumps(content).encode()
    for length in range(len(whole)):
        written(place(tmp_path), whole[:length])
        with pytest.raises(StateUnreadable) as caught:
            read(tmp_path)
        assert str(place(tmp_path)) in caught.value.read
        assert caught.value.want
        assert caught.value.remedy


@pytest.mark.parametrize("name", ["journal", "userspace"])
def test_without_the_file_nothing_was_noted(tmp_path: Path, name: str) -> None:
    assert READERS[name][0](tmp_path) in (install.Journal((), None), Held())


documents = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=6,
)


@given(
    st.sampled_from(["journal", "userspace"]), st.sampled_from([None, *JOURNAL, *HELD]), documents
)
def test_other_json_is_refused_or_of_the_right_form(
    tmp_path_factory: pytest.TempPathFactory, name: str, key: str | None, value: Any
) -> None:
    root = tmp_path_factory.getbasetemp() / "states"
    read, place, content = READERS[name]
    document = value if key is None else {**content, key: value}
    written(place(root), json.dumps(document).encode())
    try:
        found = read(root)
    except StateUnreadable as error:
        assert str(place(root)) in error.read
        return
    if isinstance(found, install.Journal):
        # Nothing outside of what DKMS installs to is ever written or removed by a journal.
        assert {str(Path(file).parent) for file in found.files} <= set(install.DESTINATIONS)
    else:
        assert isinstance(found, Held)


@pytest.mark.parametrize(
    "file", ["../../../../etc/passwd", "/etc/passwd", "updates/dkms/../../x.ko", "kernel/nvidia.ko"]
)
def test_a_journal_leads_nowhere_else(tmp_path: Path, file: str) -> None:
    written(target(tmp_path).journal, json.dumps({**JOURNAL, "files": [file]}).encode())
    with pytest.raises(StateUnreadable, match="outside of the directories"):
        install.roll_back(target(tmp_path))


def test_a_damaged_journal_rolls_nothing_back(tmp_path: Path) -> None:
    module = tmp_path / "modules" / KERNEL / "updates/dkms/nvidia.ko"
    written(module, b"half")
    written(target(tmp_path).journal, b'{"files": [')
    with pytest.raises(StateUnreadable):
        install.roll_back(target(tmp_path))
    # Without knowing what was there before, removing would be a guess.
    assert module.read_bytes() == b"half"
    assert target(tmp_path).journal.exists()


def test_a_record_of_the_release_before_is_read() -> None:
    older = {name: value for name, value in HELD.items() if name != "versions"}
    assert parse_held(older) == Held({"libcuda1": "install"})
