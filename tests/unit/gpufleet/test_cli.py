# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The command: what it takes, what it prints where, and its exit codes."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from rich.console import Console
from support import sample_results

from gpufleet import cli, verification_cli
from gpufleet.errors import FleetError, GpufleetError
from gpufleet.events import Event, event_from_runner
from gpufleet.progress import Progress
from gpufleet.results import FleetResult, HostRecord, HostResult, Result
from gpufleet.view import LineView, clock, printable, view_for


def result(*outcomes: str) -> FleetResult:
    hosts = tuple(
        HostResult(HostRecord(f"host{number}", outcome)) for number, outcome in enumerate(outcomes)
    )
    return FleetResult("verify", False, hosts, None, 1.5)


@pytest.mark.parametrize(
    ("outcomes", "code"),
    [
        (("verified", "ready", "done"), 0),
        (("verified", "failed", "unreachable", "refused"), 1),
        (("verified", "unreachable", "refused"), 4),
        (("verified", "not_reached"), 4),
        (("verified", "refused"), 3),
    ],
)
def test_exit_codes(outcomes: tuple[str, ...], code: int) -> None:
    assert cli.exit_code(result(*outcomes)) == code


def test_extra_vars_follow_ansibles_rules() -> None:
    options = ["version=595.10", "path=a=b", '{"p2p_allow_busy": true}', "@vars.yml"]
    variables, files = cli.parse_extra_vars(options)
    assert variables == {"version": "595.10", "path": "a=b", "p2p_allow_busy": True}
    assert files == [Path("vars.yml")]


@pytest.mark.parametrize("option", ["novalue", "{", "{1: 2}", "bad name=1", "[1]"])
def test_malformed_extra_vars_are_refused(option: str) -> None:
    with pytest.raises(FleetError, match="variables_malformed"):
        cli.parse_extra_vars([option])


def test_missing_inventory_is_a_usage_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("INVENTORY", raising=False)
    assert cli.main(["preflight"]) == 2
    assert "inventory_missing" in capsys.readouterr().err
    assert cli.main(["preflight", "--json"]) == 2
    assert json.loads(capsys.readouterr().out)["error"]["code"] == "inventory_missing"


@pytest.fixture(name="here")
def _here(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """What this machine gives: ``result`` or ``error``; ``asked`` holds the options it got."""
    here: dict[str, Any] = {"result": sample_results.result()}

    def verify_here(**options: object) -> Result:
        here["asked"] = options
        if "error" in here:
            raise GpufleetError(here["error"], read="this", want="that", remedy="do")
        return cast("Result", here["result"])

    monkeypatch.delenv("INVENTORY", raising=False)
    monkeypatch.setattr(verification_cli, "verify_here", verify_here)
    yield here


@pytest.mark.parametrize(("verdict", "code"), [("pass", 0), ("fail", 1), ("warn", 5)])
def test_this_machines_verdict_is_the_exit_code(
    here: dict[str, Any], capsys: pytest.CaptureFixture[str], verdict: str, code: int
) -> None:
    here["result"] = sample_results.result(verdict=verdict)
    assert cli.main(["verify"]) == code
    assert "gpu07" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("error", "code"),
    [
        ("gpus_busy", 3),
        ("nvml_unavailable", 3),
        ("userspace_mismatch", 3),
        ("device_unknown", 2),
        ("verification_died", 1),
    ],
)
def test_what_was_not_measured_has_its_exit_code(
    here: dict[str, Any], capsys: pytest.CaptureFixture[str], error: str, code: int
) -> None:
    here["error"] = error
    assert cli.main(["verify"]) == code
    assert error in capsys.readouterr().err
    assert cli.main(["verify", "--format", "json"]) == code
    assert json.loads(capsys.readouterr().out)["error"]["code"] == error


def test_options_of_this_machine(here: dict[str, Any]) -> None:
    assert cli.main(["verify", "--quick", "--devices", "0, GPU-1,", "--allow-busy"]) == 0
    del here["asked"]["observer"]
    assert here["asked"] == {"quick": True, "devices": ["0", "GPU-1"], "allow_busy": True}


@pytest.mark.parametrize("options", [["--json"], ["--format", "json"], ["-f", "json"]])
def test_this_machine_as_json(
    here: dict[str, Any], capsys: pytest.CaptureFixture[str], options: list[str]
) -> None:
    assert cli.main(["verify", *options]) == 0
    assert Result.from_dict(json.loads(capsys.readouterr().out)) == here["result"]


def test_metrics_for_a_file(
    here: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "gpufleet.prom"
    assert cli.main(["verify", "--format", "prometheus", "--output", str(path)]) == 0
    assert capsys.readouterr().out == ""
    assert "gpufleet_p2p_verification_timestamp_seconds 1" in path.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "option", [["--limit", "x"], ["-C"], ["-e", "a=1"], ["--report-dir", "x"], ["-t", "verify"]]
)
def test_a_fleets_option_without_an_inventory_is_a_usage_error(
    here: dict[str, Any], capsys: pytest.CaptureFixture[str], option: list[str]
) -> None:
    assert cli.main(["verify", *option]) == 2
    assert "inventory_missing" in capsys.readouterr().err
    assert "asked" not in here


