# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is promised about modules, each under its fault, beside the forks' own install procedure.

The product and the procedure exchange build A for build B on equal hosts under the same fault. A
fault that the procedure survives would prove nothing, so its loss is asserted too.
"""

from __future__ import annotations

import contextlib
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest
from ansible_collections.gpufleet.p2p.plugins.module_utils._driver.elf import (
    build_id_of,
    module_bytes,
)
from support.driver_hosts import (
    EXPORT,
    INSTALL,
    SIMULATED,
    VERSION,
    Host,
    copy_source,
    dying_copy,
    give_archive,
    run_until_killed,
    stub,
)

NewHost = Callable[..., Host]
MODULES = ("nvidia", "nvidia-uvm", "nvidia-modeset", "nvidia-drm", "nvidia-peermem")
OTHER = "/srv/other.dkms.tar.gz"
INSTALL_OTHER = {**INSTALL, "archive": OTHER}
#: As the forks document it: no set -e, unloading before building, kernel/drivers/video.
PROCEDURE = """
cd /srv/fork
rmmod nvidia_drm nvidia_modeset nvidia_uvm nvidia
make modules -j2 KERNEL_UNAME="$1"
make modules_install KERNEL_UNAME="$1"
depmod -a "$1"
"""
UNLOADED = "/srv/unloaded"


@dataclass(frozen=True)
class Pair:
    """Two hosts with build A, one installed by the product, one by the procedure."""

    product: Host
    control: Host

    def stub(self, tool: str, script: str) -> None:
        """Put a script before the real tool on both."""
        for host in (self.product, self.control):
            stub(host, tool, script)

    def break_source(self, text: str) -> None:
        """Append to a source file on both."""
        for host, tree in ((self.product, "source"), (self.control, "fork")):
            path = host.path(f"/srv/{tree}/kernel-open/nvidia-modeset/nvidia-modeset-linux.c")
            with path.open("a") as source:
                source.write(text)

    def procedure(self) -> str:
        """Follow the forks' documentation on the control; return what it said."""
        host = self.control
        return host.run("bash", "-c", PROCEDURE, "procedure", host.kernel, check=False)


def resolved(host: Host) -> dict[str, str | None]:
    """Return the build-id of each module that modprobe would load."""
    found = {}
    for name in MODULES:
        path = host.run("modinfo", "-k", host.kernel, "-n", name, check=False).strip()
        file = host.path(path)
        found[name] = build_id_of(module_bytes(file), path) if path and file.is_file() else None
    return found


def was_unloaded(host: Host) -> bool:
    return host.path(UNLOADED).exists()


@pytest.fixture(scope="module")
def prepared(new_host: NewHost, builder: Host) -> Host:
    """Return a host with the sources, both archives, and the fork's tree compiled for B."""
    host = new_host("prepared")
    copy_source(host)
    give_archive(builder, host)
    made = builder.module("dkms_module", **{**EXPORT, "patches": [], "archive": OTHER})
    assert "failed" not in made, made
    shutil.copy2(builder.path(OTHER), host.path(OTHER))
    shutil.copytree(SIMULATED / "kernel", host.path("/srv/fork"), symlinks=True)
    host.run("make", "-C", "/srv/fork", "modules", "-j2", f"KERNEL_UNAME={host.kernel}")
    stub(host, "rmmod", f"echo $* >> {UNLOADED}")
    return host


@pytest.fixture(scope="module")
def bases(new_host: NewHost, prepared: Host) -> Pair:
    product = new_host("product", like=prepared)
    assert "failed" not in product.module("dkms_module", **INSTALL)
    control = new_host("control", like=prepared)
    video = control.path(f"/lib/modules/{control.kernel}/kernel/drivers/video")
    video.mkdir(parents=True, exist_ok=True)
    for name in MODULES:
        shutil.copy2(product.installed(name), video)
    control.run("depmod", "-a", control.kernel)
    assert resolved(control) == resolved(product)
    return Pair(product, control)


