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
import uuid
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
from ansible_collections.gpufleet.p2p.plugins.module_utils._boot.grub_tools import GrubTools
from ansible_collections.gpufleet.p2p.plugins.module_utils._boot.plan import Host, observe

RECORDED = (
    Path(__file__).parents[1]
    / "unit/plugins/module_utils/_boot/samples/debian12_lab_alpha_grub.cfg"
)
DEFAULTS = """\
GRUB_DEFAULT=0
GRUB_DISTRIBUTOR=`lsb_release -i -s 2> /dev/null || echo Debian`
GRUB_CMDLINE_LINUX_DEFAULT="quiet"
GRUB_CMDLINE_LINUX=""
"""
CONSOLE = 'GRUB_CMDLINE_LINUX="$GRUB_CMDLINE_LINUX console=ttyS0,115200"\n'
_KERNEL_LINE = re.compile(
    r"^(?P<head>\s*linux\t\S+ root=\S+ ro )(?P<single>single )?.*$", re.MULTILINE
)


class ScriptedGrub(GrubTools):
    """Generates as 10_linux does, from the recorded file and the host's evaluated variables."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.checked = 0

    def generate(self, like: bytes) -> bytes:
        """Return the recorded grub.cfg with this host's parameters."""
        values = grub_defaults.evaluate(grub_defaults.files(self.root))[-1]

        def line(match: re.Match[str]) -> str:
            single = match["single"]
            tail = f"single {values.linux}" if single else f"{values.linux} {values.default}"
            return match["head"] + tail

        return _KERNEL_LINE.sub(line, RECORDED.read_text(encoding="utf-8")).encode()

    def check(self, script: bytes) -> None:
        """Count the checks; the product's parser stands for grub-script-check."""
        grub_script.parse(script.decode())
        self.checked += 1


class BootHost:
    """A Debian host under ``root`` whose machine can be rebooted."""

    def __init__(self, root: Path, tools: GrubTools | None = None) -> None:
        self.root = root
        self.tools = tools or ScriptedGrub(root)
        self.write("usr/sbin/update-grub", "#!/bin/sh\n")
        self.write("etc/default/grub", DEFAULTS)
        self.write("etc/default/grub.d/50-console.cfg", CONSOLE)
        for name in set(re.findall(r"/boot/((?:vmlinuz|initrd)\S*)", RECORDED.read_text())):
            self.write(f"boot/{name}", "image")
        block = b"# GRUB Environment Block\n".ljust(grub_environment.BLOCK_BYTES, b"#")
        self.write("boot/grub/grubenv", block.decode())
        self.write("proc/cpuinfo", "processor\t: 0\nvendor_id\t: GenuineIntel\n")
        self.write("proc/self/mountinfo", "27 1 254:1 / / rw,relatime - ext4 /dev/vda1 rw\n")
        self.write("sys/devices/virtio2/block/vda/vda1/partition", "1\n")
        (root / "var/lib").mkdir(parents=True)
        (root / "sys/dev/block").mkdir(parents=True)
        (root / "sys/dev/block/254:1").symlink_to("../../devices/virtio2/block/vda/vda1")
        self.write("boot/grub/grub.cfg", self.tools.generate(b"").decode())
        self.path("boot/grub/grub.cfg").chmod(0o600)
        self.reboot()

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

    def loader(self) -> GrubDebian:
        """Return the host's boot loader with this host's tools."""
        return GrubDebian(self.root, vendor="intel", tools=self.tools)

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

    def reboot(self) -> None:
        """Do what GRUB does: take next_entry, clear it in place, boot the entry it names."""
        menu = self.read("boot/grub/grub.cfg")
        custom = self.path("boot/grub/custom.cfg")
        if custom.is_file():
            menu += custom.read_text(encoding="utf-8")
        script = grub_script.parse(menu)
        environment = self.path("boot/grub/grubenv")
        block = environment.read_bytes()
        selector = grub_environment.parse(block).get("next_entry")
        if selector:
            environment.write_bytes(grub_environment.updated(block, "next_entry", ""))
        default = grub_script.default_selector(script, None)
        known = {entry.identity for entry in script.walk()}
        entry = grub_script.find_entry(script, selector if selector in known else default)
        assert entry.linux is not None
        for name in entry.files:
            assert self.path(name.lstrip("/")).is_file(), f"GRUB finds no {name}"
        line = format_line(from_arguments(w.text for w in entry.linux.arguments[1:]))
        self.write("proc/cmdline", f"BOOT_IMAGE={entry.files[0]} {line}\n")
        self.write("proc/sys/kernel/random/boot_id", f"{uuid.uuid4()}\n")
