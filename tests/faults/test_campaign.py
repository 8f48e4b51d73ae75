# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every step is struck, kinds come early, and the committed record is what the page shows."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from faults.campaign import dealt_out, product_key
from faults.judgement import compared
from faults.record import PRODUCT, read_record, table
from faults.stages import Stage
from faults.strikes import catalogue
from faults.subjects import SUBJECTS
from faults.tracing import MODULES, Known

HERE = Path(__file__).parent
PAGE = HERE.parents[1] / "docs/faults.md"


def stages_of(subject: str) -> list[Stage]:
    acting = [step for step in SUBJECTS[subject] if not step.idle]
    return [Stage(step, Path("disk"), "", {}) for step in acting]


def test_the_catalogue_names_each_fault_once() -> None:
    names = Counter((fault.kind, fault.variant) for fault in catalogue())
    assert set(names.values()) == {1}
    assert len({kind for kind, _ in names}) >= 11


def test_every_fault_strikes_every_step_once_and_all_kinds_come_in_the_first_round() -> None:
    before = stages_of(PRODUCT)
    faults = list(catalogue())
    pairs = [(fault.kind, fault.variant, stage.step.name) for fault, stage in dealt_out(before)]
    assert len(pairs) == len(set(pairs)) == len(faults) * len(before)
    assert {kind for kind, _, _ in pairs[: len(faults)]} == {fault.kind for fault in faults}


def test_a_set_of_modules_is_old_new_mixed_or_none() -> None:

    old, new = (dict.fromkeys(MODULES, build) for build in ("a", "b"))
    known = Known(drivers=[old, new])
    assert compared(old, known) == "old"
    assert compared(new, known) == "new"
    assert compared({**new, "nvidia-drm": "a"}, known) == "mixed"
    assert compared({**new, "nvidia-drm": ""}, known) == "none"


def test_the_page_shows_the_committed_record() -> None:
    record = read_record(HERE / "last_record.json")
    assert record.outcomes
    assert table(record.outcomes) in PAGE.read_text(encoding="utf-8")
    assert record.summary()["hosts_lost"] == 0


def test_the_product_is_named_by_its_files() -> None:
    assert product_key() == product_key()
    assert len(product_key()) == 12
