# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host that boots with systemd-boot, as a tree of files, with the firmware's variables as files.

Entries, variables and partition are as on a lab machine (Debian 12, systemd 252). ``install`` does
what Debian's kernel and initramfs hooks do by kernel-install; tests/integration/boot runs the same
host with the real one.
"""

from __future__ import annotations

import json
import uuid
from pathlib import Path

from ansible_collections.gpufleet.p2p.plugins.module_utils._boot import boot_menu, cmdline
from ansible_collections.gpufleet.p2p.plugins.module_utils._boot.kernelstub import Kernelstub
from ansible_collections.gpufleet.p2p.plugins.module_utils._boot.plan import Host, observe
from ansible_collections.gpufleet.p2p.plugins.module_utils._boot.systemd_boot import SystemdBoot

MACHINE_ID = "6ab461ecafe444959a617cbbb11e722d"
RELEASES = ("6.1.0-45-amd64", "6.1.0-57-amd64")
OPTIONS = "root=LABEL=gpufleet-lab ro quiet console=ttyS0,115200"
ESP = "boot/efi"
LOADER_CONF = f"{ESP}/loader/loader.conf"
_EFIVARS = "sys/firmware/efi/efivars"
_GUID = "4a67b082-0a4c-41cf-b6c7-440b29bb8c4f"
_ATTRIBUTES = b"\x06\x00\x00\x00"
_MOUNTS = """\
27 1 254:2 / / rw,relatime shared:1 - ext4 /dev/vda2 rw,errors=remount-ro
33 22 0:28 / /sys/firmware/efi/efivars rw,nosuid,nodev,noexec,relatime shared:11 - efivarfs efivarfs rw
141 27 254:1 / /boot/efi rw,relatime shared:55 - vfat /dev/vda1 rw,fmask=0077,dmask=0077
"""  # noqa: E501


class SystemdBootHost:
    """A Debian host under ``root`` whose machine can be rebooted and given kernels."""

    loader_class: type[SystemdBoot] = SystemdBoot
    parameter_file = "etc/kernel/cmdline"

    def __init__(self, root: Path, *, has_parameter_file: bool = True) -> None:
        self.root = root
        self.write("proc/cpuinfo", "processor\t: 0\nvendor_id\t: GenuineIntel\n")
        self.write("proc/self/mountinfo", _MOUNTS)
        self.write("etc/machine-id", f"{MACHINE_ID}\n")
        for directory in ("var/lib", "boot", "etc/kernel"):
            self.path(directory).mkdir(parents=True, exist_ok=True)
        self.set_variable("LoaderInfo", "systemd-boot 252.39-1~deb12u2")
        self.set_features(0x7FF)
        self.write(LOADER_CONF, "#timeout 3\n#console-mode keep\n")
        self.write("proc/cmdline", f"{OPTIONS}\n")
        if has_parameter_file:
            self.make_parameter_file()
        for release in RELEASES:
            self.install(release)
        self.reboot()

    # Files

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

    def tree(self) -> dict[str, bytes]:
        """Return every file, directory and EFI variable that the product may write."""
        places = ("etc", "boot", "var", _EFIVARS)
        return {
            str(path.relative_to(self.root)): path.read_bytes() if path.is_file() else b""
            for place in places
            for path in sorted((self.root / place).rglob("*"))
            # The loader sets it anew at each boot.
            if not path.name.startswith("LoaderEntrySelected")
        }

    # The firmware's variables, and bootctl's part

    def _variable(self, name: str) -> Path:
        path = self.path(f"{_EFIVARS}/{name}-{_GUID}")
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def variable(self, name: str) -> str | None:
        """Return a variable's text."""
        path = self._variable(name)
        return path.read_bytes()[4:].decode("utf-16-le").rstrip("\0") if path.exists() else None

    def set_variable(self, name: str, text: str | None) -> None:
        """Write or remove a variable."""
        path = self._variable(name)
        path.unlink(missing_ok=True)
        if text:
            path.write_bytes(_ATTRIBUTES + f"{text}\0".encode("utf-16-le"))

    def set_features(self, bits: int) -> None:
        """Write what the boot loader says that it can do."""
        self._variable("LoaderFeatures").write_bytes(_ATTRIBUTES + bits.to_bytes(8, "little"))

    def select(self, identity: str | None) -> None:
        """Do what ``bootctl set-oneshot`` does."""
        self.set_variable("LoaderEntryOneShot", identity)

    # The product

    def loader(self) -> SystemdBoot:
        """Return the host's boot loader with this host's tools."""
        return self.loader_class(self.root, vendor="intel", tool=self)

    def observe(self) -> Host:
        """Return the host as the modules observe it."""
        return observe(self.loader(), self.root)

    # The host's own tools

    def make_parameter_file(self) -> None:
        """Write the file that entries are made from."""
        self.write(self.parameter_file, f"{OPTIONS}\n")

    def entry_path(self, release: str) -> str:
        """Return the file of a kernel's entry."""
        return f"{ESP}/loader/entries/{MACHINE_ID}-{release}.conf"

    def install(self, release: str) -> None:
        """Do what ``kernel-install add`` does (90-loaderentry.install of systemd 252)."""
        file = self.path(self.parameter_file)
        source = file if file.is_file() else self.path("proc/cmdline")
        lines = source.read_text(encoding="utf-8").splitlines()
        words = " ".join(line for line in lines if not line.startswith("#")).split()
        if source != file:
            words = [word for word in words if not word.startswith(("initrd=", "BOOT_IMAGE="))]
        if not any(word.startswith("systemd.machine_id=") for word in words):
            words.append(f"systemd.machine_id={MACHINE_ID}")
        directory = f"/{MACHINE_ID}/{release}"
        self.write(f"{ESP}{directory}/linux", "kernel")
        self.write(f"{ESP}{directory}/initrd.img-{release}", "initrd")
        self.write(
            self.entry_path(release),
            "title      Debian GNU/Linux 12 (bookworm)\n"
            f"version    {release}\n"
            f"machine-id {MACHINE_ID}\n"
            "sort-key   debian\n"
            f"options    {' '.join(words)}\n"
            f"linux      {directory}/linux\n"
            f"initrd     {directory}/initrd.img-{release}\n",
        )

    def options(self, release: str) -> str:
        """Return the options of a kernel's entry."""
        line = next(x for x in self.read(self.entry_path(release)).splitlines() if "options" in x)
        return line.split(None, 1)[1]

    # The machine

    def reboot(self) -> None:
        """Do what systemd-boot does: take LoaderEntryOneShot, remove it, boot what it names."""
        selected = self.variable("LoaderEntryOneShot")
        self.set_variable("LoaderEntryOneShot", None)
        menu = boot_menu.read_menu(self.root)
        chosen = [entry for entry in menu.entries if entry.identity == selected]
        entry = chosen[0] if chosen else menu.default()
        assert entry.missing_files() == []
        self.set_variable("LoaderEntrySelected", entry.identity)
        initrd = (entry.value("initrd") or "").replace("/", "\\")
        self.write("proc/cmdline", f"initrd={initrd} {entry.options}\n")
        self.write("proc/sys/kernel/random/boot_id", f"{uuid.uuid4()}\n")

    def command_line(self) -> str:
        """Return /proc/cmdline."""
        return self.read("proc/cmdline").strip()

    def booted(self) -> list[str]:
        """Return the running kernel's parameters without what loader, tool and trial add."""
        words = [cmdline.format_parameter(p) for p in cmdline.parse(self.command_line()).parameters]
        if any(word.startswith("gpufleet.trial=") for word in words):
            start = next(i for i, w in enumerate(words) if w.startswith("gpufleet.trial="))
            words = words[:start]
        return [w for w in words if not w.startswith(("initrd=", "systemd.machine_id="))]


