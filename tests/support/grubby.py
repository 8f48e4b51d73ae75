# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What others do to a host with BLS entries: grubby, kernel-install and grub2-mkconfig.

Debian packages none of them. Their behaviour is that of grubby(8) and of the scripts of grubby 8.40
and later, 20-grub.install, and 10_linux of the rhboot branches, as far as parameters go.
"""

from __future__ import annotations

import os
import re
import subprocess

from support.bls_host import ENTRIES, MACHINE, BlsHost

_VARIABLE_LINE = re.compile(r"^GRUB_CMDLINE_LINUX.*$", re.MULTILINE)


def grubby(host: BlsHost, *, args: str = "", remove_args: str = "") -> None:
    """Do ``grubby --update-kernel=ALL``: every text of parameters, one after the other.

    /etc/default/grub is sourced, and what GRUB_CMDLINE_LINUX comes to is written into each line
    that begins with that name. Entries that name kernelopts are left to it.
    """
    main = host.read("etc/default/grub")
    old = _sourced(host, generator=False)
    line = f'GRUB_CMDLINE_LINUX="{_updated(old, args, remove_args)}"'
    host.write("etc/default/grub", _VARIABLE_LINE.sub(lambda _match: line, main))
    shared = host.variables().get("kernelopts")
    if shared is not None:
        host.set_variable("kernelopts", _updated(shared, args, remove_args))
    for path in host.path(ENTRIES).glob("*.conf"):
        options = re.search(r"^options (.*)$", path.read_text(), re.MULTILINE)
        if options is not None and "$kernelopts" not in options[1]:
            text = f"options {_updated(options[1], args, remove_args)}"
            path.write_text(path.read_text().replace(options[0], text))
    if host.path("etc/kernel/cmdline").is_file():
        text = _updated(host.read("etc/kernel/cmdline"), args, remove_args)
        host.write("etc/kernel/cmdline", f"{text}\n")


def _updated(text: str, args: str, remove_args: str) -> str:
    """Return update_args(): a new ``k=v`` first removes every ``k``, whatever its value."""
    words = text.split()
    for word in remove_args.split():
        same = {word} if "=" in word else None
        words = [w for w in words if (w not in same if same else w.split("=")[0] != word)]
    for word in args.split():
        words = [w for w in words if w.split("=")[0] != word.split("=")[0]]
    return " ".join([*words, *args.split()])


def install_kernel(host: BlsHost, release: str) -> None:
    """Do what kernel-install does: a new entry, which becomes the default.

    Its options are /etc/kernel/cmdline, or else the running kernel's without BOOT_IMAGE; on RHEL 8
    the package brings an entry that names kernelopts.
    """
    if host.layout.shared is not None:
        options = host.layout.options
    elif host.path("etc/kernel/cmdline").is_file():
        options = " ".join(host.read("etc/kernel/cmdline").split())
    else:
        options = " ".join(w for w in host.command_line().split() if "BOOT_IMAGE=" not in w)
    host.write_entry(release, options)
    host.set_variable("saved_entry", f"{MACHINE}-{release}")


def generate_menu(host: BlsHost) -> None:
    """Do ``grub2-mkconfig --update-bls-cmdline``, which up to RHEL 9.2 needs no such option."""
    text = f"root=/dev/mapper/rhel-root ro {_sourced(host, generator=True)}"
    if host.layout.shared is not None:
        host.set_variable("kernelopts", text)
        return
    for path in host.path(ENTRIES).glob("*.conf"):
        lines = re.sub(r"^options.*$", f"options {text}", path.read_text(), flags=re.MULTILINE)
        path.write_text(lines)


def _sourced(host: BlsHost, *, generator: bool) -> str:
    """Return GRUB_CMDLINE_LINUX as a script sees it that sources /etc/default/grub."""
    environment = dict(os.environ, **({"grub_mkconfig_dir": "/etc/grub.d"} if generator else {}))
    script = '. "$1"; printf %s "$GRUB_CMDLINE_LINUX"'
    words = ["/bin/sh", "-c", script, "sh", str(host.path("etc/default/grub"))]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=True)
    return done.stdout
