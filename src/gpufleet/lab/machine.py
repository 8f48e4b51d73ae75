# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One virtual machine of the lab: made, started, shut down."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.gpufleet.p2p.plugins.module_utils._host.commands import CommandFailed, run
from ansible_collections.gpufleet.p2p.plugins.module_utils._host.errors import GpufleetError
from ansible_collections.gpufleet.p2p.plugins.module_utils._host.files import (
    atomic_write,
    read_text,
)

from .description import HostDescription
from .processes import (
    ProcessRecord,
    end_process,
    is_running,
    record_process,
    running_record,
    wait_for_end,
    write_record,
)
from .qemu import QMP_SOCKET, MachineFiles, machine_arguments

_START_SECONDS = 60.0
_SHUTDOWN_SECONDS = 90.0
_LAST_LINES = 15


class MachineDied(GpufleetError):
    """A virtual machine ended by itself, or never started."""


@dataclass(frozen=True)
class Machine:
    """One virtual machine and the directory that it lives in."""

    host: HostDescription
    files: MachineFiles

    @property
    def name(self) -> str:
        """The machine's hostname and inventory name."""
        return self.host.name

    def is_running(self) -> bool:
        """Return whether the machine's QEMU runs; leftovers of a dead one are removed."""
        return self.pid() is not None

    def pid(self) -> int | None:
        """Return the process id of the machine's QEMU, or None while it is off."""
        record = running_record(self.files.record) or self._adopt()
        return None if record is None else record.pid

    def exists(self) -> bool:
        """Return whether the machine has a disk of its own."""
        return self.files.disk.exists()

    def create(self, image: Path, efi_variables: Path | None = None) -> None:
        """Give the machine a fresh disk: an overlay that holds what differs from the image.

        Args:
            image: the golden raw disk.
            efi_variables: what an EFI machine's own variables start as.
        """
        self.files.directory.mkdir(parents=True, exist_ok=True)
        if efi_variables is not None:
            shutil.copyfile(efi_variables, self.files.efi_variables)
        partial = self.files.disk.with_suffix(".partial")
        run(
            [
                *("qemu-img", "create", "-q", "-f", "qcow2"),
                *("-b", str(image), "-F", "raw", str(partial)),
            ]
        )
        partial.replace(self.files.disk)

    def start(self, ssh_port: int, authorized_keys: Path, *, kvm: bool) -> None:
        """Start the machine's QEMU, which detaches; return while the guest still boots.

        Raises:
            MachineDied: QEMU refused; the error carries what it said.
        """
        atomic_write(self.files.description, self.host.as_json().encode())
        atomic_write(self.files.hostname, f"{self.name}\n".encode())
        for stale in (self.files.pid, self.files.directory / QMP_SOCKET):
            stale.unlink(missing_ok=True)
        argv = machine_arguments(
            self.host, self.files, ssh_port=ssh_port, authorized_keys=authorized_keys, kvm=kvm
        )
        try:
            run(argv, cwd=self.files.directory, timeout=_START_SECONDS)
        except CommandFailed as error:
            raise MachineDied(
                "lab_machine_not_started",
                read=error.read,
                want=f"QEMU to start {self.name}",
                remedy="mend what QEMU names; `gpufleet lab up` then goes on",
            ) from error
        self._adopt()

    def check_alive(self) -> None:
        """Raise if the machine is off.

        Raises:
            MachineDied: with the last lines of its serial log.
        """
        if self.is_running():
            return
        lines = (read_text(self.files.serial_log) or "").splitlines()[-_LAST_LINES:]
        raise MachineDied(
            "lab_machine_died",
            read=f"{self.name} is off; its console ended with: " + " / ".join(lines),
            want="a running machine",
            remedy=f"read {self.files.serial_log}",
        )

    def shut_down(self) -> bool:
        """Press the power button and wait; return False where QEMU had to be ended instead."""
        record = running_record(self.files.record) or self._adopt()
        if record is None:
            return True
        try:
            press_power_button(self.files.directory)
            clean = wait_for_end(record, _SHUTDOWN_SECONDS)
        except OSError:
            clean = False
        if is_running(record):
            end_process(record, [(signal.SIGTERM, 10.0), (signal.SIGKILL, 10.0)])
        running_record(self.files.record)
        return clean

    def cut_power(self) -> None:
        """End QEMU at once, as a power loss would."""
        record = running_record(self.files.record) or self._adopt()
        if record is not None:
            end_process(record, [(signal.SIGKILL, 10.0)])

    def remove(self) -> None:
        """Remove the machine's files; it must be off."""
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(self.files.directory)

    def _adopt(self) -> ProcessRecord | None:
        # QEMU writes its pid file itself: a lab killed right after the start finds it there.
        text = (read_text(self.files.pid) or "").strip()
        if not text.isdigit():
            return None
        record = record_process(int(text), mark=str(self.files.pid))
        if record is None or not is_running(record):
            self.files.pid.unlink(missing_ok=True)
            return None
        write_record(self.files.record, record)
        return record


def press_power_button(directory: Path, seconds: float = 10.0) -> None:
    """Send ACPI's power button to the QEMU whose control socket is in the directory.

    The protocol is QMP: a greeting, capabilities, then one JSON object per line
    (QEMU documentation, interop/qmp-spec).

    Raises:
        OSError: nobody answers on the socket.
    """
    # By way of /proc: a socket's address may have no more than 107 characters.
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with socket.socket(socket.AF_UNIX) as control:
            control.settimeout(seconds)
            control.connect(f"/proc/self/fd/{handle}/{QMP_SOCKET}")
            with control.makefile("rw", encoding="utf-8") as stream:
                stream.readline()
                for command in ("qmp_capabilities", "system_powerdown"):
                    stream.write(json.dumps({"execute": command}) + "\n")
                    stream.flush()
                    while "return" not in json.loads(stream.readline() or '{"return": {}}'):
                        pass
    finally:
        os.close(handle)
