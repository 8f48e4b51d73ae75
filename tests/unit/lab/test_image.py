# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The image's files: what is missing from them, and which layers kinds of guests share."""

from __future__ import annotations

from pathlib import Path

import pytest

from gpufleet.lab.image import Image, ImageFailed, kernel_file
from gpufleet.lab.kind import GuestKind
from gpufleet.lab.progress import Reporter


def image(tmp_path: Path, kind: GuestKind | None = None) -> Image:
    return Image(tmp_path / "images", tmp_path / "driver", Reporter(), kind)


def test_an_image_without_its_kernel_says_how_to_get_a_new_one(tmp_path: Path) -> None:
    with pytest.raises(ImageFailed, match="destroy --cache"):
        kernel_file(tmp_path)


def test_kinds_of_one_release_share_its_files_and_have_disks_of_their_own(tmp_path: Path) -> None:
    kinds = [GuestKind(), GuestKind(firmware="efi"), GuestKind("bookworm", "efi", "systemd-boot")]
    images = [image(tmp_path, kind) for kind in kinds]
    assert len({one.root_file_system for one in images}) == 1
    assert len({one.disk for one in images}) == 3


def test_releases_share_nothing(tmp_path: Path) -> None:
    images = [image(tmp_path, GuestKind(release)) for release in ("bullseye", "trixie")]
    assert images[0].root_file_system != images[1].root_file_system
    assert images[0].disk != images[1].disk


def test_efi_guests_alone_start_with_variables(tmp_path: Path) -> None:
    assert image(tmp_path).efi_variables is None
    efi = image(tmp_path, GuestKind(firmware="efi"))
    assert efi.efi_variables is not None
    assert efi.efi_variables.parent == efi.disk.parent
