# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A machine as a tree of files below a folder: what every host of the boot tests has in common."""

from __future__ import annotations

import uuid
from abc import ABC, abstractmethod
from pathlib import Path

from ansible_collections.gpufleet.p2p.plugins.module_utils._boot import grub_script
from ansible_collections.gpufleet.p2p.plugins.module_utils._boot.cmdline import (
    format_line,
    from_arguments,
)
from ansible_collections.gpufleet.p2p.plugins.module_utils._boot.grub_environment import BLOCK_BYTES
from ansible_collections.gpufleet.p2p.plugins.module_utils._boot.interface import BootLoader
from ansible_collections.gpufleet.p2p.plugins.module_utils._boot.plan import Host, observe


def environment_block(**variables: str) -> bytes:
    """Return a grubenv with these variables, as grub-editenv writes it."""
    lines = "".join(f"{name}={value}\n" for name, value in variables.items())
    return f"# GRUB Environment Block\n{lines}".encode().ljust(BLOCK_BYTES, b"#")


#: Where parameters of others come from: the main file, or a drop-in of a cloud or of a hoster.
OTHERS_PLACES = ("main", "50-cloudimg-settings.cfg", "hetzner.cfg")
_DEFAULTS = "etc/default/grub"


class PowerCut(BaseException):
    """The machine goes down while a tool of the host, or its firmware, is at work."""


def as_the_kernel_has_it(text: str) -> str:
    """Return the command line that GRUB makes of the words of a ``linux`` line."""
    words = grub_script.parse(f"linux image {text}\n").commands[0].words[2:]
    return format_line(from_arguments(word.text for word in words))


class FileTreeHost(ABC):
    """A host under ``root``, with /boot on a plain ext4 partition, that can be rebooted.

    ``power_cut_after`` is how many more pieces tools and firmware get done before the power goes;
    with None it stays.
    """

    #: The directories that the product may write to.
    places: tuple[str, ...] = ("etc", "boot", "var")
    #: Whether the boot loader can start an entry once and fall back by itself.
    can_try = True
    #: The names of parameters that the host's own tool adds to what is configured.
    tool_parameters: tuple[str, ...] = ()
    #: Whether new entries take the running kernel's parameters, for want of a file of them: then
    #: something stays of what is taken back, until these no longer run.
    inherits_running = False
    #: How many disks the firmware may start from; it takes them in turn.
    boot_disks = 1

    def __init__(self, root: Path) -> None:
        self.root = root
        self.power_cut_after: int | None = None
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

    @abstractmethod
    def refresh(self) -> object:
        """Have the host's own tool make the entries anew, as the update of a kernel does."""

    def piece_done(self) -> None:
        """Tell that a tool or the firmware is between two pieces of its work.

        Raises:
            PowerCut: the power goes here.
        """
        if self.power_cut_after == 0:
            self.power_cut_after = None
            raise PowerCut
        if self.power_cut_after is not None:
            self.power_cut_after -= 1

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

    def write_defaults(self, words: str, place: str) -> None:
        """Add ``words`` to /etc/default/grub, or set them in a drop-in of that name."""
        if place == "main":
            # In front, where it cannot come behind a last line that has no end.
            main = self.read(_DEFAULTS)
            self.write(_DEFAULTS, main.replace('_DEFAULT="', f'_DEFAULT="{words} ', 1))
            return
        before = "" if place == "50-cloudimg-settings.cfg" else "$GRUB_CMDLINE_LINUX_DEFAULT "
        line = f'GRUB_CMDLINE_LINUX_DEFAULT="{before}{words}"\n'
        self.write(f"{_DEFAULTS}.d/{place}", line)

    def observe(self) -> Host:
        """Return the host as the modules observe it."""
        return observe(self.loader(), self.root)

    def command_line(self) -> str:
        """Return /proc/cmdline."""
        return self.read("proc/cmdline").strip()

    def tree(self) -> dict[str, bytes]:
        """Return every file and directory that the product may write; directories have no bytes."""
        return {
            str(path.relative_to(self.root)): path.read_bytes() if path.is_file() else b""
            for place in self.places
            for path in sorted((self.root / place).rglob("*"))
        }

    def started(self, line: str) -> None:
        """Have the kernel run that was started with ``line``."""
        self.write("proc/cmdline", f"{line}\n")
        self.write("proc/sys/kernel/random/boot_id", f"{uuid.uuid4()}\n")
