# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Registry keys on a host: beside those of others, in the initramfs, and away again.

The module is the simulated driver's real one, modprobe and update-initramfs are the host's own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from support.driver_hosts import INSTALL, VERSION, Host, give_archive

NewHost = Callable[..., Host]
TREES = ("etc", "boot", "lib/modules", "usr/src", "var/lib/dkms", "var/lib/gpufleet")
FILE = "/etc/modprobe.d/zz-gpufleet-nvidia.conf"
KEYS = {"RMForceP2PType": "bar1", "NVreg_EnableResizableBar": 1}
NUMBERS = {"RMForceP2PType": 1, "RMPcieP2PType": 1, "NVreg_EnableResizableBar": 1}


@pytest.fixture(scope="module")
def installed(new_host: NewHost, builder: Host) -> Host:
    """Return a host with the driver, to be copied."""
    host = new_host("with-driver")
    give_archive(builder, host)
    done = host.module("dkms_module", **INSTALL)
    assert done.get("changed"), done
    return host


@pytest.fixture
def host(new_host: NewHost, installed: Host) -> Host:
    """Return a host of its own with the driver."""
    return new_host("keys", like=installed)


def set_keys(host: Host, **arguments: Any) -> dict[str, Any]:
    options = {"version": VERSION, "kernel": host.kernel, "registry": KEYS, **arguments}
    return host.module("driver_registry", **options)


def passed(host: Host) -> str:
    """Return the parameters that modprobe passes to the nvidia module, in its own words."""
    said = host.run("modprobe", "-S", host.kernel, "--show-depends", "nvidia")
    line = next(line for line in said.splitlines() if "/nvidia.ko" in line)
    return line.split(maxsplit=2)[2].strip()


def test_set_again_changed_and_taken_away(host: Host) -> None:
    before = host.tree(*TREES)
    planned = set_keys(host, check_mode=True)
    assert planned["changed"], planned
    assert host.tree(*TREES) == before

    done = set_keys(host)
    assert done["actions"] == planned["actions"] == [f"write {FILE}"]
    assert done["registry"] == NUMBERS
    assert done["diff"] == planned["diff"]
    # No GPU is here: no driver runs, so there is nothing that it would have to be reloaded for.
    assert (done["in_force"], done["reload_required"]) == (None, False)
    assert passed(host).split() == [
        "NVreg_EnableResizableBar=1",
        'NVreg_RegistryDwords="RMForceP2PType=1;RMPcieP2PType=1"',
    ]
    assert not set_keys(host)["changed"]

    set_keys(host, registry={"RMForceP2PType": "nvlink"})
    assert passed(host).split() == ['NVreg_RegistryDwords="RMForceP2PType=2"']
    gone = set_keys(host, state="absent")
    assert gone["actions"] == [f"remove {FILE}"]
    assert host.tree(*TREES) == before
    assert not set_keys(host, state="absent")["changed"]


def test_what_others_set_stays_in_force(host: Host) -> None:
    local = host.path("/etc/modprobe.d/local.conf")
    local.write_text('options nvidia NVreg_RegistryDwords="PeerMappingOverride=1"\n')
    alone = 'NVreg_RegistryDwords="PeerMappingOverride=1"'
    assert passed(host) == alone
    # The control: a line of ours alone would take the other's key away.
    control = host.path("/etc/modprobe.d/zz-control.conf")
    control.write_text('options nvidia NVreg_RegistryDwords="RMForceP2PType=1"\n')
    assert passed(host).endswith('NVreg_RegistryDwords="RMForceP2PType=1"')
    control.unlink()

    set_keys(host)
    assert passed(host).split()[-1] == (
        'NVreg_RegistryDwords="PeerMappingOverride=1;RMForceP2PType=1;RMPcieP2PType=1"'
    )
    assert "/etc/modprobe.d/local.conf:1" in host.path(FILE).read_text()
    set_keys(host, state="absent")
    assert passed(host) == alone


@pytest.mark.parametrize(
    ("path", "line", "code"),
    [
        ("/etc/modprobe.d/local.conf", 'NVreg_RegistryDwords="RMForceP2PType=2"', "conflict"),
        ("/usr/lib/modprobe.d/vendor.conf", "NVreg_EnableResizableBar=0", "conflict"),
        ("/etc/modprobe.d/zzz.conf", 'NVreg_RegistryDwords="RMOther=1"', "overridden"),
    ],
)
def test_who_stands_against_it_is_named(host: Host, path: str, line: str, code: str) -> None:
    host.path(path).write_text(f"options nvidia {line}\n")
    before = host.tree(*TREES)
    for check_mode in (True, False):
        refused = set_keys(host, check_mode=check_mode)
        assert refused["error"]["code"] == f"registry_{code}"
        assert f"{path}:1" in refused["error"]["read"]
    assert host.tree(*TREES) == before


def test_a_parameter_that_the_driver_does_not_have_is_refused(host: Host) -> None:
    before = host.tree(*TREES)
    # The control: modprobe passes it, and the kernel ignores it with a line in its log.
    host.path("/etc/modprobe.d/local.conf").write_text("options nvidia NVreg_EnableReBar=1\n")
    assert passed(host) == "NVreg_EnableReBar=1"
    host.path("/etc/modprobe.d/local.conf").unlink()
    refused = set_keys(host, registry={"NVreg_EnableReBar": 1})
    assert refused["error"]["code"] == "registry_parameter_unknown"
    assert host.tree(*TREES) == before


def test_an_initramfs_with_the_driver_gets_the_keys_and_its_bytes_back(
    new_host: NewHost, builder: Host
) -> None:
    host = new_host("image")
    give_archive(builder, host)
    with host.path("/etc/initramfs-tools/modules").open("a") as modules:
        modules.write("nvidia\n")
    # As a host that had the driver in its image before: the stock one.
    stock = host.path(f"/lib/modules/{host.kernel}/kernel/drivers/video/nvidia.ko")
    stock.parent.mkdir(parents=True, exist_ok=True)
    build = builder.path("/var/cache/gpufleet/driver").glob("*/dkms/*/*/*/*/module/nvidia.ko")
    stock.write_bytes(next(build).read_bytes())
    host.run("depmod", "-a", host.kernel)
    host.run("update-initramfs", "-u", "-k", host.kernel)
    before = host.tree(*TREES)
    host.module("dkms_module", **INSTALL)
    assert not in_image(host)

    planned = set_keys(host, check_mode=True)
    done = set_keys(host)
    image = f"/boot/initrd.img-{host.kernel}"
    assert done["actions"] == planned["actions"] == [f"write {FILE}", f"refresh {image}"]
    assert in_image(host) == host.path(FILE).read_text()
    assert not set_keys(host)["changed"]
    # An image that somebody made with other keys is stale, for the driver's installation too.
    host.path(FILE).unlink()
    assert host.module("dkms_module", **INSTALL)["actions"] == [f"refresh {image}"]
    set_keys(host)

    set_keys(host, state="absent")
    assert not in_image(host)
    host.module("dkms_module", state="absent")
    assert host.tree(*TREES) == before


def in_image(host: Host) -> str:
    """Return our file's content inside the initramfs, empty where it is not there."""
    host.run("rm", "-rf", "/srv/image")
    host.run("unmkinitramfs", f"/boot/initrd.img-{host.kernel}", "/srv/image")
    found = list(host.path("/srv/image").rglob("zz-gpufleet-nvidia.conf"))
    return found[0].read_text() if found else ""