@pytest.mark.parametrize("name", ["classic", "prometheus"])
def test_a_format_of_one_host_is_refused_for_a_fleet(
    capsys: pytest.CaptureFixture[str], name: str
) -> None:
    assert cli.main(["verify", "-i", "a,b", "--format", name]) == 2
    assert "format_of_one_host" in capsys.readouterr().err


@pytest.mark.parametrize("fleet", [[], ["-i", "a,b"]])
def test_an_output_that_cannot_be_written_is_refused_before_the_work(
    here: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str], fleet: list[str]
) -> None:
    for path in (tmp_path / "nowhere" / "file", tmp_path):
        assert cli.main(["verify", *fleet, "--output", str(path)]) == 2
        assert "output_unwritable" in capsys.readouterr().err
    assert "asked" not in here


def test_a_stored_result_in_every_format(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "result.json"
    path.write_text(json.dumps(sample_results.one_way_failure().to_dict()), encoding="utf-8")
    for name, words in (
        ("table", "✗ fail"),
        ("json", '"schema": 1'),
        ("classic", "P2P Connectivity Matrix"),
        ("prometheus", 'gpufleet_p2p_verdict{verdict="fail"} 1.0'),
    ):
        assert cli.main(["show", str(path), "--format", name]) == 0
        assert words in capsys.readouterr().out
    assert cli.main(["show", str(tmp_path / "nowhere.json")]) == 2
    assert "result_unreadable" in capsys.readouterr().err


def test_inventory_comes_from_the_environment(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("INVENTORY", "/nowhere/hosts.yml")
    assert cli.main(["verify"]) == 2
    assert "/nowhere/hosts.yml" in capsys.readouterr().err


def test_json_mode_prints_one_document(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The whole way: command, ansible-runner, a host that fails before it has a record."""
    playbook = tmp_path / "verify.yml"
    playbook.write_text(
        "- name: Tiny\n  hosts: p2p_hosts\n  gather_facts: false\n  tasks:\n"
        "    - name: Fail\n      ansible.builtin.fail:\n        msg: on purpose\n",
        encoding="utf-8",
    )
    inventory = tmp_path / "inventory.yml"
    inventory.write_text(
        f"p2p_hosts: {{hosts: {{alpha: {{ansible_python_interpreter: '{sys.executable}'}}}}}}\n",
        encoding="utf-8",
    )
    monkeypatch.setitem(__import__("gpufleet.fleet").fleet.PLAYBOOKS, "verify", str(playbook))
    monkeypatch.chdir(tmp_path)
    assert cli.main(["verify", "-i", str(inventory), "--json"]) == 1
    printed = capsys.readouterr()
    document = json.loads(printed.out)
    assert document["schema"] == 1
    assert document["hosts"][0]["record"]["outcome"] == "failed"
    assert "on purpose" in document["hosts"][0]["record"]["failure"]["read"]
    assert "alpha" in printed.err


RUN = [
    Event("play", play="Gate"),
    Event("started", "alpha", "Read", "preflight"),
    Event("ok", "alpha", "Read", "preflight"),
    Event("started", "alpha", "Install", "p2p_driver"),
    Event("ok", "alpha", "Install", "p2p_driver", changed=True),
    Event("started", "alpha", "Skip", "iommu_passthrough"),
    Event("skipped", "alpha", "Skip", "iommu_passthrough"),
    Event("started", "alpha", "Prove", "p2p_verify"),
    Event("failed", "alpha", "Prove", "p2p_verify", message="data_dropped"),
    Event("failed", "alpha", "Fail the host", message="data_dropped"),
    Event("stats"),
]


def test_progress_follows_the_stages() -> None:
    progress = Progress("apply", clock=lambda: 0.0)
    steps = [step for event in RUN for step in progress.take(event)]
    assert [(step.stage, step.state) for step in steps] == [
        ("gates", "ok"),
        ("driver", "changed"),
        ("IOMMU", "skipped"),
        ("verify", "failed"),
    ]
    assert progress.hosts["alpha"].lost


def test_lines_where_there_is_no_terminal() -> None:
    written = io.StringIO()
    console = Console(file=written, width=80)
    with view_for(console, "apply") as view:
        assert isinstance(view, LineView)
        for event in RUN:
            view.show(event)
    lines = written.getvalue()
    assert "alpha driver: changed" in lines
    assert lines.count("data_dropped") == 1


def test_live_table_shows_hosts_and_marks() -> None:
    written = io.StringIO()
    console = Console(file=written, width=100, force_terminal=True, color_system=None)
    with view_for(console, "apply") as view:
        for event in RUN[:-1]:
            view.show(event)
    shown = written.getvalue()
    for words in ("alpha", "IOMMU", "changed", "data_dropped"):
        assert words in shown


def test_hosts_cannot_steer_the_terminal() -> None:
    assert printable("a\x1b[2Jb\r\n") == "a?[2Jb?\n"


@pytest.mark.parametrize(("seconds", "told"), [(5, "0:05"), (65, "1:05"), (3661, "1:01:01")])
def test_durations(seconds: int, told: str) -> None:
    assert clock(seconds) == told


def test_ignored_errors_are_no_failure() -> None:
    data = {
        "event": "runner_on_failed",
        "event_data": {"host": "a", "ignore_errors": True, "res": {"msg": "x"}},
    }
    event = event_from_runner(data)
    assert event is not None
    assert event.kind == "ok"
    assert event_from_runner({"event": "playbook_on_notify"}) is None
