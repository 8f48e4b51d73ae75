# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One real machine: boots through GRUB, shows its hardware, survives crashes, leaves nothing."""

from __future__ import annotations

import json
import os
import signal
import socket
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from gpufleet.lab import Lab, read_description
from gpufleet.lab.lab import LabRefused
from gpufleet.lab.machine import MachineDied
from gpufleet.lab.paths import cache_directory

HOSTS = Path(__file__).parents[3] / "lab" / "hosts"
GIB = 1 << 30


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A lab of its own, on the images that all labs of this user share."""
    lab = Lab(tmp_path_factory.mktemp("lab"))
    # A small machine: this test looks at the boot and the hardware only.
    lab.up([replace(read_description(HOSTS / "alpha.json"), name="solo", memory_mib=1024)])
    yield lab
    lab.destroy()


def ask(lab: Lab, command: str) -> str:
    return lab.address("solo").run([command]).stdout.strip()


def test_it_came_up_through_its_own_grub_under_its_own_name(lab: Lab) -> None:
    assert lab.status().up
    assert ask(lab, "hostname") == "solo"
    assert ask(lab, "cat /proc/cmdline").startswith("BOOT_IMAGE=/boot/vmlinuz-")
    assert ask(lab, "systemctl is-system-running --wait") == "running"


def test_its_gpus_have_the_described_bars_ports_and_a_translating_iommu(lab: Lab) -> None:
    for gpu, port in (("01", "10"), ("02", "11")):
        device = f"/sys/bus/pci/devices/0000:{gpu}:00.0"
        start, end, _ = ask(lab, f"sed -n 3p {device}/resource").split()
        assert int(end, 16) - int(start, 16) + 1 == 32 * GIB
        assert ask(lab, f"cat {device}/iommu_group/type") in {"DMA", "DMA-FQ"}
        assert ask(lab, f"basename $(dirname $(readlink -f {device}))") == f"0000:00:{port}.0"
        link = f"/sys/bus/pci/devices/0000:00:{port}.0/current_link"
        assert ask(lab, f"cat {link}_width") == "8"


def test_the_stock_driver_and_the_description_are_in_place(lab: Lab) -> None:
    assert "595.58.03" in ask(lab, "cat /proc/driver/nvidia/version")
    assert "kernel/drivers/video" in ask(lab, "modinfo -F filename nvidia")
    described = json.loads(ask(lab, "cat /etc/gpufleet-lab/host.json"))
    assert described["name"] == "solo"
    assert "libcuda.so.1" in ask(lab, "ldconfig -p")
    assert "libnvidia-ml.so.1" in ask(lab, "ldconfig -p")


def test_a_fault_reaches_the_machine(lab: Lab) -> None:
    lab.set_fault("solo", "drop:0>1")
    assert ask(lab, "cat /etc/gpufleet-lab/fault") == "drop:0>1"
    lab.set_fault("solo", "none")


def test_the_builder_has_the_guests_headers_and_cannot_change_the_image(lab: Lab) -> None:
    builder = lab.address("builder")
    kernel = ask(lab, "uname -r")
    builder.run([f"test -e /lib/modules/{kernel}/build/Makefile"])
    builder.run(["touch /usr/src/mine && dkms --version"])
    assert not list(cache_directory().glob("base-*/root/usr/src/mine"))


def test_up_again_leaves_running_machines_alone(lab: Lab) -> None:
    before = [member.pid for member in lab.status().members]
    lab.up()
    assert [member.pid for member in lab.status().members] == before


def test_disks_are_not_copied_under_a_running_machine(lab: Lab) -> None:
    with pytest.raises(LabRefused, match="gpufleet lab down"):
        lab.snapshot("now")


def test_after_a_crash_the_lab_comes_up_with_its_disks(lab: Lab) -> None:
    ask(lab, "echo kept >/root/kept; sync")
    boot = ask(lab, "cat /proc/sys/kernel/random/boot_id")
    for name in ("solo", "builder"):
        process = _pid(lab, name)
        os.kill(process, signal.SIGKILL)
    while any(member.running for member in lab.status().members):
        time.sleep(0.1)
    directory = lab.directory / "hosts/solo"
    # What a crash of this machine leaves: a pid that another process has by now.
    (directory / "qemu.pid").write_text(f"{os.getpid()}\n")
    (directory / "process.json").write_text('{"pid": ')
    # And somebody took the port meanwhile.
    port = next(member.ssh_port for member in lab.status().members if member.name == "solo")
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", port))
        other.listen()
        lab.up()
    assert lab.address("solo").port != port
    assert ask(lab, "cat /root/kept") == "kept"
    assert ask(lab, "cat /proc/sys/kernel/random/boot_id") != boot


def test_down_is_clean_keeps_disks_and_leaves_no_process(lab: Lab) -> None:
    processes = [member.pid for member in lab.status().members]
    lab.down()
    assert "reboot: Power down" in (lab.directory / "hosts/solo/serial.log").read_text()
    assert not [process for process in processes if _lives(process)]
    assert not lab.inventory.exists()
    assert (lab.directory / "hosts/solo/disk.qcow2").exists()
    assert str(lab.directory) not in Path("/proc/self/mounts").read_text()
    with pytest.raises(LabRefused, match="gpufleet lab up"):
        lab.address("solo")


def test_a_snapshot_brings_back_a_disk(lab: Lab) -> None:
    disk = lab.directory / "hosts/solo/disk.qcow2"
    lab.snapshot("down")
    before = disk.read_bytes()
    disk.write_bytes(b"not a disk")
    with pytest.raises(MachineDied):
        lab.up()
    lab.restore("down")
    assert disk.read_bytes() == before
    with pytest.raises(LabRefused, match="gpufleet lab snapshot other"):
        lab.restore("other")


def test_another_description_under_the_same_name_is_refused(lab: Lab) -> None:
    host = replace(read_description(HOSTS / "beta.json"), name="solo")
    with pytest.raises(LabRefused, match="--name"):
        lab.up([host])


def _pid(lab: Lab, name: str) -> int:
    (process,) = (member.pid for member in lab.status().members if member.name == name)
    assert process is not None
    return process


def _lives(process: int | None) -> bool:
    # What has ended may still await its parent, which is this machine's init.
    stat = Path(f"/proc/{process}/stat")
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z"
