# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hosts with GRUB as its own project installs it; their menus are what upstream's 10_linux writes.

They are written by hand after its text (GRUB 2.12 on Arch, 2.06 on openSUSE Leap 15.6), with one
kernel each, and accepted by grub-script-check.
"""

from __future__ import annotations

from ansible_collections.gpufleet.p2p.plugins.module_utils._boot.grub_generated import GeneratedGrub
from ansible_collections.gpufleet.p2p.plugins.module_utils._boot.grub_mkconfig import GrubMkconfig

from support.boot_host import SAMPLES, BootHost


class ArchHost(BootHost):
    """Arch: /boot/grub, grub-mkconfig, one /etc/default/grub that ends without a line end."""

    recorded = SAMPLES / "arch_grub.cfg"
    prefix = "grub"

    def install(self) -> None:
        """Write what the package grub brings."""
        self.write("usr/bin/grub-mkconfig", "#!/bin/sh\n")
        self.write("boot/intel-ucode.img", "microcode")
        self.write(
            "etc/default/grub",
            "# GRUB boot loader configuration\n\nGRUB_DEFAULT=0\nGRUB_TIMEOUT=5\n"
            'GRUB_DISTRIBUTOR="Arch"\nGRUB_CMDLINE_LINUX_DEFAULT="loglevel=3 quiet"\n'
            'GRUB_CMDLINE_LINUX=""\nGRUB_DISABLE_RECOVERY=true',
        )

    def loader(self) -> GeneratedGrub:
        """Return the host's boot loader with this host's tools."""
        return GrubMkconfig(self.root, prefix=self.prefix, vendor="intel", tools=self.tools)

    def administer(self, words: str, place: str) -> None:
        """Write them into the one file that there is, and run the generator."""
        super().administer(words, "main")


class OpenSuseHost(ArchHost):
    """openSUSE Leap: /boot/grub2, grub2-mkconfig, a saved default."""

    recorded = SAMPLES / "opensuse_leap_grub.cfg"
    prefix = "grub2"
    directory = "boot/grub2"

    def install(self) -> None:
        """Write what the package grub2 and the installer bring."""
        self.write("usr/sbin/grub2-mkconfig", "#!/bin/sh\n")
        self.write(
            "etc/default/grub",
            "# Modified by YaST2.\nGRUB_DEFAULT=saved\n"
            "GRUB_DISTRIBUTOR=\nGRUB_TIMEOUT=8\n"
            'GRUB_CMDLINE_LINUX_DEFAULT="splash=silent quiet security=apparmor mitigations=auto"\n'
            'GRUB_CMDLINE_LINUX=""\n',
        )
