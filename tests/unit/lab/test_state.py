# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a lab remembers, and what it remembered in earlier releases."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from gpufleet.lab.description import read_description
from gpufleet.lab.kind import GuestKind
from gpufleet.lab.state import LabRefused, LabState, one_release, read_state

HOSTS = Path(__file__).parents[3] / "lab" / "hosts"
ALPHA, BETA = (read_description(HOSTS / f"{name}.json") for name in ("alpha", "beta"))
TRIXIE = replace(ALPHA, name="gamma", kind=GuestKind("trixie"))
STATE = LabState((ALPHA, BETA), {"alpha": "/a.raw", "beta": "/b.raw"}, True, {"alpha": 1})


def test_what_was_written_is_read(tmp_path: Path) -> None:
    (tmp_path / "state.json").write_bytes(STATE.as_bytes())
    assert read_state(tmp_path / "state.json") == STATE


def test_no_file_is_no_lab(tmp_path: Path) -> None:
    assert read_state(tmp_path / "state.json") is None


def test_a_lab_from_when_there_was_one_image_stands_on_that(tmp_path: Path) -> None:
    document = json.loads(STATE.as_bytes())
    del document["images"]
    (tmp_path / "state.json").write_text(json.dumps({**document, "image": "/one.raw"}))
    state = read_state(tmp_path / "state.json")
    assert state is not None
    assert state.images == {"alpha": "/one.raw", "beta": "/one.raw"}


def test_firmware_and_boot_loader_may_differ_within_a_lab_but_not_the_release() -> None:
    efi = replace(BETA, kind=GuestKind("bookworm", "efi", "systemd-boot"))
    assert one_release([ALPHA, efi]) == "bookworm"
    with pytest.raises(LabRefused) as caught:
        one_release([ALPHA, TRIXIE])
    assert caught.value.read == "alpha runs bookworm, gamma runs trixie"
