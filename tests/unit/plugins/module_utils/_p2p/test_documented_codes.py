# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every code that a result can have stands in docs/verification.md, and none that it cannot."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from ansible_collections.gpufleet.p2p.plugins.module_utils._p2p import causes, verdict
from ansible_collections.gpufleet.p2p.plugins.module_utils._p2p.evidence import DATA_CODES
from ansible_collections.gpufleet.p2p.plugins.module_utils._p2p.ipc_codes import IPC_UNSUPPORTED

REPOSITORY = Path(__file__).resolve().parents[5]
PAGE = REPOSITORY / "docs/verification.md"
PACKAGE = Path(causes.__file__).parent
SOURCES = [*PACKAGE.glob("*.py"), *(PACKAGE.parent / "_gpu").glob("*.py")]
# Named with the causes in _pairing_causes, as reasons of pairs that are left out.
LEFT_OUT = {"mig_enabled", "compute_prohibited"}


def documented() -> set[str]:
    """Return the codes in the first cells of the page's tables of codes."""
    rows = re.findall(r"^\| (`[^|]*) \|", PAGE.read_text(), re.MULTILINE)
    return {code for row in rows for code in re.findall(r"`([a-z0-9_]+)`", row)}


def in_text() -> set[str]:
    """Return the codes that the page names anywhere: notes on groups are told in sentences."""
    return set(re.findall(r"`([a-z0-9_]+)`", PAGE.read_text()))


def told_as_causes() -> Iterator[str]:
    """Return the first arguments of all calls that make a cause or a note of a code in words."""
    for path in PACKAGE.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.args:
                code = node.args[0]
                if node.func.id in ("Cause", "_cause") and isinstance(code, ast.Constant):
                    yield code.value


def test_every_cause_and_note_is_documented() -> None:
    told = set(told_as_causes())
    assert {"chipset_slot", "iommu_fault", "nccl_gate", "all_to_all_slow"} <= told
    assert told - in_text() == set()


def test_every_reason_has_a_row_and_a_remedy() -> None:
    reasons = {*DATA_CODES, *causes._SYMPTOM_REMEDIES, *LEFT_OUT, IPC_UNSUPPORTED}
    reasons |= {verdict.MIXED_GENERATIONS, verdict.GENERATION_UNSUPPORTED, verdict.LINK_DOWNTRAINED}
    assert reasons - documented() == set()
    assert all(causes._SYMPTOM_REMEDIES.values())


def test_no_row_is_of_a_code_that_nothing_tells() -> None:
    source = "".join(path.read_text() for path in SOURCES)
    rows = documented() & set(re.findall(r"`([a-z0-9_]+)`", codes_part()))
    assert {code for code in rows if f'"{code}"' not in source} == set()


def codes_part() -> str:
    """Return the page's part on codes and notes."""
    text = PAGE.read_text()
    return text[text.index("## Codes") : text.index("### What NCCL would do")]
