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
from dataclasses import replace
from pathlib import Path

from ansible_collections.gpufleet.p2p.plugins.module_utils._boot import boot_menu, cmdline
from ansible_collections.gpufleet.p2p.plugins.module_utils._boot.kernelstub import Kernelstub
from ansible_collections.gpufleet.p2p.plugins.module_utils._boot.systemd_boot import SystemdBoot

from support.file_tree_host import FileTreeHost, as_the_kernel_has_it

MACHINE_ID = "6ab461ecafe444959a617cbbb11e722d"
RELEASES = ("6.1.0-45-amd64", "6.1.0-57-amd64")
OPTIONS = "root=LABEL=gpufleet-lab ro quiet console=ttyS0,115200"
ESP = "boot/efi"
LOADER_CONF = f"{ESP}/loader/loader.conf"
_SELECTED = "LoaderEntrySelected"
_EFIVARS = "sys/firmware/efi/efivars"
_GUID = "4a67b082-0a4c-41cf-b6c7-440b29bb8c4f"
_ATTRIBUTES = b"\x06\x00\x00\x00"
_MOUNTS = """\
27 1 254:2 / / rw,relatime shared:1 - ext4 /dev/vda2 rw,errors=remount-ro
33 22 0:28 / /sys/firmware/efi/efivars rw,nosuid,nodev,noexec,relatime shared:11 - efivarfs efivarfs rw
141 27 254:1 / /boot/efi rw,relatime shared:55 - vfat /dev/vda1 rw,fmask=0077,dmask=0077
"""  # noqa: E501


class SystemdBootHost(FileTreeHost):
    """A Debian host under ``root`` whose machine can be rebooted and given kernels."""

    loader_class: type[SystemdBoot] = SystemdBoot
    parameter_file = "etc/kernel/cmdline"
    places = ("etc", "boot", "var", _EFIVARS)
    tool_parameters: tuple[str, ...] = ("systemd.machine_id",)

    def __init__(self, root: Path, *, has_parameter_file: bool = True) -> None:
        super().__init__(root)
        self.inherits_running = not has_parameter_file
        self.write("proc/self/mountinfo", _MOUNTS)
        self.write("etc/machine-id", f"{MACHINE_ID}\n")
        for directory in ("boot", "etc/kernel"):
            self.path(directory).mkdir(parents=True, exist_ok=True)
        self.set_variable("LoaderInfo", "systemd-boot 252.39-1~deb12u2")
        self.set_features(0x7FF)
        self.write(LOADER_CONF, "#timeout 3\n#console-mode keep\n")
        self.write("proc/cmdline", f"{OPTIONS}\n")
        if has_parameter_file:
            self.make_parameter_file()
        self.refresh()
        self.reboot()

    def tree(self) -> dict[str, bytes]:
        """Return every file, directory and EFI variable that the product may write."""
        # The loader sets it anew at each boot.
        return {name: data for name, data in super().tree().items() if _SELECTED not in name}

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
        if text:
            path.write_bytes(_ATTRIBUTES + f"{text}\0".encode("utf-16-le"))
        else:
            path.unlink(missing_ok=True)

    def set_features(self, bits: int) -> None:
        """Write what the boot loader says that it can do."""
        self._variable("LoaderFeatures").write_bytes(_ATTRIBUTES + bits.to_bytes(8, "little"))

    def select(self, identity: str | None) -> None:
        """Do what ``bootctl set-oneshot`` does, by one call of the firmware."""
        self.piece_done()
        self.set_variable("LoaderEntryOneShot", identity)
        self.piece_done()

    # The product

    def loader(self) -> SystemdBoot:
        """Return the host's boot loader with this host's tools."""
        return self.loader_class(self.root, vendor="intel", tool=self)

    # The host's own tools

    def make_parameter_file(self) -> None:
        """Write the file that entries are made from."""
        self.write(self.parameter_file, f"{OPTIONS}\n")

    def entry_path(self, release: str) -> str:
        """Return the file of a kernel's entry."""
        return f"{ESP}/loader/entries/{MACHINE_ID}-{release}.conf"

    def refresh(self) -> None:
        """Make every kernel's entry anew."""
        for release in RELEASES:
            self.install(release)

    def administer(self, words: str, place: str) -> None:
        """Append them to the tool's file and have it run; without one, to each entry."""
        added = as_the_kernel_has_it(words)
        if self.path(self.parameter_file).is_file():
            self.write(self.parameter_file, self.with_parameters(added))
            self.refresh()
        else:
            for release in RELEASES:
                path, options = self.entry_path(release), self.options(release)
                self.write(path, self.read(path).replace(options, f"{options} {added}"))
        self.reboot()

    def with_parameters(self, words: str) -> str:
        """Return the tool's file with ``words`` behind its own."""
        return self.read(self.parameter_file).rstrip("\n") + f" {words}\n"

    def _write_entry(self, release: str, text: str) -> None:
        """Write an entry as the tools do: the file is emptied before it is filled."""
        for content in ("", text):
            self.write(self.entry_path(release), content)
            self.piece_done()

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
        for name in ("linux", f"initrd.img-{release}"):
            self.write(f"{ESP}{directory}/{name}", "image")
            self.piece_done()
        self._write_entry(
            release,
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
        """Do what systemd-boot does: take LoaderEntryOneShot, remove it, boot what it names.

        An entry that names no kernel, as one that is being written, is none.
        """
        selected = self.variable("LoaderEntryOneShot")
        if selected is not None:
            self.set_variable("LoaderEntryOneShot", None)
            self.piece_done()
        menu = boot_menu.read_menu(self.root)
        menu = replace(menu, entries=tuple(e for e in menu.entries if e.value("linux")))
        chosen = [entry for entry in menu.entries if entry.identity == selected]
        entry = chosen[0] if chosen else menu.default()
        assert entry.missing_files() == []
        self.set_variable(_SELECTED, entry.identity)
        self.piece_done()
        initrd = (entry.value("initrd") or "").replace("/", "\\")
        self.started(f"initrd={initrd} {entry.options}")

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
    tool_parameters = ()

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

    def with_parameters(self, words: str) -> str:
        """Return the configuration with the options that ``kernelstub --add-options`` adds."""
        document = json.loads(self.read(self.parameter_file))
        line = cmdline.parse(words)
        document["user"]["kernel_options"] += map(cmdline.format_parameter, line.parameters)
        document["user"]["kernel_options"] += ["--", *line.for_init] if line.for_init else []
        return json.dumps(document, indent=2)

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
            self.piece_done()
        self._write_entry(
            release,
            "title Pop!_OS\n"
            f"linux {directory}/vmlinuz{suffix}.efi\n"
            f"initrd {directory}/initrd.img{suffix}\n"
            f"options {options}\n",
        )
