# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Faults in building and installing: each is named, and what was installed stays as it was."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.driver_hosts import (
    ARCHIVE,
    EXPORT,
    INSTALL,
    VERSION,
    Host,
    copy_source,
    damage_archive,
    dying_copy,
    give_archive,
    run_until_killed,
    stub,
)

NewHost = Callable[[str], Host]
TREES = ("etc", "boot", "lib/modules", "usr/src", "var/lib/dkms")
SOURCE_FILE = "/srv/source/kernel-open/nvidia/nv.c"


@pytest.fixture
def installed(new_host: NewHost, builder: Host) -> Host:
    """Return a host that runs our build and could build itself."""
    host = new_host("installed")
    copy_source(host)
    give_archive(builder, host)
    assert "failed" not in host.module("dkms_module", **INSTALL)
    return host


def refused(result: dict[str, Any]) -> str:
    assert result.get("failed"), result
    assert result["error"]["read"] and result["error"]["remedy"]
    return str(result["error"]["code"])


class TestBuildFaults:
    def test_a_compile_error_is_shown_and_changes_nothing(self, installed: Host) -> None:
        before = installed.tree(*TREES)
        with installed.path(SOURCE_FILE).open("a") as source:
            source.write("\nthis is not C;\n")
        result = installed.module("dkms_module", **EXPORT)
        assert refused(result) == "driver_build_failed"
        assert "error:" in result["error"]["read"]
        # DKMS may make itself a signing key where it signs; nothing else may differ.
        after = installed.tree(*TREES)
        assert {k: v for k, v in after.items() if "/mok." not in k} == before

    def test_a_patch_that_does_not_apply_is_refused_before_a_compile(self, installed: Host) -> None:
        before = installed.tree(*TREES)
        patch = installed.path("/srv/patches/peer-to-peer.patch")
        patch.write_text(patch.read_text().replace("EnableResizableBar, 0", "NoSuchLine, 0"))
        result = installed.module("dkms_module", **EXPORT)
        assert refused(result) == "patch_does_not_apply"
        assert installed.tree(*TREES) == before

    def test_a_killed_make_is_healed_by_the_next_run(self, installed: Host) -> None:
        stub(installed, "make", "kill -KILL $PPID; kill -KILL $$")
        arguments = {**EXPORT, "patches": []}
        assert installed.module("dkms_module", **arguments).get("failed")
        installed.path("/usr/local/sbin/make").unlink()
        result = installed.module("dkms_module", **arguments)
        assert result["changed"], result

    def test_a_stale_build_directory_is_not_taken_for_a_build(
        self, installed: Host, new_host: NewHost, builder: Host
    ) -> None:
        """As a power cut leaves it: a name whose data never reached the disk."""
        arguments = {**EXPORT, "state": "built"}
        made = installed.module("dkms_module", **arguments)
        directory = installed.path(made["modules"][0]["path"]).parent
        (directory.parent / "gpufleet.json").unlink()
        (directory / "nvidia-drm.ko").write_bytes(b"")
        again = installed.module("dkms_module", **arguments)
        assert again["changed"], again
        assert len(again["modules"]) == 5

        control = new_host("stale")
        give_archive(builder, control)
        _vendor_package(builder, control, stale="nvidia-drm.ko")
        assert "installed" in control.run("dkms", "status", "-m", "vendor-nvidia")
        copied = control.path(f"/lib/modules/{control.kernel}/updates/dkms/nvidia-drm.ko")
        assert copied.stat().st_size == 0, "the control, DKMS alone, did not take it"

    def test_missing_headers_and_a_wrong_version_are_named(self, installed: Host) -> None:
        nowhere = {**EXPORT, "kernel": "6.1.0-99-amd64"}
        assert refused(installed.module("dkms_module", **nowhere)) == "kernel_headers_missing"
        other = {**EXPORT, "version": "590.48.01"}
        assert refused(installed.module("dkms_module", **other)) == "source_version_mismatch"

    def test_the_old_call_of_a_changed_kernel_function_is_refused(self, installed: Host) -> None:
        with installed.path(SOURCE_FILE).open("a") as source:
            source.write("\nint f(void) { return pci_resize_resource(dev, 1, size); }\n")
        result = installed.module("dkms_module", **EXPORT)
        assert refused(result) == "kernel_signature_mismatch"


