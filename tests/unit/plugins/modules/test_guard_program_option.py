# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""p2p_guard asks for its program only where the installed one is another."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.gpufleet.p2p.plugins.module_utils._guard import service
from ansible_collections.gpufleet.p2p.plugins.modules import p2p_guard


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The installed program's place, and a service that tells what it was given."""
    path = tmp_path / "gpufleet-guard"
    monkeypatch.setattr(p2p_guard, "PROGRAM", path)

    def present(wanted: service.Wanted, *_: object, **__: object) -> service.Outcome:
        return service.Outcome((wanted.program.decode(),), (), None, (), ())

    monkeypatch.setattr(service, "present", present)
    return path


def call(capsys: pytest.CaptureFixture[str], **options: Any) -> dict[str, Any]:
    with patch_module_args(options), pytest.raises(SystemExit):
        p2p_guard.main()
    result: dict[str, Any] = json.loads(capsys.readouterr().out)
    return result


def test_the_same_program_is_not_asked_for(
    installed: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    installed.write_bytes(b"installed")
    digest = hashlib.sha256(b"installed").hexdigest()
    assert call(capsys, program_sha256=digest)["actions"] == ["installed"]


@pytest.mark.parametrize("content", [None, b"older"])
def test_another_program_or_none_is_asked_for_and_nothing_is_done(
    installed: Path, capsys: pytest.CaptureFixture[str], content: bytes | None
) -> None:
    if content is not None:
        installed.write_bytes(content)
    result = call(capsys, program_sha256=hashlib.sha256(b"newer").hexdigest())
    assert result["program_wanted"] is True
    assert not result["changed"]
    assert "actions" not in result


def test_a_program_that_was_sent_is_taken(
    installed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    installed.write_bytes(b"older")
    sent = tmp_path / "sent"
    sent.write_bytes(b"newer")
    assert call(capsys, program=str(sent))["actions"] == ["newer"]


def test_one_of_both_is_needed(installed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = call(capsys)
    assert result["failed"]
    assert "program_sha256" in result["msg"]
