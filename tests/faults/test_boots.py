# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which of the recorded faults are booted: of each kind in turn, and lost controls."""

from __future__ import annotations

from dataclasses import replace

from faults.__main__ import to_boot
from faults.campaign import Planned
from faults.record import BOOT, Outcome, Record
from faults.test_record import KEPT


def planned(name: str, subject: str = "product") -> Planned:
    def inject(_booted: bool) -> Outcome:
        raise AssertionError(f"{name} is chosen only")

    kind = name[0]
    return Planned(name, kind, subject, inject)


def test_kinds_that_were_not_booted_on_any_release_come_first() -> None:
    record = Record(
        [
            replace(KEPT, id="a1", kind="a", release="trixie", judged=BOOT),
            *(replace(KEPT, id=name, kind=name[0]) for name in ("a2", "b1", "b2", "c1")),
            replace(KEPT, id="b3", kind="b", subject="control"),
            replace(KEPT, id="b4", kind="b", subject="control", driver="none"),
        ]
    )
    faults = [planned(name) for name in ("a2", "b1", "b2", "c1", "not recorded")]
    faults += [planned(name, "control") for name in ("b3", "b4")]
    assert [one.id for one in to_boot(iter(faults), record, 1)] == ["b1", "c1", "b4"]
    assert [one.id for one in to_boot(iter(faults), record, 2)] == ["a2", "b1", "b2", "c1", "b4"]
