# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""nouveau kept off the GPUs, also inside an initramfs that holds it, and let on again.

The kernel's own driver is a module that takes the same devices as nouveau does; what udev would
load for a GPU is asked of the host's own modprobe.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
from support.driver_hosts import INSTALL, Host, give_archive

NewHost = Callable[..., Host]
TREES = ("etc", "boot", "lib/modules", "usr/src", "var/lib/dkms", "var/lib/gpufleet")
FILE = "/etc/modprobe.d/gpufleet-nvidia-alone.conf"
#: An RTX 4090, as the kernel announces it to udev.
DEVICE = "pci:v000010DEd00002684sv00001458sd000040E6bc03sc00i00"
NOUVEAU = r"""
#include <linux/module.h>
#include <linux/pci.h>
static const struct pci_device_id ids[] = {
    { PCI_DEVICE(PCI_VENDOR_ID_NVIDIA, PCI_ANY_ID),
      .class = PCI_BASE_CLASS_DISPLAY << 16, .class_mask = 0xff << 16 },
    { }
};
MODULE_DEVICE_TABLE(pci, ids);
MODULE_LICENSE("GPL");
"""


@pytest.fixture(scope="module")
def base(new_host: NewHost, builder: Host) -> Host:
    """Return a host whose kernel has a driver of its own for the GPUs, in the initramfs too."""
    host = new_host("rivals")
    give_archive(builder, host)
    source = host.path("/srv/nouveau")
    source.mkdir()
    (source / "nouveau.c").write_text(NOUVEAU)
    (source / "Makefile").write_text("obj-m := nouveau.o\n")
    modules = f"/lib/modules/{host.kernel}"
    host.run("make", "-C", f"{modules}/build", "M=/srv/nouveau", "modules")
    place = host.path(f"{modules}/kernel/drivers/gpu/drm/nouveau")
    place.mkdir(parents=True)
    (place / "nouveau.ko").write_bytes((source / "nouveau.ko").read_bytes())
    host.run("depmod", "-a", host.kernel)
    with host.path("/etc/initramfs-tools/modules").open("a") as names:
        names.write("nouveau\n")
    host.run("update-initramfs", "-u", "-k", host.kernel)
    return host


@pytest.fixture
def host(new_host: NewHost, base: Host) -> Host:
    return new_host("rival", like=base)


def taken_by_nouveau(host: Host) -> bool:
    """Return whether udev would load nouveau for the device: modprobe -b, as its libkmod does."""
    words = ["modprobe", "--use-blacklist", "--dry-run", "--verbose", "--set-version", host.kernel]
    return "nouveau.ko" in host.run(*words, DEVICE, check=False)


def in_image(host: Host) -> bool:
    listing = host.run("lsinitramfs", f"/boot/initrd.img-{host.kernel}").splitlines()
    assert any(line.endswith("/nouveau.ko") for line in listing)
    return FILE.lstrip("/") in listing


def test_nouveau_is_kept_off_while_the_driver_is_installed(host: Host) -> None:
    before = host.tree(*TREES)
    assert taken_by_nouveau(host), "the control: nothing would take the GPU"

    planned = host.module("dkms_module", check_mode=True, **INSTALL)
    assert host.tree(*TREES) == before
    done = host.module("dkms_module", **INSTALL)
    assert done["actions"] == planned["actions"]
    assert f"write {FILE}" in done["actions"]
    assert f"refresh /boot/initrd.img-{host.kernel}" in done["actions"]
    assert not taken_by_nouveau(host)
    assert in_image(host)
    assert not host.module("dkms_module", **INSTALL)["changed"]

    host.path(FILE).unlink()
    mended = host.module("dkms_module", **INSTALL)
    assert mended["actions"] == [f"write {FILE}"], "the image has the file already"

    assert f"remove {FILE}" in host.module("dkms_module", state="absent")["actions"]
    assert host.tree(*TREES) == before


def test_a_driver_that_is_switched_off_does_not_keep_it_off(host: Host) -> None:
    host.module("dkms_module", **INSTALL)
    off = host.module("dkms_module", **{**INSTALL, "state": "disabled"})
    assert f"remove {FILE}" in off["actions"]
    assert taken_by_nouveau(host)
    assert not in_image(host)