class TestInstallFaults:
    def test_a_damaged_archive_changes_nothing(self, installed: Host) -> None:
        before = installed.tree(*TREES)
        damage_archive(installed)
        assert refused(installed.module("dkms_module", **INSTALL)) == "archive_unfit"
        assert installed.tree(*TREES) == before

    def test_a_truncated_installed_module_is_healed(self, installed: Host) -> None:
        path = installed.installed("nvidia-uvm")
        whole = path.read_bytes()
        path.write_bytes(whole[: len(whole) // 2])
        result = installed.module("dkms_module", **INSTALL)
        assert any("nvidia-uvm" in action for action in result["actions"]), result
        assert path.read_bytes() == whole

    def test_removal_takes_a_truncated_module_along(self, installed: Host) -> None:
        path = installed.installed("nvidia-uvm")
        path.write_bytes(path.read_bytes()[:100])
        assert installed.module("dkms_module", state="absent")["changed"]
        assert not path.exists()

    def test_a_death_between_two_modules_is_healed(self, new_host: NewHost, builder: Host) -> None:
        host = new_host("dying")
        give_archive(builder, host)
        stub(host, "cp", dying_copy("*/updates/dkms/nvidia-uvm.ko", "dkms|python3"))
        before = host.tree("lib/modules")
        run_until_killed(host, **INSTALL)
        assert host.tree("lib/modules") != before
        host.path("/usr/local/sbin/cp").unlink()
        result = host.module("dkms_module", **INSTALL)
        assert len(result["modules"]) == 5, result
        host.module("dkms_module", state="absent")
        assert host.tree("lib/modules") == before

    def test_a_partial_copy_is_rolled_back(self, new_host: NewHost, builder: Host) -> None:
        host = new_host("partial")
        give_archive(builder, host)
        before = host.tree("lib/modules")
        stub(
            host,
            "cp",
            'case "$*" in */updates/dkms/nvidia-drm.ko) exit 1;; esac\nexec /bin/cp "$@"',
        )
        assert refused(host.module("dkms_module", **INSTALL)) == "install_incomplete"
        assert host.tree("lib/modules") == before

    def test_a_modprobe_line_that_bypasses_the_module_is_refused(
        self, new_host: NewHost, builder: Host
    ) -> None:
        host = new_host("redirected")
        give_archive(builder, host)
        line = "install nvidia modprobe -i nvidia-current $CMDLINE_OPTS\n"
        host.path("/etc/modprobe.d/nvidia.conf").write_text(line)
        before = host.tree("lib/modules")
        assert refused(host.module("dkms_module", **INSTALL)) == "modprobe_redirected"
        assert host.tree("lib/modules") == before

    def test_another_packages_module_is_not_overwritten(
        self, new_host: NewHost, builder: Host
    ) -> None:
        host = new_host("vendor")
        give_archive(builder, host)
        _vendor_package(builder, host)
        before = host.tree("lib/modules")
        result = host.module("dkms_module", **INSTALL)
        assert refused(result) == "competing_dkms_package"
        assert "vendor-nvidia/595.58.03" in result["error"]["read"]
        assert host.tree("lib/modules") == before

    def test_an_unowned_file_at_the_destination_is_not_overwritten(
        self, new_host: NewHost, builder: Host
    ) -> None:
        host = new_host("occupied")
        give_archive(builder, host)
        path = host.path(f"/lib/modules/{host.kernel}/updates/dkms/nvidia.ko")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"not ours")
        assert refused(host.module("dkms_module", **INSTALL)) == "destination_occupied"
        assert path.read_bytes() == b"not ours"


def _vendor_package(builder: Host, host: Host, stale: str | None = None) -> None:
    """Install the same driver under a vendor's package name, through dkms itself.

    Of the build that dkms finds, the module file ``stale`` is empty.
    """
    archive = host.path("/srv/vendor")
    archive.mkdir()
    host.run("tar", "-xf", ARCHIVE, "-C", "/srv/vendor")
    source = host.path(f"/usr/src/vendor-nvidia-{VERSION}")
    shutil.copytree(archive / "dkms_source_tree", source)
    conf = source / "dkms.conf"
    conf.write_text(conf.read_text().replace("gpufleet-nvidia", "vendor-nvidia"))
    host.run("dkms", "add", "-m", "vendor-nvidia", "-v", VERSION)
    built = Path(f"/var/lib/dkms/vendor-nvidia/{VERSION}/{host.kernel}")
    shutil.copytree(archive / "dkms_main_tree" / host.kernel, host.path(built))
    if stale is not None:
        (path,) = host.path(built).glob(f"*/module/{stale}")
        path.write_bytes(b"")
    host.run("dkms", "install", "-m", "vendor-nvidia", "-v", VERSION, "-k", host.kernel)
