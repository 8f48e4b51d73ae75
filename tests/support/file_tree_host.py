# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A machine as a tree of files below a folder: what every host of the boot tests has in common."""

from __future__ import annotations

import uuid
from abc import ABC, abstractmethod
from pathlib import Path

from ansible_collections.gpufleet.p2p.plugins.module_utils._boot.grub_environment import BLOCK_BYTES
from ansible_collections.gpufleet.p2p.plugins.module_utils._boot.interface import BootLoader
from ansible_collections.gpufleet.p2p.plugins.module_utils._boot.plan import Host, observe


def environment_block(**variables: str) -> bytes:
    """Return a grubenv with these variables, as grub-editenv writes it."""
    lines = "".join(f"{name}={value}\n" for name, value in variables.items())
    return f"# GRUB Environment Block\n{lines}".encode().ljust(BLOCK_BYTES, b"#")


#: Where parameters of others come from: the main file, or a drop-in of a cloud or of a hoster.
OTHERS_PLACES = ("main", "50-cloudimg-settings.cfg", "hetzner.cfg")


class FileTreeHost(ABC):
    """A host under ``root``, with /boot on a plain ext4 partition, that can be rebooted."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.write("proc/cpuinfo", "processor\t: 0\nvendor_id\t: GenuineIntel\n")
        self.write("proc/self/mountinfo", "27 1 254:1 / / rw,relatime - ext4 /dev/vda1 rw\n")
        self.write("sys/devices/virtio2/block/vda/vda1/partition", "1\n")
        (root / "var/lib").mkdir(parents=True)
        (root / "sys/dev/block").mkdir(parents=True)
        (root / "sys/dev/block/254:1").symlink_to("../../devices/virtio2/block/vda/vda1")

    @abstractmethod
    def loader(self) -> BootLoader:
        """Return the host's boot loader."""

    @abstractmethod
    def reboot(self) -> None:
        """Do what the boot loader does."""

    @abstractmethod
    def administer(self, words: str, place: str) -> None:
        """Have the administrator configure ``words``, as GRUB reads them, and reboot.

        ``place`` chooses one of OTHERS_PLACES, where a host has several.
        """

    def path(self, name: str) -> Path:
        """Return the path of a file of the host."""
        return self.root / name

    def write(self, name: str, text: str | bytes) -> None:
        """Write a file of the host."""
        self.path(name).parent.mkdir(parents=True, exist_ok=True)
        self.path(name).write_bytes(text.encode() if isinstance(text, str) else text)

    def read(self, name: str) -> str:
        """Return a file of the host as text."""
        return self.path(name).read_text(encoding="utf-8")

    def observe(self) -> Host:
        """Return the host as the modules observe it."""
        return observe(self.loader(), self.root)

    def command_line(self) -> str:
        """Return /proc/cmdline."""
        return self.read("proc/cmdline").strip()

    def tree(self) -> dict[str, bytes]:
        """Return every file and directory that the product may write; directories have no bytes."""
        places = ("etc", "boot", "var")
        return {
            str(path.relative_to(self.root)): path.read_bytes() if path.is_file() else b""
            for place in places
            for path in sorted((self.root / place).rglob("*"))
        }

    def started(self, image: str, line: str) -> None:
        """Have the kernel run that was started with ``line``."""
        self.write("proc/cmdline", f"BOOT_IMAGE={image} {line}\n")
        self.write("proc/sys/kernel/random/boot_id", f"{uuid.uuid4()}\n")
