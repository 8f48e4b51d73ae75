# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""kernel_cmdline and boot_trial as Ansible calls them: options in, result out, check mode."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import yaml
from ansible_collections.gpufleet.p2p.plugins.modules import boot_trial, kernel_cmdline
from support.boot_host import BootHost
from support.systemd_boot_host import SystemdBootHost


@pytest.fixture(params=[BootHost, SystemdBootHost])
def host(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> BootHost | SystemdBootHost:
    kind: type[BootHost | SystemdBootHost] = request.param
    host = kind(tmp_path)
    for module in (kernel_cmdline, boot_trial):
        monkeypatch.setattr(module, "detect", host.loader)
        monkeypatch.setattr(module, "observe", lambda loader: host.observe())
    return host


def call(module: ModuleType, *, check_mode: bool = False, **options: Any) -> dict[str, Any]:
    defaults = {name: spec.get("default") for name, spec in module.ARGUMENTS.items()}
    fake = SimpleNamespace(params={**defaults, **options}, check_mode=check_mode)
    result: dict[str, Any] = module.body(fake)
    return result


def test_check_mode_tells_and_writes_nothing(host: BootHost | SystemdBootHost) -> None:
    pristine = host.tree()
    for trial in (True, False):
        told = call(kernel_cmdline, check_mode=True, parameters=["iommu=pt"], trial=trial)
        assert told["changed"]
        assert told["diff"]
        assert host.tree() == pristine


def test_from_trial_to_removal(host: BootHost | SystemdBootHost) -> None:
    wish = {"parameters": ["iommu=pt"], "trial": True}
    first = call(kernel_cmdline, **wish)
    assert (first["changed"], first["boot_loader"]) == (True, host.loader().name)
    assert not call(kernel_cmdline, **wish)["changed"]
    assert not call(boot_trial, state="armed", token=first["token"])["changed"]
    host.reboot()
    confirmed = call(boot_trial, state="confirmed", token=first["token"])
    assert confirmed["changed"]
    assert confirmed["default_entry"] == host.loader().default_entry()
    assert not call(kernel_cmdline, **wish)["changed"]
    assert call(kernel_cmdline, state="absent")["changed"]
    assert not call(kernel_cmdline, state="absent")["changed"]
    assert not call(boot_trial, state="abandoned")["changed"]


@pytest.mark.parametrize("module", [kernel_cmdline, boot_trial])
def test_documentation_and_arguments_agree(module: ModuleType) -> None:
    documented = yaml.safe_load(module.DOCUMENTATION)["options"]
    assert documented.keys() == module.ARGUMENTS.keys()
    for name, spec in module.ARGUMENTS.items():
        for field in ("type", "default", "choices", "elements", "required"):
            assert documented[name].get(field) == spec.get(field), (name, field)
    returned = yaml.safe_load(module.RETURN)
    assert all("sample" in value or "contains" in value for value in returned.values())
