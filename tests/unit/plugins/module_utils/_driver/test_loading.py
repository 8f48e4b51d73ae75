# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What holds the running driver, and when a swap is refused, on fake /proc and /sys trees."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from ansible_collections.gpufleet.p2p.plugins.module_utils._driver import loading
from ansible_collections.gpufleet.p2p.plugins.module_utils._host import services
from ansible_collections.gpufleet.p2p.plugins.module_utils._host.commands import CommandResult
from support.elf_objects import build_id_note, module_image

KERNEL = "6.1.0-56-cloud-amd64"
OLD, NEW = b"\x11" * 20, b"\x22" * 20


def running(root: Path, name: str, build_id: bytes, *users: str, refcnt: int = 0) -> None:
    directory = root / "sys/module" / name
    (directory / "notes").mkdir(parents=True)
    (directory / "holders").mkdir()
    for user in users:
        (directory / "holders" / user).touch()
    (directory / "initstate").write_text("live\n")
    (directory / "refcnt").write_text(f"{refcnt}\n")
    (directory / "notes/.note.gnu.build-id").write_bytes(build_id_note(build_id))


def process(root: Path, pid: int, name: str, target: str, unit: str = "") -> None:
    directory = root / "proc" / str(pid)
    (directory / "fd").mkdir(parents=True)
    (directory / "comm").write_text(f"{name}\n")
    (directory / "fd/3").symlink_to(target)
    (directory / "cgroup").write_text(f"0::/system.slice/{unit}\n")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return a host whose new build is installed while the old one runs, unused."""
    modules = tmp_path / "lib/modules" / KERNEL / "updates/dkms"
    modules.mkdir(parents=True)
    (tmp_path / "etc/depmod.d").mkdir(parents=True)
    (modules / "nvidia.ko").write_bytes(module_image(NEW, {"name": "nvidia"}))
    subprocess.run(["depmod", "-b", str(tmp_path), KERNEL], check=True, capture_output=True)
    running(tmp_path, "nvidia", OLD, "nvidia_uvm", refcnt=1)
    running(tmp_path, "nvidia_uvm", OLD)
    (tmp_path / "proc").mkdir()
    return tmp_path


def refusal_of(root: Path, expected: bytes = NEW) -> loading.SwapRefused:
    with pytest.raises(loading.SwapRefused) as error:
        loading.require_swappable(root, KERNEL, "nvidia", expected.hex())
    return error.value


def test_old_and_new_do_not_match(root: Path) -> None:
    identity = loading.identify(root, KERNEL, "nvidia")
    assert not identity.matches(None)
    assert not identity.matches(NEW.hex())


def test_a_driver_that_was_loaded_with_other_registry_keys_does_not_match(root: Path) -> None:
    (root / "proc/driver/nvidia").mkdir(parents=True)
    (root / "proc/driver/nvidia/params").write_text('RegistryDwords: "RMX=1"\n')
    notes = root / "sys/module/nvidia/notes/.note.gnu.build-id"
    notes.write_bytes(build_id_note(NEW))
    assert loading.identify(root, KERNEL, "nvidia").matches(NEW.hex())
    assert loading.identify(root, KERNEL, "nvidia", {"RMX": 1}).matches(NEW.hex())
    other = loading.identify(root, KERNEL, "nvidia", {"RMX": 2})
    assert other.differences == ("RMX is 1 instead of 2",)
    assert not other.matches(NEW.hex())


def test_an_unused_driver_may_be_swapped(root: Path) -> None:
    found = loading.require_swappable(root, KERNEL, "nvidia", NEW.hex())
    assert found.build_id == NEW.hex()
    assert loading.loaded_driver(root) == ("nvidia_uvm", "nvidia")


def test_without_the_new_build_in_place_nothing_may_be_unloaded(root: Path) -> None:
    assert refusal_of(root, b"\x33" * 20).code == "new_build_not_in_place"


def test_processes_are_named_with_their_pid(root: Path) -> None:
    process(root, 812, "nvidia-persiste", "/dev/nvidia0")
    process(root, 900, "bash", "/dev/pts/0")
    refusal = refusal_of(root)
    assert refusal.code == "driver_in_use"
    assert refusal.read == "in use by nvidia-persiste (812)"


def test_another_kernel_module_is_named(root: Path) -> None:
    (root / "sys/module/nvidia/holders/gdrdrv").touch()
    (root / "sys/module/nvidia/refcnt").write_text("2\n")
    assert "kernel module gdrdrv" in refusal_of(root).read


def test_a_console_in_the_kernel_is_told_by_its_reference(root: Path) -> None:
    running(root, "nvidia_drm", OLD, refcnt=1)
    assert "the kernel, through nvidia_drm" in refusal_of(root).read


class TestServices:
    UNIT = "nvidia-persistenced.service"

    @pytest.fixture
    def calls(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
        """Replace the commands: systemctl ends the unit's process, modprobe loads what is new."""
        made: list[list[str]] = []
        (root / "run/systemd/system").mkdir(parents=True)

        def run(words: list[str], **_options: object) -> CommandResult:
            if words[1] != "is-active":
                made.append([words[0], words[1], *words[3:]])
            if words[:2] == ["systemctl", "stop"]:
                shutil.rmtree(root / "proc/812")
            elif words[0] == "rmmod":
                shutil.rmtree(root / "sys/module" / words[1])
            elif words[0] == "modprobe":
                running(root, words[1], NEW)
            return CommandResult(tuple(words), 0, "", "")

        monkeypatch.setattr(services, "run", run)
        monkeypatch.setattr(loading, "run", run)
        # As a kernel has it while the file is open.
        (root / "sys/module/nvidia/refcnt").write_text("1\n")
        process(root, 812, "nvidia-persiste", "/dev/nvidia0", self.UNIT)
        return made

    def test_its_service_is_stopped_first_and_started_last(
        self, root: Path, calls: list[list[str]]
    ) -> None:
        assert loading.swap(root, KERNEL, "nvidia", NEW.hex(), [self.UNIT]) == (self.UNIT,)
        assert calls == [
            ["systemctl", "stop", self.UNIT],
            ["rmmod", "nvidia_uvm"],
            ["rmmod", "nvidia"],
            ["modprobe", "nvidia"],
            ["modprobe", "nvidia_uvm"],
            ["systemctl", "start", self.UNIT],
        ]

    def test_it_stays_where_it_was_not_named(self, root: Path, calls: list[list[str]]) -> None:
        with pytest.raises(loading.SwapRefused, match="driver_in_use"):
            loading.swap(root, KERNEL, "nvidia", NEW.hex())
        assert calls == []

    def test_it_stays_where_somebody_else_uses_the_driver_anyway(
        self, root: Path, calls: list[list[str]]
    ) -> None:
        process(root, 900, "python3", "/dev/nvidia0")
        with pytest.raises(loading.SwapRefused) as error:
            loading.swap(root, KERNEL, "nvidia", NEW.hex(), [self.UNIT])
        assert error.value.read == "in use by python3 (900)"
        assert calls == []

    def test_what_else_holds_the_driver_is_found_once_it_is_gone(
        self, root: Path, calls: list[list[str]]
    ) -> None:
        (root / "sys/module/nvidia/refcnt").write_text("2\n")
        with pytest.raises(loading.SwapRefused) as error:
            loading.swap(root, KERNEL, "nvidia", NEW.hex(), [self.UNIT])
        assert error.value.read == "in use by the kernel, through nvidia"
        assert calls == [["systemctl", "stop", self.UNIT], ["systemctl", "start", self.UNIT]]


@pytest.mark.parametrize(("before", "meanwhile"), [("0", "30"), ("-1", "-1"), ("60", "60")])
def test_a_panic_restarts_the_host_meanwhile(root: Path, before: str, meanwhile: str) -> None:
    setting = root / "proc/sys/kernel/panic"
    setting.parent.mkdir(parents=True)
    setting.write_text(f"{before}\n")
    with pytest.raises(RuntimeError), loading.restarting_on_panic(root):
        assert setting.read_text().strip() == meanwhile
        raise RuntimeError
    assert setting.read_text().strip() == before
