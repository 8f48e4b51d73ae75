# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The driver switched off and on: the build stays, the distribution's modules are loaded."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from ansible_collections.gpufleet.p2p.plugins.module_utils._driver.dkms import parse_status
from support.driver_hosts import INSTALL, VERSION, Host, give_archive, give_stock_module

NewHost = Callable[[str], Host]
TREES = ("etc", "boot", "lib/modules", "usr/src", "var/lib/dkms", "var/lib/gpufleet")
OFF = {**INSTALL, "state": "disabled"}


@pytest.fixture
def host(new_host: NewHost, builder: Host) -> Host:
    """Return a host with a stock module, as a distribution's package brings one."""
    host = new_host("switched")
    give_archive(builder, host)
    give_stock_module(builder, host)
    return host


def stock_runs_next(host: Host) -> bool:
    return "/kernel/drivers/video/" in str(host.installed("nvidia"))


def status_of(host: Host) -> list[str]:
    return [entry.status for entry in parse_status(host.run("dkms", "status"))]


def test_off_and_on_again_without_a_compile(host: Host) -> None:
    before = host.tree(*TREES)
    host.module("dkms_module", **INSTALL)
    installed = host.tree(*TREES)
    # What follows is switched, not built.
    for tool in ("gcc", "cc", "make"):
        host.path(f"/usr/bin/{tool}").unlink()

    planned = host.module("dkms_module", check_mode=True, **OFF)
    assert planned["changed"] and host.tree(*TREES) == installed
    off = host.module("dkms_module", **OFF)
    assert off["actions"] == planned["actions"]
    assert stock_runs_next(host)
    assert [entry["status"] for entry in off["status"]] == ["built"]
    assert not host.module("dkms_module", **OFF)["changed"]

    on = host.module("dkms_module", **INSTALL)
    assert on["changed"] and not stock_runs_next(host)
    assert host.tree(*TREES) == installed

    host.module("dkms_module", **OFF)
    host.module("dkms_module", state="absent")
    assert host.tree(*TREES) == before


def test_it_stays_off_when_dkms_installs_everything(host: Host) -> None:
    host.module("dkms_module", **INSTALL)
    # The control: uninstalled by dkms alone, it is back with the next kernel's autoinstall.
    words = ["-m", "gpufleet-nvidia", "-v", VERSION, "-k", host.kernel]
    host.run("dkms", "uninstall", *words)
    assert status_of(host) == ["built"]
    host.run("dkms", "autoinstall", "-k", host.kernel)
    assert status_of(host) == ["installed"]

    host.module("dkms_module", **OFF)
    host.run("dkms", "autoinstall", "-k", host.kernel)
    assert status_of(host) == ["built"]
    assert stock_runs_next(host)


def test_an_archive_alone_is_imported_and_not_installed(host: Host) -> None:
    off = host.module("dkms_module", **OFF)
    assert off["changed"], off
    assert [entry["status"] for entry in off["status"]] == ["built"]
    assert stock_runs_next(host)
