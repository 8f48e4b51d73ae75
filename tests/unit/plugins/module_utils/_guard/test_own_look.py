# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The guard's look is ended where systemd runs, and what does not end is not waited for."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.gpufleet.p2p.plugins.module_utils._guard import own_look
from ansible_collections.gpufleet.p2p.plugins.module_utils._host.commands import CommandTimedOut


def test_a_host_without_systemd_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(own_look, "run", lambda *_, **__: pytest.fail("called"))
    own_look.end_own_look(tmp_path)


@pytest.mark.parametrize("hangs", [False, True])
def test_the_service_is_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, hangs: bool
) -> None:
    (tmp_path / "run/systemd/system").mkdir(parents=True)
    called = []

    def run(words: list[str], **_: object) -> None:
        called.append(words)
        if hangs:
            raise CommandTimedOut("command_timed_out", read="a", want="b", remedy="c")

    monkeypatch.setattr(own_look, "run", run)
    own_look.end_own_look(tmp_path)
    assert called == [["systemctl", "stop", "gpufleet-guard.service"]]
