# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A connection to hosts that are not there, for tests of what Ansible does when one is lost.

A command of the form ``note PLACE`` leaves a file PLACE/HOST and succeeds. Any other command is
answered by hosts that are still there, and by the lost ones with the exception that ssh raises for
a host that it cannot reach. No process is started.
"""

from __future__ import annotations

import re
from pathlib import Path

from ansible.errors import AnsibleConnectionFailure
from ansible.plugins.connection import ConnectionBase

DOCUMENTATION = r"""
name: scripted
short_description: Hosts that answer or do not, as the test's script says
description: For tests only.
author: gpufleet authors (@gpufleet)
options:
  host:
    description: Name of the host.
    vars: [{name: inventory_hostname}]
  lost:
    description: Names of the hosts that are lost.
    type: list
    elements: str
    vars: [{name: lost}]
"""

NOTE = re.compile(r"note (/[\w./-]+)")


class Connection(ConnectionBase):
    """Answers by itself."""

    transport = "scripted"
    has_pipelining = True

    def _connect(self) -> Connection:
        return self

    def exec_command(
        self, cmd: str, in_data: bytes | None = None, sudoable: bool = True
    ) -> tuple[int, bytes, bytes]:
        """Leave the note that the command asks for, or answer it, or be lost."""
        host = self.get_option("host")
        note = NOTE.search(cmd)
        if note:
            place = Path(note.group(1))
            place.mkdir(exist_ok=True)
            (place / host).touch()
        elif host in self.get_option("lost"):
            raise AnsibleConnectionFailure(f"{host} does not answer, as the test asked for")
        return 0, b"", b""

    def put_file(self, in_path: str, out_path: str) -> None:
        """Take no files."""
        raise AssertionError("no file is sent to a host that is not there")

    def fetch_file(self, in_path: str, out_path: str) -> None:
        """Give no files."""
        raise AssertionError("no file comes from a host that is not there")

    def close(self) -> None:
        """Close nothing."""
