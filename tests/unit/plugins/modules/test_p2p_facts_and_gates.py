# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The modules hand options over and results back, and the page of gates names them all."""

from __future__ import annotations

import json
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml
from ansible.module_utils.testing import patch_module_args
from ansible_collections.gpufleet.p2p.plugins.module_utils._host.lock import LOCK_PATH
from ansible_collections.gpufleet.p2p.plugins.module_utils._preflight.evaluate import GATES
from ansible_collections.gpufleet.p2p.plugins.modules import (
    host_lock,
    p2p_facts,
    p2p_preflight,
)

REPOSITORY = Path(__file__).resolve().parents[4]
RUN = {"run": "one/1/2/3", "holder": "ada@one pid 2"}
OTHER = {"run": "two/1/2/3", "holder": "bob@two pid 2"}


def call(
    module: ModuleType, capsys: pytest.CaptureFixture[str], check: bool = False, **options: Any
) -> dict[str, Any]:
    """Run a module's main with options and return what it printed."""
    with patch_module_args({**options, "_ansible_check_mode": check}), pytest.raises(SystemExit):
        module.main()
    result: dict[str, Any] = json.loads(capsys.readouterr().out)
    return result


@pytest.fixture
def facts(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    """The facts of this very machine, of which nothing is assumed."""
    monkeypatch.setenv("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
    gathered: dict[str, Any] = call(p2p_facts, capsys)["ansible_facts"]["p2p"]
    return gathered


def test_facts_hold_every_documented_part(facts: dict[str, Any]) -> None:
    documented = yaml.safe_load(p2p_facts.RETURN)["ansible_facts"]["contains"]["p2p"]["contains"]
    assert set(facts) == set(documented)
    for part in ("kernel", "secure_boot", "driver", "dkms", "toolchain"):
        assert set(facts[part]) == set(documented[part]["sample"])


def test_malformed_match_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    result = call(p2p_facts, capsys, gpu_match=["10de"])
    assert result["failed"]
    assert result["error"]["code"] == "pci_pattern_invalid"


def test_preflight_judges_real_facts(
    facts: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    result = call(p2p_preflight, capsys, facts=facts, parameters=["iommu=pt"], minimum_gpus=10**6)
    assert not result["passed"]
    assert not result.get("failed")
    assert not result["changed"]
    assert [gate["name"] for gate in result["gates"]] == [gate.__name__ for gate in GATES]
    documented = yaml.safe_load(p2p_preflight.RETURN)["gates"]["contains"]
    assert all(set(gate) == set(documented) for gate in result["gates"])


def test_preflight_judges_a_build_by_its_description(
    facts: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    catalogue = yaml.safe_load((REPOSITORY / "roles/p2p_driver/files/catalogue.yml").read_text())
    build = {"version": "570.86.16", "source": {"path": "/srv/driver"}}
    description = {**build, "prebuilt": False, "modules": [], "resize_arguments": [3]}
    options: dict[str, Any] = {"facts": facts, "driver": build, "catalogue": catalogue}
    for source, read in (
        ({"key": "ab" * 32, "description": description}, "570.86.16, full source, content"),
        ({"error": {"code": "x", "read": "no such file", "want": "y", "remedy": "z"}}, "no such"),
    ):
        result = call(p2p_preflight, capsys, **options, driver_source=source)
        told = {gate["name"]: gate for gate in result["gates"]}
        assert read in told["driver_source"]["read"]
        assert told["userspace_version_match"]["want"] == "570.86.16"
    malformed = {**build, "version": 570.86}
    options = {**options, "driver": malformed, "driver_version": "570.86"}
    result = call(p2p_preflight, capsys, **options)
    told = {gate["name"]: gate for gate in result["gates"]}
    assert "p2p_driver.version" in told["driver_source"]["want"]


def test_preflight_refuses_other_facts(capsys: pytest.CaptureFixture[str]) -> None:
    assert call(p2p_preflight, capsys, facts={})["error"]["code"] == "facts_unusable"


def test_preflight_refuses_sizes_that_are_no_numbers(capsys: pytest.CaptureFixture[str]) -> None:
    result = call(p2p_preflight, capsys, facts={}, minimum_free_mib={"/boot": "much"})
    assert result["error"]["code"] == "minimum_free_invalid"


def test_page_of_gates_names_each_once() -> None:
    page = (REPOSITORY / "docs/gates.md").read_text()
    assert re.findall(r"(?m)^\| `(\w+)` ", page) == [gate.__name__ for gate in GATES]


def test_lock_tells_which_boot_it_was_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(host_lock, "ROOT", tmp_path)
    boot = tmp_path / "proc/sys/kernel/random/boot_id"
    boot.parent.mkdir(parents=True)
    for state, boot_id in (("held", "before"), ("released", "after")):
        boot.write_text(f"{boot_id}\n")
        assert call(host_lock, capsys, state=state, **RUN)["boot_id"] == boot_id


def test_lock_goes_round(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(host_lock, "ROOT", tmp_path)
    first = call(host_lock, capsys, **RUN)
    assert (first["action"], first["holder"], first["changed"]) == (
        "acquired",
        RUN["holder"],
        False,
    )
    assert call(host_lock, capsys, **RUN)["action"] == "renewed"
    refused = call(host_lock, capsys, **OTHER)
    assert refused["failed"]
    assert refused["error"]["code"] == "host_locked"
    assert refused["error"]["run"] == RUN["run"]
    broken = call(host_lock, capsys, break_lock=True, **OTHER)
    assert (broken["changed"], broken["previous_holder"]) == (True, RUN["holder"])
    assert call(host_lock, capsys, state="released", **RUN)["action"] == "held_by_other"
    assert call(host_lock, capsys, state="released", **OTHER)["holder"] is None
    assert list(tmp_path.glob("var/lib/*")) == []


def test_lock_in_check_mode_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(host_lock, "ROOT", tmp_path)
    assert call(host_lock, capsys, check=True, **RUN)["holder"] == RUN["holder"]
    assert not (tmp_path / LOCK_PATH).exists()


@pytest.mark.parametrize(
    ("options", "code"), [({}, "run_unknown"), ({**RUN, "lease_seconds": 0}, "lease_invalid")]
)
def test_lock_refuses_senseless_options(
    capsys: pytest.CaptureFixture[str], options: dict[str, Any], code: str
) -> None:
    assert call(host_lock, capsys, **options)["error"]["code"] == code