@pytest.fixture
def hosts(new_host: NewHost, bases: Pair) -> Pair:
    return Pair(new_host("p", like=bases.product), new_host("c", like=bases.control))


def test_without_a_fault_both_exchange_the_build(hosts: Pair) -> None:
    before = resolved(hosts.product)
    assert "failed" not in hosts.product.module("dkms_module", **INSTALL_OTHER)
    hosts.procedure()
    after = resolved(hosts.product)
    assert all(after[name] != before[name] for name in ("nvidia",))
    assert None not in after.values() and None not in resolved(hosts.control).values()
    assert not was_unloaded(hosts.product)


@pytest.mark.parametrize(
    ("fault", "compiler"),
    [("this is not C;\n", None), ("/* touched */\n", "kill -KILL $$")],
    ids=["compile_error", "out_of_memory"],
)
def test_a_failed_build_leaves_the_host_as_it_is(
    hosts: Pair, fault: str, compiler: str | None
) -> None:
    before = hosts.product.tree("lib/modules")
    hosts.break_source(fault)
    if compiler is not None:
        # Debian's kernels name the compiler with its version.
        for tool in hosts.product.path("/usr/bin").glob("gcc*"):
            if tool.name.strip("gc-").isdigit() or tool.name == "gcc":
                hosts.stub(tool.name, compiler)
    result = hosts.product.module("dkms_module", **{**EXPORT, "archive": "/srv/new.tar.gz"})
    assert result["error"]["code"] == "driver_build_failed", result
    assert hosts.product.tree("lib/modules") == before
    assert not was_unloaded(hosts.product)
    hosts.procedure()
    assert was_unloaded(hosts.control), "the control kept its driver"


def test_a_killed_make_leaves_the_host_as_it_is(hosts: Pair) -> None:
    before = hosts.product.tree("lib/modules")
    hosts.stub("make", "kill -KILL $PPID $$")
    arguments = {**EXPORT, "patches": [], "archive": "/srv/new.tar.gz"}
    assert hosts.product.module("dkms_module", **arguments).get("failed")
    assert hosts.product.tree("lib/modules") == before
    assert not was_unloaded(hosts.product)
    hosts.procedure()
    assert was_unloaded(hosts.control), "the control kept its driver"


def test_a_copy_that_fails_half_way_leaves_no_mixture(hosts: Pair) -> None:
    before = resolved(hosts.product)
    hosts.stub("cp", 'case "$*" in *nvidia-modeset.ko*) exit 1;; esac\nexec /bin/cp "$@"')
    result = hosts.product.module("dkms_module", **INSTALL_OTHER)
    assert result["error"]["code"] == "install_incomplete", result
    assert resolved(hosts.product) == before

    stub(hosts.control, "cp", 'case "$*" in *nvidia.ko*) exit 1;; esac\nexec /bin/cp "$@"')
    hosts.procedure()
    now = resolved(hosts.control)
    kept = {name for name in MODULES if now[name] == before[name]}
    assert kept and kept != set(MODULES), "the control has no mixture"


def test_a_death_between_two_modules_leaves_no_mixture(hosts: Pair) -> None:
    before = resolved(hosts.product)
    stub(hosts.product, "cp", dying_copy("*/updates/dkms/nvidia-uvm.ko", "dkms|python3"))
    run_until_killed(hosts.product, **INSTALL_OTHER)
    # DKMS has taken the former files away by then, and copied one of the new ones.
    assert resolved(hosts.product) == before
    hosts.product.path("/usr/local/sbin/cp").unlink()
    assert "failed" not in hosts.product.module("dkms_module", **INSTALL_OTHER)
    assert resolved(hosts.product)["nvidia"] not in (None, before["nvidia"])
    assert not list(hosts.product.path("/lib/modules").glob("*/gpufleet-standby"))
    assert not list(hosts.product.path("/run/depmod.d").glob("gpufleet-*"))

    stub(hosts.control, "cp", dying_copy("*nvidia-modeset.ko*", "bash|make|sh"))
    hosts.procedure()
    now = resolved(hosts.control)
    kept = {name for name in MODULES if now[name] == before[name]}
    assert kept and kept != set(MODULES), "the control has no mixture"


