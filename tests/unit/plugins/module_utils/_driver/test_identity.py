# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Running and installed modules read from fake trees; depmod and modinfo are the real ones."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from ansible_collections.gpufleet.p2p.plugins.module_utils._driver import identity
from support.elf_objects import build_id_note, module_image

KERNEL = "6.1.0-56-cloud-amd64"
STOCK, OURS = b"\x11" * 20, b"\x22" * 20


def running(root: Path, name: str, *, version: str = "595.58.03", build_id: bytes = OURS) -> None:
    directory = root / "sys/module" / name
    (directory / "notes").mkdir(parents=True)
    (directory / "initstate").write_text("live\n")
    (directory / "version").write_text(version + "\n")
    (directory / "notes/.note.gnu.build-id").write_bytes(build_id_note(build_id))


def installed(root: Path, relative: str, build_id: bytes) -> Path:
    path = root / "lib/modules" / KERNEL / relative
    path.parent.mkdir(parents=True, exist_ok=True)
    name = path.name.partition(".")[0].replace("-", "_")
    path.write_bytes(module_image(build_id, {"version": "595.58.03", "name": name}))
    return path


def depmod(root: Path) -> None:
    (root / "etc/depmod.d").mkdir(parents=True, exist_ok=True)
    subprocess.run(["depmod", "-b", str(root), KERNEL], check=True, capture_output=True)


def test_the_running_module_is_read_from_sysfs(tmp_path: Path) -> None:
    running(tmp_path, "nvidia_uvm")
    assert identity.loaded_module(tmp_path, "nvidia-uvm") == identity.LoadedModule(
        "nvidia-uvm", "595.58.03", OURS.hex()
    )


def test_a_module_that_is_not_loaded_is_none(tmp_path: Path) -> None:
    assert identity.loaded_module(tmp_path, "nvidia") is None


def test_a_built_in_driver_with_parameters_is_not_a_loaded_module(tmp_path: Path) -> None:
    (tmp_path / "sys/module/nvidia/parameters").mkdir(parents=True)
    assert identity.loaded_module(tmp_path, "nvidia") is None


class TestInstalled:
    def test_updates_outranks_the_distributions_module(self, tmp_path: Path) -> None:
        installed(tmp_path, "kernel/drivers/video/nvidia.ko", STOCK)
        installed(tmp_path, "updates/dkms/nvidia.ko", OURS)
        depmod(tmp_path)
        found = identity.installed_module(tmp_path, KERNEL, "nvidia")
        assert found == identity.InstalledModule(
            name="nvidia",
            path=f"/lib/modules/{KERNEL}/updates/dkms/nvidia.ko",
            version="595.58.03",
            build_id=OURS.hex(),
            signer=None,
        )

    def test_without_any_module_there_is_none(self, tmp_path: Path) -> None:
        (tmp_path / "lib/modules" / KERNEL).mkdir(parents=True)
        depmod(tmp_path)
        assert identity.installed_module(tmp_path, KERNEL, "nvidia") is None

    def test_a_file_that_vanished_after_depmod_is_none(self, tmp_path: Path) -> None:
        path = installed(tmp_path, "updates/dkms/nvidia.ko", OURS)
        depmod(tmp_path)
        path.unlink()
        assert identity.installed_module(tmp_path, KERNEL, "nvidia") is None

    def test_modprobe_configuration_that_bypasses_the_module_is_seen(self, tmp_path: Path) -> None:
        installed(tmp_path, "updates/dkms/nvidia.ko", OURS)
        depmod(tmp_path)
        assert identity.modprobe_override(tmp_path, KERNEL, "nvidia") is None
        (tmp_path / "etc/modprobe.d").mkdir(parents=True)
        (tmp_path / "etc/modprobe.d/nvidia.conf").write_text(
            "install nvidia modprobe -i nvidia-current $CMDLINE_OPTS\n"
        )
        found = identity.modprobe_override(tmp_path, KERNEL, "nvidia")
        assert found is not None and found.startswith("install modprobe -i nvidia-current")

    def test_an_alias_that_leads_to_another_module_is_seen(self, tmp_path: Path) -> None:
        installed(tmp_path, "updates/dkms/nvidia.ko", OURS)
        installed(tmp_path, "updates/dkms/nvidia-current.ko", STOCK)
        depmod(tmp_path)
        (tmp_path / "etc/modprobe.d").mkdir(parents=True)
        (tmp_path / "etc/modprobe.d/nvidia.conf").write_text("alias nvidia nvidia-current\n")
        found = identity.modprobe_override(tmp_path, KERNEL, "nvidia")
        assert found is not None and found.endswith("/updates/dkms/nvidia-current.ko")


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("insmod /lib/modules/6.1/updates/dkms/nvidia.ko \n", None),
        ("", None),
        ("insmod /a/ecc.ko\ninstall /bin/false\n", "install /bin/false"),
        ("install /sbin/extra\ninsmod /a/nvidia.ko.zst NVreg_X=1\n", None),
        ("insmod /a/nvidia-current.ko \n", "insmod /a/nvidia-current.ko"),
        ("builtin nvidia\n", "builtin nvidia"),
        # softdep nvidia post: nvidia-uvm
        ("insmod /a/nvidia.ko \ninsmod /a/nvidia-uvm.ko \n", None),
    ],
)
def test_show_depends_output(said: str, expected: str | None) -> None:
    assert identity.parse_override(said, "nvidia") == expected
