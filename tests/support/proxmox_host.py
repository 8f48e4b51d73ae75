# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A Proxmox host with two EFI partitions, and what proxmox-boot-tool makes of its files.

The tool's behaviour is that of its hook zz-proxmox-boot (proxmox-kernel-helper 8): for systemd-boot
the first line of /etc/kernel/cmdline goes into each entry, for GRUB update-grub reads
/etc/default/grub once for each partition; one that is not there is skipped with a warning.
"""

from __future__ import annotations

import uuid
from pathlib import Path

from ansible_collections.gpufleet.p2p.plugins.module_utils._boot import grub_defaults
from ansible_collections.gpufleet.p2p.plugins.module_utils._boot.plan import Host, observe
from ansible_collections.gpufleet.p2p.plugins.module_utils._boot.proxmox_boot import (
    ProxmoxBoot,
    ProxmoxGrub,
    ProxmoxSystemdBoot,
)

PARTITIONS = ("1A2B-3C4D", "5E6F-7A8B")
OPTIONS = "root=ZFS=rpool/ROOT/pve-1 boot=zfs quiet"
CMDLINE = "etc/kernel/cmdline"
_WARNING = "WARN: /dev/disk/by-uuid/{uuid} does not exist - clean '/etc/kernel/proxmox-boot-uuids'!"


class PowerCut(BaseException):
    """The machine goes down while proxmox-boot-tool works."""


class ProxmoxHost:
    """A host under ``root``; ``partitions`` holds what each was last filled with."""

    loader_class: type[ProxmoxBoot] = ProxmoxSystemdBoot

    def __init__(self, root: Path) -> None:
        self.root = root
        self.partitions: dict[str, str] = {}
        self.missing: set[str] = set()
        self.power_cut_after: int | None = None
        self.write("etc/kernel/proxmox-boot-uuids", "".join(f"{u}\n" for u in PARTITIONS))
        self.write("proc/cpuinfo", "processor\t: 0\nvendor_id\t: GenuineIntel\n")
        (root / "var/lib").mkdir(parents=True)
        self.make_configuration()
        self.refresh()
        self.reboot()

    def make_configuration(self) -> None:
        """Write the file that entries take their options from, and a note behind it."""
        self.write(CMDLINE, f"{OPTIONS}\n# nothing below the first line counts\n")

    def options(self) -> str:
        """Return what the tool puts into entries."""
        return self.read(CMDLINE).splitlines()[0]

    def path(self, name: str) -> Path:
        """Return the path of a file of the host."""
        return self.root / name

    def write(self, name: str, text: str) -> None:
        """Write a file of the host."""
        self.path(name).parent.mkdir(parents=True, exist_ok=True)
        self.path(name).write_text(text, encoding="utf-8")

    def read(self, name: str) -> str:
        """Return a file of the host as text."""
        return self.path(name).read_text(encoding="utf-8")

    def tree(self) -> dict[str, object]:
        """Return every file that the product may write, and the partitions."""
        files = {
            str(path.relative_to(self.root)): path.read_bytes() if path.is_file() else b""
            for place in ("etc", "var")
            for path in sorted((self.root / place).rglob("*"))
        }
        return {**files, **self.partitions}

    def loader(self) -> ProxmoxBoot:
        """Return the host's boot loader with this host's tool."""
        return self.loader_class(self.root, vendor="intel", tool=self)

    def observe(self) -> Host:
        """Return the host as the modules observe it."""
        return observe(self.loader(), self.root)

    def refresh(self) -> str:
        """Do what ``proxmox-boot-tool refresh`` does; the power may go after a partition."""
        said = []
        for number, partition in enumerate(PARTITIONS):
            if self.power_cut_after == number:
                raise PowerCut
            if partition in self.missing:
                said.append(f"{_WARNING.format(uuid=partition)} - skipping")
                continue
            said.append(f"Copying and configuring kernels on /dev/disk/by-uuid/{partition}")
            self.partitions[partition] = self.options()
        return "\n".join(said)

    def reboot(self, partition: str = PARTITIONS[0]) -> None:
        """Start from a partition, the first or, where its disk is broken, the second."""
        self.write("proc/cmdline", f"{self.partitions[partition]}\n")
        self.write("proc/sys/kernel/random/boot_id", f"{uuid.uuid4()}\n")

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

    def options(self) -> str:
        """Return what update-grub puts on the kernels' lines."""
        values = grub_defaults.evaluate(grub_defaults.files(self.root))[-1]
        return f"{values.linux} {values.default}".strip()