def test_a_module_cut_short_is_not_left_to_be_loaded(hosts: Pair) -> None:
    # As a power cut leaves it, before the data is on the disk.
    cut = """
target="${@: -1}"
/bin/cp "$@"
case "$target" in *nvidia-uvm.ko) : > "$target" ;; esac
"""
    before = resolved(hosts.product)
    hosts.stub("cp", cut)
    result = hosts.product.module("dkms_module", **INSTALL_OTHER)
    assert result["error"]["code"] == "install_incomplete", result
    assert resolved(hosts.product) == before
    hosts.procedure()
    path = hosts.control.path(f"/lib/modules/{hosts.control.kernel}/kernel/drivers/video")
    assert (path / "nvidia-uvm.ko").stat().st_size == 0, "the control has a whole module"


@contextlib.contextmanager
def full(host: Host, place: str, left: int) -> Iterator[None]:
    """Put what is at ``place`` on a file system of its own with ``left`` bytes free."""
    directory = host.path(place)
    directory.mkdir(parents=True, exist_ok=True)
    kept = host.path("/srv/kept")
    shutil.copytree(directory, kept, symlinks=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256m", "tmpfs", directory], check=True)
    try:
        subprocess.run(["cp", "-a", f"{kept}/.", str(directory)], check=True)
        usage = shutil.disk_usage(directory)
        subprocess.run(
            ["mount", "-o", f"remount,size={usage.used + max(left, 4096)}", str(directory)],
            check=True,
        )
        yield
    finally:
        subprocess.run(["umount", str(directory)], check=True)
        shutil.rmtree(kept)


@pytest.mark.parametrize("left", [0, 100_000])
@pytest.mark.parametrize("place", ["/var/lib/dkms", "/usr/src", "/var/lib/gpufleet"])
def test_a_full_disk_never_damages_the_driver(hosts: Pair, place: str, left: int) -> None:
    before = resolved(hosts.product)
    with full(hosts.product, place, left):
        result = hosts.product.module("dkms_module", **INSTALL_OTHER)
        now = resolved(hosts.product)
        assert now == before if result.get("failed") else None not in now.values(), result
    # With room again, the next run completes it.
    assert "failed" not in hosts.product.module("dkms_module", **INSTALL_OTHER)
    assert None not in resolved(hosts.product).values()


def test_a_full_boot_never_damages_the_image(hosts: Pair) -> None:
    """An image that could not be made anew has the old driver, and the host the new one's files."""
    for each in (hosts.product, hosts.control):
        with each.path("/etc/initramfs-tools/modules").open("a") as modules:
            modules.write("nvidia\n")
        each.run("update-initramfs", "-u", "-k", each.kernel)
    host, control = hosts.product, hosts.control
    image = host.path(f"/boot/initrd.img-{host.kernel}")
    before = image.read_bytes()
    for part in (0, 0.5, 1.1):
        with full(host, "/boot", int(len(before) * part)):
            result = host.module("dkms_module", **INSTALL_OTHER)
            assert result["error"]["code"] == "boot_space_low", (part, result)
            assert image.read_bytes() == before
            assert image_build(host) == resolved(host)["nvidia"]
    with full(host, "/boot", len(before) * 2):
        assert "failed" not in host.module("dkms_module", **INSTALL_OTHER)
        assert image_build(host) == resolved(host)["nvidia"]
    with full(control, "/boot", 0):
        hosts.procedure()
        control.run("update-initramfs", "-u", "-k", control.kernel, check=False)
        assert image_build(control) != resolved(control)["nvidia"], "the control has one driver"


def test_a_full_disk_costs_the_procedure_its_driver(hosts: Pair) -> None:
    hosts.break_source("/* touched */\n")
    with full(hosts.control, "/srv/fork", 0):
        hosts.procedure()
        assert was_unloaded(hosts.control)


class TestTheLoadedModuleIsOurs:
    def test_a_vendors_dkms_package(self, hosts: Pair) -> None:
        """The vendor's modules in updates/dkms outrank kernel/drivers/video without a word."""
        for host in (hosts.product, hosts.control):
            updates = host.path(f"/lib/modules/{host.kernel}/updates/dkms")
            updates.mkdir(parents=True, exist_ok=True)
            shutil.copy2(hosts.product.path("/srv/fork/kernel-open/nvidia.ko"), updates)
            state = host.path(f"/var/lib/dkms/vendor/{VERSION}/{host.kernel}/x86_64/module")
            state.mkdir(parents=True)
            shutil.copy2(updates / "nvidia.ko", state)
            link = host.path(f"/var/lib/dkms/vendor/kernel-{host.kernel}-x86_64")
            link.symlink_to(f"{VERSION}/{host.kernel}/x86_64")
            host.run("depmod", "-a", host.kernel)
        result = hosts.product.module("dkms_module", **INSTALL_OTHER)
        assert result["error"]["code"] == "competing_dkms_package", result
        hosts.procedure()
        assert "/updates/dkms/" in str(hosts.control.installed("nvidia")), "the control won"

    def test_debians_redirection(self, hosts: Pair) -> None:
        line = "install nvidia modprobe -i nvidia-current $CMDLINE_OPTS\n"
        for host in (hosts.product, hosts.control):
            host.path("/etc/modprobe.d/nvidia.conf").write_text(line)
        result = hosts.product.module("dkms_module", **INSTALL_OTHER)
        assert result["error"]["code"] == "modprobe_redirected", result
        hosts.procedure()
        words = ("modprobe", "-S", hosts.control.kernel, "--show-depends", "nvidia")
        assert "nvidia-current" in hosts.control.run(*words), "the control loads its module"

    def test_a_stale_initramfs(self, hosts: Pair) -> None:
        for host in (hosts.product, hosts.control):
            with host.path("/etc/initramfs-tools/modules").open("a") as modules:
                modules.write("nvidia\n")
            host.run("update-initramfs", "-u", "-k", host.kernel)
        before = {host: image_build(host) for host in (hosts.product, hosts.control)}
        assert "failed" not in hosts.product.module("dkms_module", **INSTALL_OTHER)
        assert image_build(hosts.product) == resolved(hosts.product)["nvidia"]
        hosts.procedure()
        assert image_build(hosts.control) == before[hosts.control]
        assert image_build(hosts.control) != resolved(hosts.control)["nvidia"]


def image_build(host: Host) -> str | None:
    """Return the build-id of the nvidia module inside the initramfs."""
    host.run("rm", "-rf", "/srv/image")
    host.run("unmkinitramfs", f"/boot/initrd.img-{host.kernel}", "/srv/image")
    (path,) = host.path("/srv/image").rglob("nvidia.ko")
    return build_id_of(module_bytes(path), str(path))


def test_removal_brings_the_former_tree_back_and_the_procedure_has_none(
    new_host: NewHost, prepared: Host
) -> None:
    trees = ("etc", "boot", "lib/modules", "usr/src", "var/lib/dkms", "var/lib/gpufleet")
    product, control = new_host("p", like=prepared), new_host("c", like=prepared)
    before = product.tree(*trees)
    product.module("dkms_module", **INSTALL)
    product.module("dkms_module", state="absent")
    assert product.tree(*trees) == before
    before = control.tree(*trees)
    Pair(product, control).procedure()
    control.run("make", "-C", "/srv/fork", "clean", check=False)
    assert control.tree(*trees) != before