class KernelstubHost(SystemdBootHost):
    """A Pop!_OS host: kernelstub's configuration and the two entries that it makes from it."""

    loader_class = Kernelstub
    parameter_file = "etc/kernelstub/configuration"

    def make_parameter_file(self) -> None:
        """Write kernelstub's configuration as its save_config() does."""
        defaults = {
            "kernel_options": ["quiet", "splash"],
            "esp_path": "/boot/efi",
            "setup_loader": False,
            "manage_mode": False,
            "force_update": False,
            "live_mode": False,
            "config_rev": 3,
        }
        options = OPTIONS.split()[2:]
        user = {**defaults, "kernel_options": options, "setup_loader": True, "manage_mode": True}
        document = {"default": defaults, "user": user}
        self.write(self.parameter_file, json.dumps(document, indent=2))
        self.write(LOADER_CONF, "default Pop_OS-current\n")

    def entry_path(self, release: str) -> str:
        """Return the file of a kernel's entry: the newest is the current one."""
        name = "current" if release == RELEASES[-1] else "oldkern"
        return f"{ESP}/loader/entries/Pop_OS-{name}.conf"

    def install(self, release: str) -> None:
        """Do what kernelstub does: copy the kernel, write the entry from the configuration."""
        document = json.loads(self.read(self.parameter_file))
        options = " ".join(["root=LABEL=gpufleet-lab", "ro", *document["user"]["kernel_options"]])
        suffix = "" if release == RELEASES[-1] else "-previous"
        directory = "/EFI/Pop_OS-0f2a"
        for name in (f"vmlinuz{suffix}.efi", f"initrd.img{suffix}"):
            self.write(f"{ESP}{directory}/{name}", "image")
        self.write(
            self.entry_path(release),
            "title Pop!_OS\n"
            f"linux {directory}/vmlinuz{suffix}.efi\n"
            f"initrd {directory}/initrd.img{suffix}\n"
            f"options {options}\n",
        )
