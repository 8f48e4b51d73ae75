# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A driver built once, exported, imported into other hosts, installed, taken off again."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from support.driver_hosts import (
    ARCHIVE,
    EXPORT,
    INSTALL,
    VERSION,
    Host,
    archived_modules,
    give_archive,
    stub,
)

NewHost = Callable[[str], Host]
MODULES = {"nvidia", "nvidia-uvm", "nvidia-modeset", "nvidia-drm", "nvidia-peermem"}
#: What the promise of a complete undo covers.
TREES = ("etc", "boot", "lib/modules", "usr/src", "var/lib/dkms", "var/lib/gpufleet")


def build_ids(result: dict) -> dict[str, str]:
    return {module["name"]: module["build_id"] for module in result["modules"]}


@pytest.fixture
def target(new_host: NewHost, builder: Host) -> Host:
    host = new_host("target")
    give_archive(builder, host)
    # A host without a compiler: an import that compiles fails here.
    for tool in ("gcc", "cc", "make"):
        host.path(f"/usr/bin/{tool}").unlink()
    return host


class TestBuilder:
    def test_the_archive_and_its_manifest_hold_all_five_modules(self, builder: Host) -> None:
        manifest = json.loads(builder.path(f"{ARCHIVE}.json").read_text())
        assert {module["name"] for module in manifest["modules"]} == MODULES
        assert len({module["build_id"] for module in manifest["modules"]}) == len(MODULES)
        assert manifest["kernel"] == builder.kernel
        assert "GCC" in manifest["compiler"]
        assert manifest["kernel_compiler"].startswith("gcc-12 (Debian ")
        assert archived_modules(builder) == {f"{name}.ko" for name in MODULES}

    def test_the_same_content_is_not_built_again(self, builder: Host) -> None:
        before = builder.path(ARCHIVE).stat().st_mtime_ns
        result = builder.module("dkms_module", **EXPORT)
        assert not result["changed"] and result["actions"] == []
        assert builder.path(result["log"]).read_text().count("nv.o") > 0
        assert result["objects"] >= len(MODULES)
        assert builder.path(ARCHIVE).stat().st_mtime_ns == before

    def test_a_tar_archive_of_the_source_is_the_same_build(self, builder: Host) -> None:
        builder.run("tar", "-C", "/srv", "-czf", "/srv/source.tar.gz", "source")
        result = builder.module("dkms_module", **{**EXPORT, "source": "/srv/source.tar.gz"})
        assert not result["changed"]

    def test_with_another_patch_it_is_another_build(self, builder: Host) -> None:
        # One that no other test builds: they share the builder.
        patches = [*EXPORT["patches"], "/srv/patches/panic-on-load.patch"]
        result = builder.module("dkms_module", check_mode=True, **{**EXPORT, "patches": patches})
        assert result["changed"]
        assert result["actions"][0].startswith("build ")

    def test_the_hosts_kernel_has_to_be_of_the_headers_compiler(self, builder: Host) -> None:
        manifest = json.loads(builder.path(f"{ARCHIVE}.json").read_text())
        rebuilt = manifest["kernel_compiler"].replace("deb12u", "deb12u9")
        same = builder.module("dkms_module", **EXPORT, kernel_compiler=rebuilt)
        assert not same.get("failed", False) and not same["changed"], same
        other = builder.module(
            "dkms_module", **EXPORT, kernel_compiler="gcc-13 (Ubuntu 13.2.0-23ubuntu4) 13.2.0"
        )
        assert other["error"]["code"] == "kernel_compiler_mismatch"

    def test_headers_of_another_compiler_are_another_kernel(self, builder: Host) -> None:
        headers = builder.path(f"/lib/modules/{builder.kernel}/build").readlink()
        path = builder.path(headers / "include/config/auto.conf")
        text = path.read_text()
        path.write_text(re.sub(r"(?m)^(CONFIG_CC_VERSION_TEXT=.*) 12\.2\.0$", r"\1 13.2.0", text))
        rebuilt = builder.module("dkms_module", check_mode=True, **EXPORT)
        path.write_text(text)
        assert rebuilt["actions"][0].startswith("build ")
        assert builder.module("dkms_module", check_mode=True, **EXPORT)["actions"] == []

    def test_two_builds_at_once_are_compiled_one_after_another(self, builder: Host) -> None:
        # Refuses to begin while another make of DKMS's is at work.
        make = builder.path("/usr/local/bin/make")
        make.write_text(
            '#!/bin/sh\n[ -z "$MAKELEVEL" ] || exec /usr/bin/make "$@"\n'
            "mkdir /srv/compiling || exit 1\nsleep 2\n"
            '/usr/bin/make "$@"\nstatus=$?\nrmdir /srv/compiling\nexit $status\n'
        )
        make.chmod(0o755)
        patches = []
        for name in ("one", "two"):
            patch = builder.path(f"/srv/patches/{name}.patch")
            patch.write_text(f"--- /dev/null\n+++ b/{name}\n@@ -0,0 +1 @@\n+{name}\n")
            patches.append([*EXPORT["patches"], f"/srv/patches/{name}.patch"])
        arguments = {**EXPORT, "state": "built", "archive": None}
        with ThreadPoolExecutor() as pool:
            results = list(
                pool.map(
                    lambda chosen: builder.module(
                        "dkms_module", **{**arguments, "patches": chosen}
                    ),
                    patches,
                )
            )
        make.unlink()
        assert [result.get("changed") for result in results] == [True, True], results

    def test_the_builders_own_dkms_knows_nothing_of_it(self, builder: Host) -> None:
        assert builder.run("dkms", "status") == ""
        assert not list(builder.path("/usr/src").glob("gpufleet*"))


