# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A boot that is not the trial's, with the host's own DKMS, kmod and initramfs-tools.

The units' commands are run in their order, as systemd would; that systemd does, on a driver that
panics, is seen on a machine of its own (molecule/default/panicking_driver.yml).
"""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.driver_hosts import EXPORT, INSTALL, VERSION, Host, give_archive, give_stock_module

NewHost = Callable[[str], Host]
BEFORE = "580.105.08"
TREES = ("etc", "boot", "lib/modules", "usr/src", "var/lib/dkms", "var/lib/gpufleet")
BARRED = "install /bin/false"
BEGUN = {"state": "begun", "version": VERSION}


@pytest.fixture
def host(new_host: NewHost, builder: Host) -> Host:
    """Return a host with a stock module and a build to install."""
    host = new_host("trial")
    host.path("/run/systemd/system").mkdir(parents=True)
    give_archive(builder, host)
    give_stock_module(builder, host)
    return host


def begin(host: Host, **arguments: str) -> None:
    result = host.module("driver_trial", **{**BEGUN, "kernel": host.kernel, **arguments})
    assert "failed" not in result, result


def install(host: Host, **arguments: str) -> None:
    result = host.module("dkms_module", **{**INSTALL, **arguments})
    assert "failed" not in result, result


def end(host: Host) -> None:
    assert host.module("driver_trial", state="ended")["changed"]


def commands(host: Host, unit: str, key: str) -> Iterator[tuple[bool, list[str]]]:
    """Yield a unit's commands, and whether each has to succeed."""
    text = host.path(f"/etc/systemd/system/gpufleet-driver-{unit}.service").read_text()
    for optional, words in re.findall(rf"(?m)^{key}=(-?)(.*)$", text):
        yield not optional, shlex.split(words.replace("%v", host.kernel))


def is_wanted(host: Host, unit: str) -> bool:
    """Ask a unit's condition, by its own command."""
    ((_, words),) = commands(host, unit, "ExecCondition")
    ended = subprocess.run(["chroot", str(host.root), *words], check=False)
    return ended.returncode == 0


def boot_outside_the_trial(host: Host) -> list[str]:
    """Run what systemd would run before anything else; return the units that had to do."""
    wants = host.path("/etc/systemd/system/sysinit.target.wants")
    if not (wants / "gpufleet-driver-bar.service").is_symlink():
        return []
    done = ["bar"]
    for required, words in commands(host, "bar", "ExecStart"):
        host.run(*words, check=required)
    assert barred(host)
    for unit in ("fall-back", "lift"):
        if is_wanted(host, unit):
            done.append(unit)
            # The last of lift's loads the module, for which there is no kernel here.
            for required, words in commands(host, unit, "ExecStart"):
                if words[0] != "/sbin/modprobe":
                    host.run(*words, check=required)
    return done


def barred(host: Host) -> bool:
    words = ["modprobe", "-S", host.kernel, "--show-depends", "nvidia"]
    return host.run(*words).strip() == BARRED


def stock_is_next(host: Host) -> bool:
    return "/kernel/drivers/video/" in str(host.installed("nvidia"))


def test_the_driver_of_before_is_loaded_and_everything_can_be_undone(host: Host) -> None:
    before = host.tree(*TREES)
    begin(host)
    install(host)
    assert not stock_is_next(host) and not barred(host)

    assert boot_outside_the_trial(host) == ["bar", "fall-back", "lift"]
    assert stock_is_next(host) and not barred(host)
    # At every such boot: there is nothing to take out any more.
    assert boot_outside_the_trial(host) == ["bar", "lift"]
    assert stock_is_next(host) and not barred(host)

    install(host)
    end(host)
    assert boot_outside_the_trial(host) == []
    assert not stock_is_next(host)

    host.module("dkms_module", state="absent")
    assert host.tree(*TREES) == before


def test_a_power_cut_before_the_installation_leaves_the_driver_of_before(host: Host) -> None:
    begin(host)
    assert boot_outside_the_trial(host) == ["bar", "lift"]
    assert stock_is_next(host) and not barred(host)


def test_where_dkms_fails_no_driver_is_loaded(host: Host) -> None:
    begin(host)
    install(host)
    dkms = host.path("/usr/sbin/dkms")
    dkms.rename(dkms.with_name("dkms.real"))
    dkms.write_text("#!/bin/sh\nexit 1\n")
    dkms.chmod(0o755)
    for required, words in commands(host, "bar", "ExecStart"):
        host.run(*words, check=required)
    with pytest.raises(AssertionError, match="dkms"):
        boot_outside_the_trial(host)
    assert not is_wanted(host, "lift")
    assert barred(host)


def test_the_version_before_comes_back(host: Host, builder: Host, tmp_path: Path) -> None:
    source = builder.path("/srv/source-before")
    if not source.exists():
        builder.run("cp", "-a", "/srv/source", "/srv/source-before")
        version = source / "version.mk"
        version.write_text(version.read_text().replace(VERSION, BEFORE))
    older = {
        **EXPORT,
        "version": BEFORE,
        "source": "/srv/source-before",
        "archive": "/srv/before.dkms.tar.gz",
    }
    built = builder.module("dkms_module", **older)
    assert "failed" not in built, built
    host.path("/srv/before.dkms.tar.gz").write_bytes(
        builder.path("/srv/before.dkms.tar.gz").read_bytes()
    )
    install(host, version=BEFORE, archive="/srv/before.dkms.tar.gz")
    verified = host.installed("nvidia").read_bytes()

    begin(host)
    install(host)
    assert host.installed("nvidia").read_bytes() != verified
    assert boot_outside_the_trial(host) == ["bar", "fall-back", "lift"]
    assert host.installed("nvidia").read_bytes() == verified


def test_the_initramfs_has_no_driver_while_it_is_on_trial(host: Host) -> None:
    image = f"/boot/initrd.img-{host.kernel}"
    with host.path("/etc/initramfs-tools/modules").open("a") as modules:
        modules.write("nvidia\n")
    host.run("update-initramfs", "-u", "-k", host.kernel)
    assert "/nvidia.ko" in host.run("lsinitramfs", image)
    original = host.path(image).read_bytes()

    begin(host)
    install(host)
    assert "/nvidia.ko" not in host.run("lsinitramfs", image)
    boot_outside_the_trial(host)
    host.module("dkms_module", state="absent")
    end(host)
    assert host.path(image).read_bytes() == original
