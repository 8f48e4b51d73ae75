# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""QEMU command lines, as plain data made from a host description."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.gpufleet.p2p.plugins.module_utils._host.commands import run
from ansible_collections.gpufleet.p2p.plugins.module_utils._host.errors import GpufleetError

from .description import Gpu, HostDescription, Port
from .firmware import FIRMWARE_CODE
from .ports import LOOPBACK

QEMU = "qemu-system-x86_64"
QMP_SOCKET = "qmp.sock"
# QEMU's spelling of a link's GT/s by PCIe generation (PCIe Base Specification, Link Capabilities).
LINK_SPEEDS = {1: "2_5", 2: "5", 3: "8", 4: "16", 5: "32", 6: "64"}
# The host bridge's slots below are for the IOMMU, the disk, the network and the like.
_FIRST_PORT_SLOT = 0x10


class EmulatorTooOld(GpufleetError):
    """The installed QEMU does not say which link speeds its root ports have."""


@dataclass(frozen=True)
class MachineFiles:
    """Paths that one machine runs from; all lie in its own directory."""

    directory: Path

    @property
    def disk(self) -> Path:
        """The qcow2 overlay on the golden image."""
        return self.directory / "disk.qcow2"

    @property
    def efi_variables(self) -> Path:
        """The machine's own EFI variables, such as its boot order; there on EFI machines only."""
        return self.directory / "efi-variables.fd"

    @property
    def serial_log(self) -> Path:
        """What GRUB, kernel and console printed since the machine was started."""
        return self.directory / "serial.log"

    @property
    def pid(self) -> Path:
        """QEMU's own pid file, written once the machine runs."""
        return self.directory / "qemu.pid"

    @property
    def record(self) -> Path:
        """The process record that tells our QEMU from another process with its id."""
        return self.directory / "process.json"

    @property
    def description(self) -> Path:
        """The description as emulated; the guest gets it as /etc/gpufleet-lab/host.json."""
        return self.directory / "host.json"

    @property
    def hostname(self) -> Path:
        """The file that carries the guest's hostname."""
        return self.directory / "hostname"


def fastest_generation() -> int:
    """Return the highest PCIe generation that this QEMU's root ports can show.

    Raises:
        EmulatorTooOld: its root ports have no speeds to choose.
    """
    return parse_fastest_generation(run([QEMU, "-device", "pcie-root-port,help"]).stdout)


def parse_fastest_generation(help_text: str) -> int:
    """Return the highest generation in what `-device pcie-root-port,help` prints.

    Raises:
        EmulatorTooOld: x-speed is not among the properties.
    """
    found = re.search(r"x-speed=\S+\s+-\s+(\S+)", help_text)
    speeds = found.group(1).split("/") if found else []
    known = [generation for generation, speed in LINK_SPEEDS.items() if speed in speeds]
    if not known:
        raise EmulatorTooOld(
            "lab_qemu_too_old",
            read="pcie-root-port without x-speed",
            want="QEMU 4.0 or later",
            remedy="install the qemu-system-x86 of a supported Debian or Ubuntu",
        )
    return max(known)


def accelerator_arguments(kvm: bool) -> list[str]:
    """Return the options for hardware virtualisation, or for translation by all host threads."""
    # QEMU's own cache of translated code is 1 GiB, which a guest that restarts warm fills: with a
    # smaller one, which is emptied now and then, it takes half the memory.
    return ["-accel", "kvm" if kvm else "tcg,thread=multi,tb-size=256"]


def firmware_arguments(variables: Path) -> list[str]:
    """Return the options for EFI firmware that keeps its variables in the file."""
    return [
        *("-drive", f"if=pflash,unit=0,format=raw,readonly=on,file={escaped(FIRMWARE_CODE)}"),
        *("-drive", f"if=pflash,unit=1,format=raw,file={escaped(variables)}"),
    ]


