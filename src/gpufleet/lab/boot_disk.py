# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The disk that boots a root file system: its partitions, and the boot loader that fills them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ansible_collections.gpufleet.p2p.plugins.module_utils._host.commands import run
from ansible_collections.gpufleet.p2p.plugins.module_utils._host.files import read_text

from .execution import stream
from .paths import GUEST_FILES
from .progress import Step
from .qemu import QEMU, accelerator_arguments, escaped, firmware_arguments

_MIB = 1 << 20
_DISK_MIB = 4096
_ESP_MIB = 256
_SECTORS_PER_MIB = _MIB // 512
_BOOT_LOADER_SECONDS = 600
# EFI firmware knows its partition by this type (UEFI specification, 5.3.3); the other is Linux's.
_ESP_TYPE = "C12A7328-F81F-11D2-BA4B-00A0C93EC93B"
_LINUX_TYPE = "0FC63DAF-8483-4772-8E79-3D69D8477DE4"


@dataclass(frozen=True)
class DiskLayout:
    """A partition table as sfdisk reads it, and where in it the root file system lies.

    ``installer`` is what the guest runs as its init to install its boot loader, ``done`` what
    that prints on the console once all of it has succeeded.
    """

    table: str
    root_start_mib: int
    root_mib: int
    root_device: str
    installer: str
    done: str

    @property
    def root_start_bytes(self) -> int:
        """Where the root file system starts on the disk."""
        return self.root_start_mib * _MIB


LAYOUTS = {
    "bios": DiskLayout(
        table=f"label: dos\nstart={_SECTORS_PER_MIB}, type=83, bootable\n",
        root_start_mib=1,
        root_mib=_DISK_MIB - 1,
        root_device="/dev/vda1",
        installer="/usr/local/sbin/gpufleet-lab-install-grub",
        done="gpufleet-lab: grub installed",
    ),
    # The last MiB is left to the second copy of the table.
    "efi": DiskLayout(
        table=(
            f"label: gpt\n"
            f"start={_SECTORS_PER_MIB}, size={_ESP_MIB * _SECTORS_PER_MIB}, type={_ESP_TYPE}\n"
            f"start={(1 + _ESP_MIB) * _SECTORS_PER_MIB}, "
            f"size={(_DISK_MIB - _ESP_MIB - 2) * _SECTORS_PER_MIB}, type={_LINUX_TYPE}\n"
        ),
        root_start_mib=1 + _ESP_MIB,
        root_mib=_DISK_MIB - _ESP_MIB - 2,
        root_device="/dev/vda2",
        installer="/usr/local/sbin/gpufleet-lab-install-boot-loader",
        done="gpufleet-lab: boot loader installed",
    ),
}


def make_disk(disk: Path, root: Path, layout: DiskLayout) -> None:
    """Make a raw disk with the partitions of a layout and the files of a root file system.

    Raises:
        CommandFailed, CommandTimedOut: sfdisk or mkfs failed.
    """
    with disk.open("wb") as stream_:
        stream_.truncate(_DISK_MIB * _MIB)
    run(["sfdisk", "--quiet", str(disk)], stdin=layout.table)
    # mkfs fills the file system itself: partition nodes do not appear everywhere, and
    # nothing stays mounted when this dies.
    run(
        [
            *("mkfs.ext4", "-q", "-F", "-L", "gpufleet-lab"),
            *("-d", str(root), "-E", f"offset={layout.root_start_bytes}"),
            *(str(disk), f"{layout.root_mib * 1024}k"),
        ],
        env={"MKE2FS_CONFIG": str(GUEST_FILES / "mke2fs.conf")},
        timeout=600.0,
    )


def installer_arguments(
    disk: Path, kernel: Path, initramfs: Path, layout: DiskLayout, variables: Path | None
) -> list[str]:
    """Return the command line that boots a disk once, to let the guest install its boot loader.

    Args:
        disk: raw disk with the layout's partitions.
        kernel: the guest's own kernel, which no boot loader starts yet.
        initramfs: the guest's own.
        layout: how the disk is laid out.
        variables: file of EFI variables that the guest's boot entry goes to; None for a BIOS.
    """
    return [
        *("timeout", str(_BOOT_LOADER_SECONDS), QEMU, *accelerator_arguments(kvm=False)),
        *("-machine", "q35", "-cpu", "max", "-m", "1024", "-no-reboot"),
        *("-nodefaults", "-no-user-config", "-display", "none", "-vga", "none"),
        *("-serial", "stdio"),
        *([] if variables is None else firmware_arguments(variables)),
        *("-drive", f"file={escaped(disk)},format=raw,if=virtio"),
        *("-kernel", str(kernel)),
        *("-initrd", str(initramfs)),
        "-append",
        f"root={layout.root_device} ro console=ttyS0 quiet panic=-1 init={layout.installer}",
    ]


def install_boot_loader(argv: list[str], layout: DiskLayout, log: Path, step: Step) -> bool:
    """Run what `installer_arguments` returned; return whether the guest said that it succeeded.

    Raises:
        CommandFailed: QEMU failed or took too long.
    """
    stream(argv, log=log, on_line=step.line)
    return layout.done in (read_text(log) or "")
