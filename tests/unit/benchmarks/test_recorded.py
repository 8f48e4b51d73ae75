# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What was measured on real GPUs: still readable, in agreement, and told as it was measured."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from ansible_collections.gpufleet.p2p.plugins.module_utils._p2p.result import Result

from benchmarks.p2p.comparison import table_lines

ROOT = Path(__file__).parents[3]
RESULT = ROOT / "tests/fixtures/measured/two_h200.json"
RECORDS = sorted((ROOT / "benchmarks/results").glob("p2p-*.json"))


def test_a_measured_result_is_read_and_written_without_loss() -> None:
    data = json.loads(RESULT.read_text())
    result = Result.from_dict(data)
    assert json.loads(json.dumps(result.to_dict())) == data
    assert result.verdict == "pass"
    assert [set(pair.correctness.states().values()) for pair in result.pairs] == [{"passed"}] * 2


def test_there_is_a_record() -> None:
    assert RECORDS


@pytest.mark.parametrize("record", RECORDS, ids=lambda path: path.stem)
def test_a_record_agrees_with_the_other_tools_as_the_page_says(record: Path) -> None:
    data = json.loads(record.read_text())
    judged = {row["figure"]: row["within"] for row in data["rows"] if row["tolerance"] is not None}
    assert len(judged) >= 10
    assert all(judged.values()), judged
    page = (ROOT / "benchmarks/README.md").read_text()
    assert "\n".join(table_lines(data, markdown=True)).strip() in page