class TestTarget:
    def test_install_then_again_then_absent(self, target: Host, builder: Host) -> None:
        before = target.tree(*TREES)
        manifest = json.loads(builder.path(f"{ARCHIVE}.json").read_text())

        planned = target.module("dkms_module", check_mode=True, **INSTALL)
        assert planned["changed"], planned
        assert target.tree(*TREES) == before

        done = target.module("dkms_module", **INSTALL)
        assert done["changed"], done
        assert build_ids(done) == {m["name"]: m["build_id"] for m in manifest["modules"]}
        assert all("/updates/dkms/" in module["path"] for module in done["modules"])
        assert [entry["status"] for entry in done["status"]] == ["installed"]
        assert planned["diff"]["after"] == done["diff"]["after"]

        again = target.module("dkms_module", **INSTALL)
        assert not again["changed"], again

        gone = target.module("dkms_module", state="absent", version=VERSION)
        assert gone["changed"], gone
        assert target.tree(*TREES) == before
        assert not target.module("dkms_module", state="absent")["changed"]

    def test_another_build_replaces_the_one_that_dkms_holds_to_be_installed(
        self, target: Host, builder: Host
    ) -> None:
        target.module("dkms_module", **INSTALL)
        other = "/srv/other.dkms.tar.gz"
        exported = builder.module("dkms_module", **{**EXPORT, "patches": [], "archive": other})
        shutil.copy2(builder.path(other), target.path(other))
        # As DKMS 2.8 has it (maybe_install_module), forced or not, and reports success.
        stub(
            target,
            "dkms",
            f"link=/var/lib/dkms/gpufleet-nvidia/kernel-{target.kernel}-$(uname -m)\n"
            'if [ "$1" = install ] && [ -L "$link" ]; then echo already installed; exit; fi\n'
            'exec /usr/sbin/dkms "$@"',
        )
        done = target.module("dkms_module", **{**INSTALL, "archive": other})
        assert build_ids(done) == build_ids(exported), done

    def test_import_alone_installs_nothing(self, target: Host) -> None:
        arguments = {**INSTALL, "state": "imported"}
        result = target.module("dkms_module", **arguments)
        assert result["changed"], result
        assert [entry["status"] for entry in result["status"]] == ["built"]
        assert not target.module("dkms_module", **arguments)["changed"]
        assert target.run("modinfo", "-k", target.kernel, "-n", "nvidia", check=False) == ""

    def test_the_stock_module_of_the_same_version_is_outranked(
        self, target: Host, builder: Host
    ) -> None:
        # dkms without --force skips what equals the version of a module in the kernel's directory.
        stock = target.path(f"/lib/modules/{target.kernel}/kernel/drivers/video/nvidia.ko")
        stock.parent.mkdir(parents=True, exist_ok=True)
        stock.write_bytes(_built(builder, "nvidia").read_bytes())
        target.run("depmod", "-a", target.kernel)
        before = target.tree(*TREES)
        done = target.module("dkms_module", **INSTALL)
        assert len(done["modules"]) == len(MODULES), done
        assert stock.exists()
        assert "/updates/dkms/" in str(target.installed("nvidia"))
        target.module("dkms_module", state="absent")
        assert target.tree(*TREES) == before

    def test_a_stale_module_in_the_initramfs_is_replaced_and_comes_back(
        self, target: Host, builder: Host
    ) -> None:
        stock = target.path(f"/lib/modules/{target.kernel}/kernel/drivers/video/nvidia.ko")
        stock.parent.mkdir(parents=True, exist_ok=True)
        stock.write_bytes(_other_build(builder))
        target.run("depmod", "-a", target.kernel)
        with target.path("/etc/initramfs-tools/modules").open("a") as modules:
            modules.write("nvidia\n")
        target.run("update-initramfs", "-u", "-k", target.kernel)
        before = target.tree(*TREES)

        done = target.module("dkms_module", **INSTALL)
        assert any(action.startswith("refresh /boot/") for action in done["actions"]), done
        listed = target.run("lsinitramfs", f"/boot/initrd.img-{target.kernel}")
        assert "updates/dkms/nvidia.ko" in listed
        assert not target.module("dkms_module", **INSTALL)["changed"]

        target.module("dkms_module", state="absent")
        assert target.tree(*TREES) == before

    def test_installed_is_not_running(self, target: Host) -> None:
        target.module("dkms_module", **INSTALL)
        looked = target.module("loaded_module", kernel=target.kernel)
        assert looked["build_id"] is None and not looked["matches"] and not looked["changed"]
        assert looked["path"] == f"/lib/modules/{target.kernel}/updates/dkms/nvidia.ko"
        expected = looked["installed_build_id"]
        arguments = {"kernel": target.kernel, "swap": True, "check_mode": True}
        planned = target.module("loaded_module", expected_build_id=expected, **arguments)
        assert planned["changed"]
        assert planned["diff"]["after"] == f"running: {VERSION} build-id {expected}\n"
        refused = target.module("loaded_module", expected_build_id="0" * 40, **arguments)
        assert refused["error"]["code"] == "new_build_not_in_place"


def _built(builder: Host, name: str):
    return next(builder.path("/var/cache/gpufleet/driver").glob(f"*/dkms/*/*/*/*/module/{name}.ko"))


def _other_build(builder: Host) -> bytes:
    """Return a module of another build-id, as a distribution's own package would bring."""
    result = builder.module("dkms_module", **{**EXPORT, "state": "built", "patches": []})
    return builder.path(result["modules"][0]["path"]).read_bytes()
