# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The table of docs/verification.md on what other tools say, tried row by row.

Every row is a fault of the simulated driver or a state of its host. On each, p2p_verify and the
methods of p2pBandwidthLatencyTest and nvbandwidth run against the same libraries, and must say
what the table has.
"""

from __future__ import annotations

import json
import re
import signal
import statistics
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.gpufleet.p2p.plugins.module_utils._p2p.result import Result
from support.host_tree import HostTree, build_host_tree, load_description
from support.simulated_gpus import environment_for, verify_in

REPOSITORY = Path(__file__).resolve().parents[3]
PAGE = REPOSITORY / "docs/verification.md"
LAB_PAGE = REPOSITORY / "lab/simulated_driver/README.md"
TOOLS = REPOSITORY / "tests/support/other_tools"
FAULTS_HEADER = "| Fault | What it does | What it stands for |"
HEADER = "| Fault or state | p2pBandwidthLatencyTest | nvbandwidth | p2p_verify |"
LIMIT_SECONDS = 120
# Codes of pairs of which a part was not judged: no wrong data was seen.
WARNED = ("no_jit", "ptx_too_new", "ipc_unsupported")

# Rows that are no faults: build_host_tree's options, and a change of the description.
STATES: dict[str, tuple[dict[str, Any], Callable[[dict[str, Any]], None] | None]] = {
    "the IOMMU translates": ({"iommu": "DMA-FQ"}, None),
    "the stock module is loaded": ({"patched": False, "build_id": "0123456789" * 4}, None),
    "BAR1 is smaller than the memory": (
        {},
        lambda description: description["gpus"][1].update(bar1_bytes=256 << 20),
    ),
}


@dataclass(frozen=True)
class Row:
    """One row of the page's table."""

    name: str
    classic: str
    nvbandwidth: str
    code: str


def table(page: Path, header: str) -> list[list[str]]:
    """Return the cells of the table under a header line, without the backticks."""
    lines = page.read_text().splitlines()
    cells = []
    for line in lines[lines.index(header) + 2 :]:
        if not line.startswith("|"):
            break
        cells.append([cell.strip().replace("`", "") for cell in line.strip("|").split("|")])
    return cells


ROWS = [Row(*cells) for cells in table(PAGE, HEADER)]
FAULTS = [row for row in ROWS if row.name not in STATES]


@dataclass(frozen=True)
class Answer:
    """What a tool printed and how it ended."""

    figures: dict[str, float]
    waived: list[str]
    error: int | None
    status: int

    def words(self, usual: Answer) -> str:
        """Return it as a user reads it, beside the same tool's answer without a fault."""
        if self.status == -signal.SIGALRM:
            return "hangs"
        if self.status:
            return "wrong data, stops" if self.error is None else f"error {self.error}"
        assert self.figures.keys() == usual.figures.keys() or self.waived
        if not self.figures:
            return "nothing: tests are waived, exit status 0"
        if self.waived:
            return "cannot access; figures of staged copies"
        ratios = [
            value / usual.figures[name]
            for name, value in self.figures.items()
            if "off" not in name and "latency" not in name
        ]
        assert max(ratios) < 1.05 * min(ratios), "one word for all figures"
        ratio = statistics.median(ratios)
        return "usual figures" if abs(ratio - 1) < 0.05 else f"{ratio:.2g} times the usual figures"


def ask(tool: str, environment: dict[str, str]) -> Answer:
    """Run a tool's method and return its answer."""
    done = subprocess.run(
        [sys.executable, str(TOOLS / f"{tool}.py")],
        env={**environment, "PYTHONPATH": str(REPOSITORY / "tests")},
        capture_output=True,
        text=True,
        check=False,
        timeout=LIMIT_SECONDS,
    )
    records = [json.loads(line) for line in done.stdout.splitlines()]
    errors = [record for record in records if "error" in record]
    assert done.returncode in (0, -signal.SIGALRM) or errors, done.stderr
    return Answer(
        {record["figure"]: record["value"] for record in records if "figure" in record},
        [record["waived"] for record in records if "waived" in record],
        errors[0]["number"] if errors else None,
        done.returncode,
    )


@pytest.fixture(scope="module", name="usual")
def _usual(libraries: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Answer]:
    """What both tools say where nothing is wrong."""
    tree = build_host_tree(tmp_path_factory.mktemp("sound"), load_description("alpha"))
    environment = environment_for(libraries, tree)
    return {tool: ask(tool, environment) for tool in ("p2p_bandwidth_latency", "nvbandwidth")}


def host_of(row: Row, root: Path) -> tuple[HostTree, str]:
    """Return the host of a row, and the fault to inject."""
    options, change = STATES.get(row.name, ({}, None))
    description = load_description("alpha")
    if change is not None:
        change(description)
    return build_host_tree(root, description, **options), (
        "none" if row.name in STATES else row.name
    )


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name.replace(" ", "_"))
def test_a_row_of_the_table(
    row: Row, usual: dict[str, Answer], libraries: Path, tmp_path: Path
) -> None:
    tree, fault = host_of(row, tmp_path)
    environment = environment_for(libraries, tree, fault)
    said = {tool: ask(tool, environment).words(answer) for tool, answer in usual.items()}
    assert said == {"p2p_bandwidth_latency": row.classic, "nvbandwidth": row.nvbandwidth}
    check_verification(row, verify_in(environment, tree, child_timeout=10))


def check_verification(row: Row, result: Result) -> None:
    """Check that the row's code, and no other, is what the host is told."""
    if row.code == "pass":
        assert (result.verdict, result.groups, result.causes) == ("pass", ((0, 1),), ())
        return
    assert result.verdict == ("warn" if row.code in WARNED else "fail")
    assert result.groups == (() if result.verdict == "fail" else ((0, 1),))
    assert row.code in {cause.code for cause in result.causes}
    assert all(cause.evidence and cause.remedy for cause in result.causes)
    if row.name in STATES:
        assert [cause.code for cause in result.causes] == [row.code]
        return
    assert {pair.reasons[0] for pair in result.pairs} == {row.code}
    if row.name.startswith("error_"):
        number = row.name.removeprefix("error_")
        assert all(f"returned {number} (CUDA_ERROR_" in pair.detail for pair in result.pairs)


def test_the_table_has_every_fault_once() -> None:
    source = (REPOSITORY / "lab/simulated_driver/userspace/common/fault.c").read_text()
    named = set(re.findall(r'\{ "(\w+)", FAULT_', source))
    errors = re.search(r" error_codes\[\] = \{(.*?), 0 \}", source)
    assert errors is not None
    named |= {f"error_{number}" for number in re.findall(r"\d+", errors[1])}
    assert sorted(row.name for row in FAULTS) == sorted(named)
    assert {
        cells[0] for cells in table(LAB_PAGE, "| Fault | What it does | What it stands for |")
    } == named


def test_every_fault_has_a_code_of_its_own() -> None:
    codes = [row.code for row in FAULTS]
    assert len(set(codes)) == len(codes)
