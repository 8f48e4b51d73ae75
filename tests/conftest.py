# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Lets no test be skipped silently, and none fail because the machine was busy.

Here a skip is a failure: a missing tool or a missing right is a defect of the machine that runs
the tests, and a green run that left out half of them would hide it. Tests that need hardware which
a development machine does not have are not collected by `make test` instead of skipping themselves.
"""

from __future__ import annotations

from collections.abc import Generator

import hypothesis
import pytest

# A test that takes 300 ms instead of 200 because the machine is busy has found nothing.
hypothesis.settings.register_profile("searching", deadline=None, print_blob=True)
# The same commit gives the same examples, so that a red run is about the commit. Others are looked
# for with --hypothesis-profile=searching, and by `make fuzz`.
hypothesis.settings.register_profile(
    "gpufleet", hypothesis.settings.get_profile("searching"), derandomize=True
)
hypothesis.settings.load_profile("gpufleet")


def _refuse_skip(report: pytest.TestReport | pytest.CollectReport) -> None:
    if report.outcome == "skipped" and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"{reason}\nA skipped test counts as failed: see tests/conftest.py."


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Turn the skip of a test into its failure."""
    report = yield
    _refuse_skip(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Turn the skip of a whole file, such as importorskip, into its failure."""
    report = yield
    _refuse_skip(report)
    return report
