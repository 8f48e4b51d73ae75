# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The build host: a chroot of the machines' own image, reached by ssh like any host.

It stands for a build host with the fleet's distribution: the same headers, compiler and DKMS,
at this machine's full speed where the virtual machines are emulated.
"""

from __future__ import annotations

import contextlib
import shutil
import signal
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.gpufleet.p2p.plugins.module_utils._host.commands import run
from ansible_collections.gpufleet.p2p.plugins.module_utils._host.errors import GpufleetError
from ansible_collections.gpufleet.p2p.plugins.module_utils._host.files import (
    atomic_write,
    read_text,
)

from .chroot import enter_argv
from .ports import LOOPBACK
from .processes import (
    ProcessRecord,
    end_process,
    is_running,
    record_process,
    running_record,
    write_record,
)

NAME = "builder"
_LAST_LINES = 10
# The shell records its own id, which stays that of unshare, before anything else happens.
_DETACHED = 'log=$1 pid=$2; shift 2; exec <&- >"$log" 2>&1; echo $$ >"$pid"; exec "$@"'


class BuilderDied(GpufleetError):
    """The build host's ssh server ended."""


@dataclass(frozen=True)
class Builder:
    """The build host that lives in a directory."""

    directory: Path

    @property
    def log(self) -> Path:
        """What the ssh server printed."""
        return self.directory / "sshd.log"

    def pid(self) -> int | None:
        """Return the id of the process that holds the build host, or None while it is off."""
        record = self._running()
        return None if record is None else record.pid

    def start(self, root_file_system: Path, port: int, authorized_keys: Path) -> None:
        """Start the ssh server in a writable view of the image's files, detached."""
        keys = self.directory / "changes/root/.ssh/authorized_keys"
        atomic_write(keys, authorized_keys.read_bytes(), mode=0o600)
        keys.parent.chmod(0o700)
        keys.parent.parent.chmod(0o700)
        host_key = self.directory / "changes/etc/ssh/ssh_host_ed25519_key"
        host_key.parent.mkdir(parents=True, exist_ok=True)
        if not host_key.exists():
            run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(host_key)])
        self._pid_file.unlink(missing_ok=True)
        server = [
            *("/usr/sbin/sshd", "-D", "-e", "-p", str(port)),
            *("-o", f"ListenAddress={LOOPBACK}", "-o", "UsePAM=no", "-o", "PidFile=none"),
        ]
        run(
            [
                *("setsid", "--fork", "sh", "-c", _DETACHED, "sh"),
                *(str(self.log), str(self._pid_file)),
                *enter_argv(root_file_system, self.directory, server),
            ]
        )

    def check_alive(self) -> None:
        """Raise if the build host is off.

        Raises:
            BuilderDied: with the last lines of its log.
        """
        if self._running() is None:
            lines = (read_text(self.log) or "").splitlines()[-_LAST_LINES:]
            raise BuilderDied(
                "lab_builder_died",
                read="the build host's ssh server ended: " + " / ".join(lines),
                want="a running ssh server",
                remedy=f"read {self.log}",
            )

    def stop(self) -> None:
        """End the build host and all that runs in it."""
        record = self._running()
        if record is not None:
            # unshare ignores SIGTERM; its end takes the process namespace and mounts with it.
            end_process(record, [(signal.SIGKILL, 10.0)])
        self._running()

    def remove(self) -> None:
        """Remove what was changed in the build host; it must be off."""
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(self.directory)

    @property
    def _record_file(self) -> Path:
        return self.directory / "process.json"

    @property
    def _pid_file(self) -> Path:
        return self.directory / "unshare.pid"

    def _running(self) -> ProcessRecord | None:
        record = running_record(self._record_file)
        if record is not None:
            return record
        text = (read_text(self._pid_file) or "").strip()
        record = record_process(int(text), mark=str(self.directory)) if text.isdigit() else None
        if record is None or not is_running(record):
            return None
        write_record(self._record_file, record)
        return record
