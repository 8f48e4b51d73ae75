# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A kernel update by the host's own dpkg: with headers, without, and with headers that come later.

Every fault is tried on a host without the guard, too: that control boots into a kernel without the
driver, and says nothing.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.driver_hosts import EXPORT, VERSION, Host
from support.guarded_hosts import (
    GUARD,
    PROGRAM,
    NewHost,
    boots,
    install_packages,
    newer_kernel,
)

PACKAGE = "gpufleet-nvidia"
BOOT_FILES = ("etc", "boot/grub")


@pytest.fixture
def guarded(new_host: NewHost, driver_host: Host) -> Host:
    host = new_host("guarded", like=driver_host)
    result = host.module("p2p_guard", **GUARD)
    assert result.get("changed"), result
    return host


def codes(host: Host) -> list[str]:
    alarm = json.loads(host.path("/var/lib/gpufleet/guard/alarm.json").read_text())
    return [finding["code"] for finding in alarm["kernels"]]


def loads_ours(host: Host, kernel: str) -> bool:
    return "/updates/dkms/" in host.run("modinfo", "-k", kernel, "-n", "nvidia", check=False)


def test_without_the_guard_a_kernel_without_headers_boots_without_the_driver(
    new_host: NewHost, driver_host: Host, packages: Path
) -> None:
    host = new_host("control", like=driver_host)
    said = install_packages(host, packages, "image")
    release = newer_kernel(host)
    assert boots(host) == release
    assert not loads_ours(host, release)
    assert "ALARM" not in said


def test_headers_missing_then_there(guarded: Host, packages: Path) -> None:
    before = guarded.tree(*BOOT_FILES)

    install_packages(guarded, packages, "image")
    release = newer_kernel(guarded)
    assert boots(guarded) == guarded.kernel
    assert loads_ours(guarded, guarded.kernel) and not loads_ours(guarded, release)
    assert codes(guarded) == ["kernel_without_driver"]
    told = guarded.path("/run/motd.d/gpufleet").read_text()
    assert release in told and guarded.kernel in told

    # Whatever else writes the menu anew, it stays with the kernel that works.
    guarded.run("update-grub")
    assert boots(guarded) == guarded.kernel
    assert not guarded.module("p2p_guard", **GUARD)["changed"]

    install_packages(guarded, packages, "headers")
    assert loads_ours(guarded, release)
    assert boots(guarded) == release
    assert codes(guarded) == []
    assert not guarded.path("/run/motd.d/gpufleet").exists()
    after = guarded.tree(*BOOT_FILES)
    changed = {name for name in {*before, *after} if before.get(name) != after.get(name)}
    assert not {name for name in changed if name.startswith("etc/default")}


def test_a_stock_module_of_the_same_release_does_not_keep_ours_out(
    guarded: Host, builder: Host
) -> None:
    stock = builder.module("dkms_module", **{**EXPORT, "state": "built", "patches": []})
    path = guarded.path(f"/lib/modules/{guarded.kernel}/kernel/drivers/video/nvidia.ko")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(builder.path(stock["modules"][0]["path"]).read_bytes())
    guarded.run("dkms", "uninstall", "-m", PACKAGE, "-v", VERSION, "-k", guarded.kernel)
    guarded.run("dkms", "autoinstall", "-k", guarded.kernel)
    assert not loads_ours(guarded, guarded.kernel), "the control: DKMS leaves ours out"
    guarded.run(PROGRAM, "kernels")
    assert loads_ours(guarded, guarded.kernel)


def test_headers_and_kernel_together_need_no_alarm(guarded: Host, packages: Path) -> None:
    install_packages(guarded, packages, "headers")
    install_packages(guarded, packages, "image")
    release = newer_kernel(guarded)
    assert boots(guarded) == release and loads_ours(guarded, release)
    assert codes(guarded) == []
    assert guarded.run(PROGRAM, "kernels") == ""