def machine_arguments(
    host: HostDescription, files: MachineFiles, *, ssh_port: int, authorized_keys: Path, kvm: bool
) -> list[str]:
    """Return QEMU's whole command line for a machine that detaches once it runs.

    The working directory must be the machine's directory: the control socket is named
    relative to it, since a socket's path may have no more than 107 characters.
    """
    return [
        QEMU,
        "-name",
        f"gpufleet-lab-{host.name}",
        *accelerator_arguments(kvm),
        *_platform_arguments(host),
        *(firmware_arguments(files.efi_variables) if host.kind.firmware == "efi" else []),
        *("-m", str(host.memory_mib), "-smp", "1"),
        *("-nodefaults", "-no-user-config", "-display", "none", "-vga", "none"),
        *("-serial", f"file:{escaped(files.serial_log)}"),
        *("-qmp", f"unix:{QMP_SOCKET},server=on,wait=off"),
        *("-drive", f"file={escaped(files.disk)},if=virtio,format=qcow2,discard=unmap"),
        # Nothing outside is reachable from the guest: a lab run needs no network.
        *("-netdev", f"user,id=net0,restrict=on,hostfwd=tcp:{LOOPBACK}:{ssh_port}-:22"),
        *("-device", "virtio-net-pci,netdev=net0,romfile="),
        *("-device", "virtio-rng-pci"),
        *_identity("hostname", files.hostname),
        *_identity("authorized_keys", authorized_keys),
        *_identity("host.json", files.description),
        *topology_arguments(host),
        # QEMU resets the machine that its watchdog is not fed by, unless told otherwise.
        *(("-device", "i6300esb") if host.watchdog else ()),
        *("-daemonize", "-pidfile", str(files.pid)),
    ]


def topology_arguments(host: HostDescription) -> list[str]:
    """Return the devices of the description: root ports, switches, and GPUs as test devices.

    A GPU is QEMU's pci-testdev: its 64-bit prefetchable BAR is as large as asked and costs no
    memory. GPUs are numbered by firmware in the order of their ports' slots.
    """
    gpus = {gpu.port: gpu for gpu in host.gpus}
    switches = {port.parent: port for port in host.ports if port.kind == "switch"}
    arguments: list[str] = []
    chassis = 0
    for index, port in enumerate(p for p in host.ports if p.kind == "root_port"):
        chassis += 1
        behind = [gpus[port.id]] if port.id in gpus else []
        arguments += ["-device", _root_port(port, _FIRST_PORT_SLOT + index, chassis, behind)]
        arguments += _gpu_arguments(behind, port.id)
        switch = switches.get(port.id)
        if switch is None:
            continue
        arguments += ["-device", f"x3130-upstream,id={switch.id},bus={port.id}"]
        for slot, seat in enumerate(switch.downstream):
            chassis += 1
            arguments += [
                "-device",
                f"xio3130-downstream,id={seat},bus={switch.id},chassis={chassis},slot={slot}",
            ]
            arguments += _gpu_arguments([gpus[seat]] if seat in gpus else [], seat)
    return arguments


def _platform_arguments(host: HostDescription) -> list[str]:
    # phys-bits: BARs of 32 GiB need more address space than the default 40 bits leave.
    if host.cpu_vendor == "intel":
        return [
            *("-machine", "q35,kernel-irqchip=split"),
            *("-cpu", "max,vendor=GenuineIntel,phys-bits=46"),
            *("-device", "intel-iommu,intremap=on,aw-bits=48"),
        ]
    return [
        *("-machine", "q35,kernel-irqchip=split"),
        *("-cpu", "EPYC,phys-bits=46"),
        *("-device", "amd-iommu,intremap=on"),
    ]


def _root_port(port: Port, address: int, chassis: int, behind: list[Gpu]) -> str:
    words = [
        f"pcie-root-port,id={port.id},bus=pcie.0,addr={address:#x},chassis={chassis},slot={chassis}",
        f"x-speed={LINK_SPEEDS[port.gen]},x-width={port.width}",
    ]
    if behind:
        words.append(f"pref64-reserve={2 * max(gpu.bar1_bytes for gpu in behind)}")
    if not port.acs:
        words.append("disable-acs=true")
    return ",".join(words)


def _gpu_arguments(gpus: list[Gpu], port: str) -> list[str]:
    return [
        word
        for gpu in gpus
        for word in ("-device", f"pci-testdev,bus={port},membar={gpu.bar1_bytes}")
    ]


def _identity(name: str, path: Path) -> list[str]:
    return ["-fw_cfg", f"name=opt/gpufleet/{name},file={escaped(path)}"]


def escaped(path: Path) -> str:
    """Return a path as QEMU's option strings spell it: a comma separates, a doubled one is one."""
    return str(path).replace(",", ",,")
