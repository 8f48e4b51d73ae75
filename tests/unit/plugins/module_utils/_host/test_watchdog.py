# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is told of a watchdog, by the files of the host."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.gpufleet.p2p.plugins.module_utils._host.watchdog import (
    PARAMETER,
    TIMEOUT_SECONDS,
    read_watchdog,
)


def host(root: Path, *, state: str | None, identity: str | None, manager: bytes) -> Path:
    """Lay out a host with a watchdog; None leaves a file out."""
    device = root / "sys/class/watchdog/watchdog0"
    device.mkdir(parents=True)
    for name, text in (("state", state), ("identity", identity)):
        if text is not None:
            (device / name).write_text(text + "\n")
    program = root / "lib/systemd/systemd"
    program.parent.mkdir(parents=True)
    program.write_bytes(manager)
    return root


def test_none(tmp_path: Path) -> None:
    assert read_watchdog(tmp_path) is None


@pytest.mark.parametrize(
    ("state", "manager", "seconds", "words"),
    [
        ("inactive", PARAMETER.encode(), TIMEOUT_SECONDS, "iTCO_wdt resets a kernel or systemd"),
        ("active", PARAMETER.encode(), 0, "iTCO_wdt is in use"),
        ("inactive", b"systemd 247", 0, "takes no systemd.watchdog_sec"),
        (None, PARAMETER.encode(), TIMEOUT_SECONDS, "from systemd's start"),
    ],
)
def test_what_it_does_in_a_trial(
    tmp_path: Path, state: str | None, manager: bytes, seconds: int, words: str
) -> None:
    found = read_watchdog(host(tmp_path, state=state, identity="iTCO_wdt", manager=manager))
    assert found is not None
    assert found.trial_seconds == seconds
    assert words in found.in_words


def test_a_kernel_that_does_not_show_its_name(tmp_path: Path) -> None:
    found = read_watchdog(host(tmp_path, state=None, identity=None, manager=b""))
    assert found is not None
    assert found.identity == "unknown"
