# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What NVIDIA's installer says that it brings."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from ansible_collections.gpufleet.p2p.plugins.module_utils._driver.runfile import (
    inspect,
    release_of,
)

HEAD = b"""\
#! /bin/sh
skip=1162
label="NVIDIA Accelerated Graphics Driver for Linux-x86_64 595.58.03"
version_string=1.0
script=./nvidia-installer
"""


@pytest.mark.parametrize(
    ("head", "name", "release"),
    [
        (HEAD, "installer.run", "595.58.03"),
        # Its own word counts, not what somebody named the file.
        (HEAD, "NVIDIA-Linux-x86_64-610.43.02.run", "595.58.03"),
        (b"#!/bin/sh\n", "NVIDIA-Linux-x86_64-610.43.02.run", "610.43.02"),
        (b"#!/bin/sh\n", "NVIDIA-Linux-aarch64-595.58.03-no-compat32.run", "595.58.03"),
        (b"#!/bin/sh\n", "installer.run", None),
        (b'label="Something else 1.2.3"\n', "installer.run", None),
    ],
)
def test_release(head: bytes, name: str, release: str | None) -> None:
    assert release_of(head, name) == release


def test_the_file_and_its_checksum(tmp_path: Path) -> None:
    path = tmp_path / "installer.run"
    path.write_bytes(HEAD)
    digest = hashlib.sha256(HEAD).hexdigest()
    good = inspect(str(path), digest)
    assert (good.release, good.sha256, good.is_the_one) == ("595.58.03", digest, True)
    assert not inspect(str(path), "0" * 64).is_the_one
    missing = inspect(str(tmp_path / "none.run"), digest)
    assert (missing.sha256, missing.release, missing.is_the_one) == (None, None, False)
