# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""QEMU's command line, as a pure function of a description."""

from __future__ import annotations

from pathlib import Path

import pytest

from gpufleet.lab.description import HostDescription, parse_description, read_description
from gpufleet.lab.qemu import (
    EmulatorTooOld,
    MachineFiles,
    machine_arguments,
    parse_fastest_generation,
    topology_arguments,
)

HOSTS = Path(__file__).parents[3] / "lab" / "hosts"


def host(name: str) -> HostDescription:
    return read_description(HOSTS / f"{name}.json").as_emulated(4)


def arguments(name: str, directory: str = "/state/hosts/x", *, kvm: bool = False) -> list[str]:
    return machine_arguments(
        host(name),
        MachineFiles(Path(directory)),
        ssh_port=2222,
        authorized_keys=Path("/state/key.pub"),
        kvm=kvm,
    )


def options(argv: list[str], flag: str) -> list[str]:
    return [argv[index + 1] for index, word in enumerate(argv) if word == flag]


def test_each_vendor_has_its_own_iommu_and_cpu() -> None:
    intel, amd = arguments("alpha"), arguments("beta")
    assert "intel-iommu,intremap=on,aw-bits=48" in options(intel, "-device")
    assert options(intel, "-cpu") == ["max,vendor=GenuineIntel,phys-bits=46"]
    assert "amd-iommu,intremap=on" in options(amd, "-device")
    assert options(amd, "-cpu") == ["EPYC,phys-bits=46"]


def test_the_iommu_comes_before_the_devices_that_it_translates_for() -> None:
    devices = [device.partition(",")[0] for device in options(arguments("alpha"), "-device")]
    assert devices.index("intel-iommu") < devices.index("virtio-net-pci")


@pytest.mark.parametrize(
    ("kvm", "accelerator"), [(True, "kvm"), (False, "tcg,thread=multi,tb-size=256")]
)
def test_acceleration(kvm: bool, accelerator: str) -> None:
    assert options(arguments("alpha", kvm=kvm), "-accel") == [accelerator]


def test_ssh_is_forwarded_on_the_loopback_only_and_nothing_goes_out() -> None:
    (network,) = options(arguments("alpha"), "-netdev")
    assert network == "user,id=net0,restrict=on,hostfwd=tcp:127.0.0.1:2222-:22"


def test_a_machine_is_described_to_qemu_as_before_unless_it_asks_for_more() -> None:
    argv = arguments("alpha")
    assert not [word for word in argv if "pflash" in word or "i6300esb" in word]
    assert len(options(argv, "-drive")) == 1


def test_an_efi_machine_has_firmware_with_variables_of_its_own() -> None:
    drives = options(arguments("bookworm_efi_grub", "/a,b"), "-drive")
    assert drives[0].startswith("if=pflash,unit=0,format=raw,readonly=on,file=/usr/share/OVMF/")
    assert drives[1] == "if=pflash,unit=1,format=raw,file=/a,,b/efi-variables.fd"
    assert drives[2].startswith("file=/a,,b/disk.qcow2,if=virtio")


def test_a_watchdog_is_there_where_it_is_asked_for() -> None:
    argv = arguments("trixie_bios")
    assert "i6300esb" in options(argv, "-device")


def test_a_comma_in_the_state_directory_is_no_new_option() -> None:
    argv = arguments("alpha", "/a,b")
    assert options(argv, "-drive")[0].startswith("file=/a,,b/disk.qcow2,")
    # This one is a path, not an option string.
    assert options(argv, "-pidfile") == ["/a,b/qemu.pid"]


def test_a_gpu_is_a_test_device_with_its_whole_bar_behind_its_port() -> None:
    devices = options(topology_arguments(host("alpha")), "-device")
    assert devices == [
        "pcie-root-port,id=rp0,bus=pcie.0,addr=0x10,chassis=1,slot=1,"
        "x-speed=16,x-width=8,pref64-reserve=68719476736",
        "pci-testdev,bus=rp0,membar=34359738368",
        "pcie-root-port,id=rp1,bus=pcie.0,addr=0x11,chassis=2,slot=2,"
        "x-speed=16,x-width=8,pref64-reserve=68719476736",
        "pci-testdev,bus=rp1,membar=34359738368",
    ]


def test_a_switch_carries_its_gpus_and_every_chassis_is_its_own() -> None:
    devices = options(topology_arguments(host("seven_gpu_rig")), "-device")
    assert "x3130-upstream,id=sw0,bus=rp4" in devices
    assert "pci-testdev,bus=sw0d2,membar=68719476736" in devices
    chassis = [
        word for device in devices for word in device.split(",") if word.startswith("chassis=")
    ]
    assert len(chassis) == len(set(chassis)) == 8


def test_acs_can_be_left_out() -> None:
    text = (HOSTS / "alpha.json").read_text().replace('"acs": true', '"acs": false')
    devices = options(topology_arguments(parse_description(text).as_emulated(4)), "-device")
    assert devices[0].endswith(",disable-acs=true")


@pytest.mark.parametrize(
    ("help_text", "generation"),
    [
        ('  x-speed=<PCIELinkSpeed> - 2_5/5/8/16 (default: "16")\n', 4),
        ('  x-speed=<PCIELinkSpeed> - 2_5/5/8/16/32/64 (default: "16")\n', 6),
    ],
)
def test_the_fastest_link_is_read_from_qemu_itself(help_text: str, generation: int) -> None:
    assert parse_fastest_generation(help_text) == generation


def test_a_qemu_without_link_speeds_is_refused() -> None:
    with pytest.raises(EmulatorTooOld):
        parse_fastest_generation("  chassis=<uint8>\n")
