# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hosts of the RHEL family as file trees, and their GRUB as far as booting is concerned.

The trees are written by hand after the documented formats: the Boot Loader Specification, the
menus that RHEL's /etc/grub.d writes, and what Anaconda leaves behind. ``BlsHost.reboot`` follows
grub-core/commands/blscfg.c of the rhboot branches on its own: it shares no reader of entries and
variables with the product.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.gpufleet.p2p.plugins.module_utils._boot import grub_environment
from ansible_collections.gpufleet.p2p.plugins.module_utils._boot.detect import detect
from ansible_collections.gpufleet.p2p.plugins.module_utils._boot.interface import BootLoader

from support.file_tree_host import FileTreeHost, as_the_kernel_has_it, environment_block

MACHINE = "4d2f8e5a1b7c4f0e9d3a6b8c7e5f1a20"
ENTRIES = "boot/loader/entries"
_STUB = """\
search --no-floppy --fs-uuid --set=dev 1c9e7a52-6a55-4b0e-8b58-0a2a1d1c7a10
set prefix=($dev)/grub2
export $prefix
configfile $prefix/grub.cfg
"""
# 00_header, 08_fallback_counting, 10_linux and 12_menu_auto_hide, without video and passwords.
MENU = """\
if [ -f ${{config_directory}}/grubenv ]; then
  load_env -f ${{config_directory}}/grubenv
elif [ -s $prefix/grubenv ]; then
  load_env
fi
if [ "${{next_entry}}" ] ; then
   set default="${{next_entry}}"
   set next_entry=
   save_env next_entry
   set boot_once=true
else
   set default="${{saved_entry}}"
fi
insmod increment
if [ -n "${{boot_counter}}" -a "${{boot_success}}" = "0" ]; then
  if  [ "${{boot_counter}}" = "0" -o "${{boot_counter}}" = "-1" ]; then
    set default=1
    set boot_counter=-1
  else
    decrement boot_counter
  fi
  save_env boot_counter
fi
if [ -z "${{kernelopts}}" ]; then
  set kernelopts="{fallback}"
fi
insmod blscfg
blscfg
set boot_success=0
save_env boot_success boot_indeterminate
"""
_OPTIONS = re.compile(r"^options .*$", re.MULTILINE)
_ROOT = "root=/dev/mapper/rhel-root ro"


@dataclass(frozen=True)
class Layout:
    """What tells one release's hosts from another's; ``kernels`` are newest first."""

    kernels: tuple[str, ...]
    defaults: str
    title: str
    directory: str = "boot/grub2"
    stub: str | None = None
    shared: str | None = None
    options: str = "$kernelopts $tuned_params"
    new_kernels: str | None = None


_DEFAULTS = """\
GRUB_TIMEOUT=5
GRUB_DISTRIBUTOR="$(sed 's, release .*$,,g' /etc/system-release)"
GRUB_DEFAULT=saved
GRUB_DISABLE_SUBMENU=true
GRUB_TERMINAL_OUTPUT="console"
GRUB_CMDLINE_LINUX="{}"
GRUB_DISABLE_RECOVERY="true"
GRUB_ENABLE_BLSCFG=true
"""
_EL8 = "crashkernel=auto resume=/dev/mapper/rhel-swap rd.lvm.lv=rhel/root rhgb quiet"
_EL9 = "crashkernel=1G-4G:192M,4G-64G:256M,64G-:512M rd.lvm.lv=rhel/root rhgb quiet"
_FEDORA = "rootflags=subvol=root rhgb quiet"
LAYOUTS = {
    # kernelopts as Anaconda writes it, with a blank at its end.
    "rhel_8_bios": Layout(
        ("4.18.0-553.el8_10.x86_64", "4.18.0-513.24.1.el8_9.x86_64"),
        _DEFAULTS.format(_EL8),
        "Red Hat Enterprise Linux",
        shared=f"{_ROOT} {_EL8} ",
    ),
    "rhel_8_efi": Layout(
        ("4.18.0-553.el8_10.x86_64",),
        _DEFAULTS.format(_EL8),
        "Red Hat Enterprise Linux",
        directory="boot/efi/EFI/redhat",
        shared=f"{_ROOT} {_EL8} ",
    ),
    "rhel_9_bios": Layout(
        ("5.14.0-427.13.1.el9_4.x86_64", "5.14.0-362.24.1.el9_3.x86_64"),
        _DEFAULTS.format(_EL9),
        "Red Hat Enterprise Linux",
        options=f"{_ROOT} {_EL9}",
        new_kernels=f"{_ROOT} {_EL9}\n",
    ),
    "almalinux_9_efi": Layout(
        ("5.14.0-427.el9.x86_64",),
        _DEFAULTS.format(_EL9),
        "AlmaLinux",
        stub="boot/efi/EFI/almalinux/grub.cfg",
        options=f"{_ROOT} {_EL9} $tuned_params",
        new_kernels=f"{_ROOT} {_EL9}\n",
    ),
    "fedora_40_efi": Layout(
        ("6.9.7-200.fc40.x86_64", "6.8.5-301.fc40.x86_64"),
        _DEFAULTS.format(_FEDORA).rstrip("\n"),
        "Fedora Linux",
        stub="boot/efi/EFI/fedora/grub.cfg",
        options=f"root=UUID=8a1c ro {_FEDORA}",
        new_kernels=f"root=UUID=8a1c ro {_FEDORA}",
    ),
}


