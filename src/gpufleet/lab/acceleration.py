# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether KVM truly runs a stock kernel here, found by running one."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path

from ansible_collections.gpufleet.p2p.plugins.module_utils._host.commands import (
    CommandTimedOut,
    run,
)
from ansible_collections.gpufleet.p2p.plugins.module_utils._host.files import (
    atomic_write,
    read_text,
)

from .processes import boot_id
from .qemu import QEMU, accelerator_arguments

_PROBE_SECONDS = 30.0
# A kernel without a root file system ends in this panic: by then it ran all its own set-up.
_REACHED = "VFS: Unable to mount root fs"


def kvm_works(kernel: Path, memory: Path, device: Path = Path("/dev/kvm")) -> bool:
    """Return whether KVM boots the kernel; the answer is remembered for this boot of the machine.

    The presence of /dev/kvm says nothing: on some hosts it opens and then cannot run a stock
    kernel (`failed to set MSR`), or hangs.

    Args:
        kernel: the guest's own kernel.
        memory: file that keeps the answer.
        device: KVM's device node.
    """
    if not os.access(device, os.R_OK | os.W_OK):
        return False
    remembered = _remembered(memory)
    if remembered is not None:
        return remembered
    works = _probe(kernel)
    atomic_write(memory, json.dumps({"boot_id": boot_id(), "kvm": works}).encode())
    return works


def _remembered(memory: Path) -> bool | None:
    try:
        answer = json.loads(read_text(memory) or "")
        return bool(answer["kvm"]) if answer["boot_id"] == boot_id() else None
    except (ValueError, KeyError, TypeError):
        return None


def _probe(kernel: Path) -> bool:
    with tempfile.TemporaryDirectory(prefix="gpufleet-kvm-") as directory:
        serial_log = Path(directory) / "serial.log"
        argv = [
            *(QEMU, *accelerator_arguments(kvm=True), "-machine", "q35", "-cpu", "max"),
            *("-m", "256", "-nodefaults", "-no-user-config", "-display", "none", "-vga", "none"),
            *("-no-reboot", "-serial", f"file:{serial_log}"),
            *("-kernel", str(kernel), "-append", "console=ttyS0 panic=-1"),
        ]
        try:
            result = run(argv, timeout=_PROBE_SECONDS, check=False)
        except CommandTimedOut:
            return False
        return result.rc == 0 and _REACHED in (read_text(serial_log) or "")
