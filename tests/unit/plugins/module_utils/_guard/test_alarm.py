# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The alarm in each of the places it is told in, and what raises, keeps and clears it."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest
from ansible_collections.gpufleet.p2p.plugins.module_utils._guard import alarm
from ansible_collections.gpufleet.p2p.plugins.module_utils._guard.alarm import (
    COMPARISON,
    KERNELS,
    Alarm,
    Figures,
    Finding,
    metrics_text,
    publish,
    read_alarm,
)
from ansible_collections.gpufleet.p2p.plugins.module_utils._guard.places import (
    MOTD,
    Settings,
    below,
)
from hypothesis import given
from hypothesis import strategies as st

LOST = Finding("p2p_lost", "0000:01:00.0 to 0000:02:00.0: wrong_data", "every pair", "run verify")
KERNEL = Finding("kernel_without_driver", "kernel 6.12: not built", "a build", "install headers")
FINDINGS = st.builds(Finding, st.text(), st.text(), st.text(), st.text())
# The text format's grammar: https://prometheus.io/docs/instrumenting/exposition_formats/
_LABEL = r'[a-z_]+="(?:[^"\\\n]|\\["\\n])*"'
_SAMPLE = re.compile(r"[a-z_]+(?:\{" + _LABEL + r"(?:," + _LABEL + r")*\})? -?[0-9]+")


@pytest.fixture
def journal(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    lines: list[tuple[str, str]] = []
    monkeypatch.setattr(alarm, "_log", lambda priority, text: lines.append((priority, text)))
    return lines


def test_raised_told_kept_and_cleared(tmp_path: Path, journal: list[tuple[str, str]]) -> None:
    metrics = tmp_path / "metrics"
    metrics.mkdir()
    settings = Settings(metrics_directory="/metrics")
    motd = below(tmp_path, MOTD)

    publish(COMPARISON, [LOST], settings, root=tmp_path)
    assert LOST.read in motd.read_text().replace("\n    ", " ")
    assert "gpufleet_alarm 1\n" in (metrics / "gpufleet-guard.prom").read_text()
    assert 'gpufleet_finding{code="p2p_lost"} 1' in (metrics / "gpufleet-guard.prom").read_text()
    assert journal == [("err", str(LOST))]

    # Each part has an owner: the kernels' look takes nothing back that the comparison found.
    publish(KERNELS, [KERNEL], settings, root=tmp_path)
    publish(KERNELS, [], settings, root=tmp_path)
    assert read_alarm(tmp_path).findings == (LOST,)
    assert motd.exists()

    publish(COMPARISON, [], settings, root=tmp_path)
    assert not motd.exists()
    assert "gpufleet_alarm 0\n" in (metrics / "gpufleet-guard.prom").read_text()
    assert journal[-1][0] == "notice"


def test_the_operators_command_hears_of_changes_only(
    tmp_path: Path, journal: list[tuple[str, str]]
) -> None:
    heard = tmp_path / "heard"
    program = (
        "import os, sys; open(sys.argv[1], 'a').write("
        "os.environ['GPUFLEET_ALARM'] + ' ' + sys.stdin.read().replace(chr(10), '') + chr(10))"
    )
    settings = Settings(alarm_command=(sys.executable, "-c", program, str(heard)))
    for findings in ([LOST], [LOST], [], []):
        publish(COMPARISON, findings, settings, root=tmp_path)
    raised, cleared = heard.read_text().splitlines()
    state, _, document = raised.partition(" ")
    assert state == "raised"
    assert json.loads(document)["comparison"][0]["code"] == "p2p_lost"
    assert cleared.startswith("cleared ")


def test_a_place_that_cannot_be_written_keeps_no_other_from_it(
    tmp_path: Path, journal: list[tuple[str, str]]
) -> None:
    (tmp_path / "run").write_text("a file where a directory has to be")
    settings = Settings(alarm_command=("/no/such/command",))
    publish(COMPARISON, [LOST], settings, root=tmp_path)
    assert read_alarm(tmp_path).findings == (LOST,)
    assert [priority for priority, _text in journal] == ["err", "warning", "warning"]


def test_no_metrics_where_nobody_reads_them(tmp_path: Path, journal: list[object]) -> None:
    publish(COMPARISON, [LOST], Settings(metrics_directory="/metrics"), root=tmp_path)
    assert not (tmp_path / "metrics").exists()


@given(kernels=st.lists(FINDINGS), comparison=st.lists(FINDINGS))
def test_what_is_written_is_read_back(kernels: list[Finding], comparison: list[Finding]) -> None:
    told = Alarm().with_part(KERNELS, kernels).with_part(COMPARISON, comparison)
    assert alarm.parse(told.as_json().decode()).findings == told.findings


@given(st.text())
def test_a_damaged_file_is_no_alarm_and_no_traceback(text: str) -> None:
    assert alarm.parse(text).findings == ()


@given(
    findings=st.lists(FINDINGS),
    version=st.none() | st.text(),
    outcome=st.none() | st.sampled_from(["passed", "failed", "busy", "off"]),
)
def test_metrics_are_of_prometheus_text_format(
    findings: list[Finding], version: str | None, outcome: str | None
) -> None:
    figures = Figures(1.0, 2.0, version, None, outcome)
    text = metrics_text(Alarm().with_part(KERNELS, findings), figures)
    assert text.endswith("\n")
    samples = [line for line in text[:-1].split("\n") if not line.startswith("#")]
    assert all(_SAMPLE.fullmatch(line) for line in samples), samples
    # A sample twice makes the node exporter refuse the whole file.
    assert len({line.rpartition(" ")[0] for line in samples}) == len(samples)
