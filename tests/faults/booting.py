# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What becomes of a host with this disk at its next power cycle, told by booting it.

A virtual machine of the lab is started from the disk, nobody touches its console, and a login has
to work; then the loaded modules are compared with what whole states had.
"""

from __future__ import annotations

import shutil
import time
from pathlib import Path

from ansible_collections.gpufleet.p2p.plugins.module_utils._host.commands import CommandTimedOut

from gpufleet.lab.description import read_description
from gpufleet.lab.machine import Machine
from gpufleet.lab.paths import lab_files
from gpufleet.lab.ports import choose_port
from gpufleet.lab.qemu import MachineFiles
from gpufleet.lab.remote import Address, make_key

from .judgement import Judgement, compared
from .tracing import MODULES, Known

#: Until then a host has come up, or it does not: 30 to 60 s where little else runs, minutes beside
#: other emulated machines.
BOOT_SECONDS = 900.0
_PAUSE_SECONDS = 3.0
# Where GRUB, the initramfs and the kernel wait for somebody, or for nobody.
_STOPPED = ("grub rescue>", "grub>", "(initramfs)", "Kernel panic", "Give root password")
# The checksum of the file of each loaded module, in the order of MODULES; "-" if it is not loaded.
_LOOK = """
for name in "$@"; do
  loaded=/sys/module/$(echo $name | tr - _)
  # Nothing loads this one at boot.
  if [ -d "$loaded" ] || [ $name = nvidia-peermem ]; then
    sha256sum < "$(modinfo -n $name)" | cut -d" " -f1
  else
    echo -
  fi
done
"""


def boot(disk: Path, release: str, directory: Path, known: Known) -> Judgement:
    """Return what becomes of a host with this raw disk, which itself is not written to."""
    directory.mkdir(parents=True, exist_ok=True)
    make_key(directory / "key")
    host = read_description(lab_files() / "hosts" / f"{release}_bios.json")
    machine = Machine(host, MachineFiles(directory / "machine"))
    machine.create(disk)
    address = Address(host.name, choose_port(None, ()), directory / "key")
    machine.start(address.port, directory / "key.pub", kvm=False)
    try:
        return _judge(machine, address, known)
    finally:
        machine.cut_power()
        shutil.rmtree(machine.files.directory)


def _answers(address: Address) -> bool:
    # A guest that came up half-way takes the connection and says nothing.
    try:
        return address.answers()
    except CommandTimedOut:
        return False


def _judge(machine: Machine, address: Address, known: Known) -> Judgement:
    deadline = time.monotonic() + BOOT_SECONDS
    while not _answers(address):
        log = machine.files.serial_log.read_text(errors="replace")
        stopped = [word for word in _STOPPED if word in log]
        if stopped or time.monotonic() > deadline or not machine.is_running():
            return Judgement(False, "", f"the console ends with {log.splitlines()[-1:]}")
        time.sleep(_PAUSE_SECONDS)
    said = address.run(["sh", "-s", *MODULES], stdin=_LOOK, check=False).stdout.split()
    found = dict(zip(MODULES, said, strict=False))
    driver = compared({name: found.get(name, "-") for name in MODULES}, known)
    return Judgement(True, driver, "")