class BlsHost(FileTreeHost):
    """A host of one of the LAYOUTS."""

    def __init__(self, root: Path, name: str) -> None:
        super().__init__(root)
        self.layout = layout = LAYOUTS[name]
        self.write("usr/sbin/grubby", "#!/bin/sh\n")
        self.write("etc/default/grub", layout.defaults)
        if layout.new_kernels is not None:
            self.write("etc/kernel/cmdline", layout.new_kernels)
        if layout.stub is not None:
            self.write(layout.stub, _STUB)
        if layout.stub is not None or "efi" in layout.directory:
            self.path("sys/firmware/efi").mkdir(parents=True)
        fallback = layout.shared or f"{_ROOT} quiet"
        self.write(f"{layout.directory}/grub.cfg", MENU.format(fallback=fallback))
        self.write_entry(f"0-rescue-{MACHINE}", layout.options.replace(" $tuned_params", ""))
        for release in reversed(layout.kernels):
            self.write_entry(release, layout.options)
        variables = {"saved_entry": f"{MACHINE}-{layout.kernels[0]}"}
        if layout.shared is not None:
            variables["kernelopts"] = layout.shared
        self.write(self.environment, environment_block(**variables, boot_success="1"))
        self.reboot()

    @property
    def environment(self) -> str:
        """The grubenv that GRUB loads."""
        return f"{self.layout.directory}/grubenv"

    def entry(self, release: str) -> str:
        """Return the entry of a kernel."""
        stem = "0-rescue" if release.startswith("0-rescue") else release
        return f"{ENTRIES}/{MACHINE}-{stem}.conf"

    def write_entry(self, release: str, options: str) -> None:
        """Write a kernel's image, initial ramdisk and entry."""
        tuned = " $tuned_initrd" if self.layout.shared else ""
        self.write(f"boot/vmlinuz-{release}", "image")
        self.write(f"boot/initramfs-{release}.img", "image")
        self.write(
            self.entry(release),
            f"title {self.layout.title} ({release})\nversion {release}\n"
            f"linux /vmlinuz-{release}\ninitrd /initramfs-{release}.img{tuned}\n"
            f"options {options}\ngrub_users $grub_users\ngrub_arg --unrestricted\n"
            "grub_class kernel\n",
        )

    def options(self, release: str) -> str:
        """Return the options in a kernel's entry."""
        lines = self.read(self.entry(release)).splitlines()
        return next(line[len("options ") :] for line in lines if line.startswith("options "))

    def variables(self) -> dict[str, str]:
        """Return what is in grubenv."""
        return grub_environment.parse(self.path(self.environment).read_bytes())

    def set_variable(self, name: str, value: str | None) -> None:
        """Do what grub2-editenv does."""
        path = self.path(self.environment)
        path.write_bytes(grub_environment.updated(path.read_bytes(), name, value))

    def loader(self) -> BootLoader:
        """Return the host's boot loader, told from evidence."""
        return detect(self.root)

    def administer(self, words: str, place: str) -> None:
        """Append them to every text of parameters, as grubby does with --update-kernel=ALL."""
        shared = self.variables().get("kernelopts")
        if shared is not None:
            self.set_variable("kernelopts", f"{shared} {words}")
        else:
            for path in self.path(ENTRIES).glob("*.conf"):
                name = path.relative_to(self.root).as_posix()
                self.write(name, _OPTIONS.sub(rf"\g<0> {words}", self.read(name)))
        if self.path("etc/kernel/cmdline").is_file():
            line = self.read("etc/kernel/cmdline").rstrip("\n")
            self.write("etc/kernel/cmdline", f"{line} {words}\n")
        self.refresh()
        self.reboot()

    def reboot(self) -> None:
        """Do what GRUB does, and what the first login does to boot_success."""
        selector = self.variables().get("next_entry")
        if selector:
            self.set_variable("next_entry", "")
            self.piece_done()
        self.set_variable("boot_success", "0")
        self.piece_done()
        keys = self._menu()
        chosen = selector or self.variables().get("saved_entry", "0")
        first = f"{MACHINE}-{self.layout.kernels[0]}"
        name = chosen if chosen in keys else first
        image = keys[name]["linux"]
        for file in (image, keys[name]["initrd"].split()[0]):
            assert self.path(f"boot/{file.lstrip('/')}").is_file(), f"GRUB finds no {file}"
        line = as_the_kernel_has_it(_expanded(keys[name]["options"], self.variables()))
        self.set_variable("boot_success", "1")
        self.started(f"BOOT_IMAGE=(hd0,gpt2){image} {line}")

    def refresh(self) -> None:
        """Write the newest kernel's entry anew, as the reinstallation of its package does.

        kernel-install takes /etc/kernel/cmdline word by word, and tuned's part of it adds tuned's
        variable; on RHEL 8 the package brings an entry that names kernelopts.
        """
        options = self.layout.options
        if self.layout.shared is None:
            tuned = " $tuned_params" if options.endswith(" $tuned_params") else ""
            options = " ".join(self.read("etc/kernel/cmdline").split()) + tuned
        self.write_entry(self.layout.kernels[0], options)
        self.piece_done()

    def _menu(self) -> dict[str, dict[str, str]]:
        menu = {}
        for path in self.path(ENTRIES).glob("*.conf"):
            lines = (line.partition(" ")[::2] for line in path.read_text().splitlines())
            menu[path.name[:-5]] = dict(reversed([*lines]))
        return menu


def _expanded(text: str, variables: dict[str, str]) -> str:
    """Replace variables as expand_val() does, one character after the other."""
    result = ""
    name: str | None = None
    for character in text + "\0":
        if name is not None and not (character.isalnum() or character == "_"):
            result += f"{variables[name]} " if name in variables else ""
            name = None
            if character == " ":
                continue
        if character == "$":
            name = ""
        elif name is not None:
            name += character
        else:
            result += character
    return result.rstrip("\0")
