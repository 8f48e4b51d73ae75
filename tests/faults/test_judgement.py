# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An initramfs that nobody has seen before counts as whole only where it is read to its end."""

from __future__ import annotations

import zlib
from pathlib import Path

import pytest
from ansible_collections.gpufleet.p2p.plugins.module_utils._host.commands import CommandResult

from faults import judgement
from faults.judgement import Lost

PLACE = "/boot/initrd.img-6.1"
WHOLE = "init\nusr/lib/modules/6.1/virtio_blk.ko.xz\nusr/lib/modules/6.1/ext4.ko\n"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    path = tmp_path / PLACE.lstrip("/")
    path.parent.mkdir()
    path.write_bytes(b"an initramfs")
    return tmp_path


CRC = f"{zlib.crc32(b'an initramfs'):08x}"


def listed(monkeypatch: pytest.MonkeyPatch, rc: int, names: str) -> None:
    result = CommandResult((), rc, names, "")
    monkeypatch.setattr(judgement, "run", lambda *_, **__: result)


def test_a_whole_initramfs_is_one(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    listed(monkeypatch, 0, WHOLE)
    judgement.require_initramfs(root, PLACE, CRC)


@pytest.mark.parametrize(
    "case",
    [
        ("00000000", 0, WHOLE, "GRUB reads another"),
        (CRC, 1, WHOLE, "returned 1"),
        (CRC, 0, "init\n", "without .'ext4', 'virtio_blk'"),
    ],
)
def test_a_damaged_one_loses_the_host(
    case: tuple[str, int, str, str], root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    crc, rc, names, said = case
    listed(monkeypatch, rc, names)
    with pytest.raises(Lost, match=said):
        judgement.require_initramfs(root, PLACE, crc)
