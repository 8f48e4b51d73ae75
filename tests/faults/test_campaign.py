# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host is found with has a name, and the committed record is what the page shows."""

from __future__ import annotations

from pathlib import Path

from faults.campaign import product_key
from faults.judgement import compared
from faults.record import read_record, table
from faults.tracing import MODULES, Known

HERE = Path(__file__).parent
PAGE = HERE.parents[1] / "docs/faults.md"


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
