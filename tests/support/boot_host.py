# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host that boots with GRUB, as a tree of files, and GRUB itself as far as booting is concerned.

The grub.cfg is a real one, recorded on a lab machine (Debian 12, GRUB 2.06). ``ScriptedGrub``
stands for grub-mkconfig: like 10_linux it puts the evaluated variables on the kernels' lines and
leaves the rest of the recorded file as it is. tests/integration/boot runs the same host with the
real grub-mkconfig and grub-script-check.
"""

from __future__ import annotations

import re
from pathlib import Path

from ansible_collections.gpufleet.p2p.plugins.module_utils._boot import (
    grub_defaults,
    grub_environment,
    grub_script,
)
from ansible_collections.gpufleet.p2p.plugins.module_utils._boot.cmdline import (
    format_line,
    from_arguments,
)
from ansible_collections.gpufleet.p2p.plugins.module_utils._boot.grub_debian import GrubDebian
from ansible_collections.gpufleet.p2p.plugins.module_utils._boot.grub_generated import GeneratedGrub
from ansible_collections.gpufleet.p2p.plugins.module_utils._boot.grub_tools import GrubTools

from support.file_tree_host import FileTreeHost, environment_block

SAMPLES = Path(__file__).parents[1] / "unit/plugins/module_utils/_boot/samples"
RECORDED = SAMPLES / "debian12_lab_alpha_grub.cfg"
DEFAULTS = """\
GRUB_DEFAULT=0
GRUB_DISTRIBUTOR=`lsb_release -i -s 2> /dev/null || echo Debian`
GRUB_CMDLINE_LINUX_DEFAULT="quiet"
GRUB_CMDLINE_LINUX=""
"""
CONSOLE = 'GRUB_CMDLINE_LINUX="$GRUB_CMDLINE_LINUX console=ttyS0,115200"\n'
_KERNEL_LINE = re.compile(
    r"^(?P<head>\s*linux\t\S+ root=\S+ r[ow] )(?P<single>single )?.*$", re.MULTILINE
)


class ScriptedGrub(GrubTools):
    """Generates as 10_linux does, from the recorded file and the host's evaluated variables."""

    def __init__(self, root: Path, recorded: Path = RECORDED) -> None:
        self.root = root
        self.recorded = recorded
        self.checked = 0

    def generate(self, like: bytes) -> bytes:
        """Return the recorded grub.cfg with this host's parameters."""
        values = grub_defaults.evaluate(grub_defaults.files(self.root))[-1]

        def line(match: re.Match[str]) -> str:
            single = match["single"]
            tail = f"single {values.linux}" if single else f"{values.linux} {values.default}"
            return match["head"] + tail

        return _KERNEL_LINE.sub(line, self.recorded.read_text(encoding="utf-8")).encode()

    def check(self, script: bytes) -> None:
        """Count the checks; the product's parser stands for grub-script-check."""
        grub_script.parse(script.decode())
        self.checked += 1


class BootHost(FileTreeHost):
    """A Debian host under ``root`` whose machine can be rebooted."""

    recorded = RECORDED
    directory = "boot/grub"

    def __init__(self, root: Path, tools: GrubTools | None = None) -> None:
        super().__init__(root)
        self.tools = tools or ScriptedGrub(root, self.recorded)
        self.install()
        for name in set(re.findall(r"/boot/((?:vmlinuz|init)\S*)", self.recorded.read_text())):
            self.write(f"boot/{name}", "image")
        self.write(f"{self.directory}/grubenv", environment_block())
        self.refresh()
        self.path(f"{self.directory}/grub.cfg").chmod(0o600)
        self.reboot()

    def install(self) -> None:
        """Write what the distribution's packages bring."""
        self.write("usr/sbin/update-grub", "#!/bin/sh\n")
        self.write("etc/default/grub", DEFAULTS)
        self.write("etc/default/grub.d/50-console.cfg", CONSOLE)

    def loader(self) -> GeneratedGrub:
        """Return the host's boot loader with this host's tools."""
        return GrubDebian(self.root, vendor="intel", tools=self.tools)

    def administer(self, words: str, place: str) -> None:
        """Write them into the main file or a drop-in, and run the generator."""
        self.write_defaults(words, place)
        self.refresh()
        self.reboot()

    def refresh(self) -> None:
        """Do what update-grub does; half a menu, as a cut in its copying leaves, is GRUB's end."""
        self.write(f"{self.directory}/grub.cfg", self.tools.generate(b""))

    def reboot(self) -> None:
        """Do what GRUB does: take next_entry, clear it in place, boot the entry it names."""
        menu = self.read(f"{self.directory}/grub.cfg")
        custom = self.path(f"{self.directory}/custom.cfg")
        if custom.is_file():
            menu += custom.read_text(encoding="utf-8")
        script = grub_script.parse(menu)
        environment = self.path(f"{self.directory}/grubenv")
        block = environment.read_bytes()
        selector = grub_environment.parse(block).get("next_entry")
        if selector:
            environment.write_bytes(grub_environment.updated(block, "next_entry", ""))
            self.piece_done()
        default = grub_script.default_selector(script, None)
        known = {entry.identity for entry in script.walk()}
        entry = grub_script.find_entry(script, selector if selector in known else default)
        assert entry.linux is not None
        for name in entry.files:
            assert self.path(name.lstrip("/")).is_file(), f"GRUB finds no {name}"
        line = format_line(from_arguments(w.text for w in entry.linux.arguments[1:]))
        self.started(f"BOOT_IMAGE={entry.files[0]} {line}")
