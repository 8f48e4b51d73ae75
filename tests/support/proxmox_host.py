# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A Proxmox host with two EFI partitions, and what proxmox-boot-tool makes of its files.

The tool's behaviour is that of its hook zz-proxmox-boot (proxmox-kernel-helper 8): for systemd-boot
the first line of /etc/kernel/cmdline goes into each entry, for GRUB update-grub reads
/etc/default/grub once for each partition; one that is not there is skipped with a warning.
"""

from __future__ import annotations

import itertools
from pathlib import Path

from ansible_collections.gpufleet.p2p.plugins.module_utils._boot import grub_defaults
from ansible_collections.gpufleet.p2p.plugins.module_utils._boot.proxmox_boot import (
    ProxmoxBoot,
    ProxmoxGrub,
    ProxmoxSystemdBoot,
)

from support.file_tree_host import FileTreeHost, as_the_kernel_has_it

PARTITIONS = ("1A2B-3C4D", "5E6F-7A8B")
OPTIONS = "root=ZFS=rpool/ROOT/pve-1 boot=zfs quiet"
CMDLINE = "etc/kernel/cmdline"
_WARNING = "WARN: /dev/disk/by-uuid/{uuid} does not exist - clean '/etc/kernel/proxmox-boot-uuids'!"


class ProxmoxHost(FileTreeHost):
    """A host under ``root``; ``partitions`` holds what each was last filled with."""

    loader_class: type[ProxmoxBoot] = ProxmoxSystemdBoot
    places = ("etc", "var")
    can_try = False
    boot_disks = len(PARTITIONS)

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.partitions: dict[str, str] = {}
        self.missing: set[str] = set()
        self.write("etc/kernel/proxmox-boot-uuids", "".join(f"{u}\n" for u in PARTITIONS))
        self.make_configuration()
        self.refresh()
        self._turns = itertools.cycle(PARTITIONS)
        self.reboot()

    def make_configuration(self) -> None:
        """Write the file that entries take their options from, and a note behind it."""
        self.write(CMDLINE, f"{OPTIONS}\n# nothing below the first line counts\n")

    def options(self) -> str:
        """Return what the tool puts into entries."""
        return self.read(CMDLINE).splitlines()[0]

    def tree(self) -> dict[str, bytes]:
        """Return every file that the product may write, and the partitions."""
        filled = {partition: line.encode() for partition, line in self.partitions.items()}
        return {**super().tree(), **filled}

    def loader(self) -> ProxmoxBoot:
        """Return the host's boot loader with this host's tool."""
        return self.loader_class(self.root, vendor="intel", tool=self)

    def administer(self, words: str, place: str) -> None:
        """Append them to the first line of /etc/kernel/cmdline, and refresh."""
        first, end, rest = self.read(CMDLINE).partition("\n")
        self.write(CMDLINE, f"{first} {as_the_kernel_has_it(words)}{end}{rest}")
        self.refresh()
        self.reboot()

    def refresh(self) -> str:
        """Do what ``proxmox-boot-tool refresh`` does.

        The power may go before and behind each partition, and while one is filled: that one boots
        nothing until it is filled again.
        """
        said = []
        for partition in PARTITIONS:
            self.piece_done()
            if partition in self.missing:
                said.append(f"{_WARNING.format(uuid=partition)} - skipping")
                continue
            said.append(f"Copying and configuring kernels on /dev/disk/by-uuid/{partition}")
            self.partitions.pop(partition, None)
            self.piece_done()
            self.partitions[partition] = self.options()
        self.piece_done()
        return "\n".join(said)

    def reboot(self, partition: str | None = None) -> None:
        """Start from this partition, or from the next in turn that can be started from."""
        turn = next(self._turns)
        other = next(p for p in PARTITIONS if p != turn)
        self.started(self.partitions[partition or (turn if turn in self.partitions else other)])

    def booted(self) -> list[str]:
        """Return the running kernel's parameters."""
        return self.read("proc/cmdline").split()


class ProxmoxGrubHost(ProxmoxHost):
    """The same host started by GRUB."""

    loader_class = ProxmoxGrub

    def make_configuration(self) -> None:
        """Write /etc/default/grub as Proxmox installs it."""
        self.write(
            "etc/default/grub", 'GRUB_CMDLINE_LINUX_DEFAULT="quiet"\nGRUB_CMDLINE_LINUX=""\n'
        )
        self.write(
            "etc/default/grub.d/zfs.cfg",
            'GRUB_CMDLINE_LINUX="$GRUB_CMDLINE_LINUX root=ZFS=rpool/ROOT/pve-1 boot=zfs"\n',
        )

    def administer(self, words: str, place: str) -> None:
        """Write them into the main file or a drop-in, and refresh."""
        self.write_defaults(words, place)
        self.refresh()
        self.reboot()

    def options(self) -> str:
        """Return what GRUB makes of the kernels' lines that update-grub writes."""
        values = grub_defaults.evaluate(grub_defaults.files(self.root))[-1]
        return as_the_kernel_has_it(f"{values.linux} {values.default}")
