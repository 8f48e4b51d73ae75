# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Serves simulated hosts by ssh: a loopback port for each, a real sshd for each connection.

Started by hosts.py in a mount namespace of its own, as a process apart from the controller's, so
that what the hosts spend is never counted as the controller's. It ends when its input does.

Reads one JSON object from standard input (layers, machine, boot_image, hosts: name to directory,
server: the sshd to run), writes {"ports": {name: port}}, then answers each further line with
{"connections", "sessions", "cpu_seconds"}: what the hosts have been asked for and spent so far.
"""

from __future__ import annotations

import json
import resource
import selectors
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "collection"))
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests"))

from benchmarks.fleet.machine import describe_disk

_HOST = Path(__file__).with_name("host.sh")
_LOOPBACK = "127.0.0.1"
# sshd's line for each command that it is asked to run.
_SESSION = b"Starting session"
_ENDING_SECONDS = 30.0


class Server:
    """The hosts of one description, listening."""

    def __init__(self, wanted: dict[str, Any]) -> None:
        self._wanted = wanted
        self._selector = selectors.DefaultSelector()
        self._running: list[subprocess.Popen[bytes]] = []
        self._connections = 0
        boot = Path(wanted["machine"]) / "boot"
        boot.mkdir(exist_ok=True)
        subprocess.run(["mount", "-o", "loop", wanted["boot_image"], str(boot)], check=True)
        describe_disk(boot.parent, boot.stat().st_dev)

    def listen(self) -> dict[str, int]:
        """Open a port for each host and return them."""
        ports = {}
        for name in self._wanted["hosts"]:
            listener = socket.socket()
            listener.bind((_LOOPBACK, 0))
            listener.listen(16)
            self._selector.register(listener, selectors.EVENT_READ, name)
            ports[name] = listener.getsockname()[1]
        return ports

    def serve(self) -> None:
        """Serve until standard input ends."""
        self._selector.register(sys.stdin, selectors.EVENT_READ, None)
        while True:
            for key, _events in self._selector.select():
                if key.data is not None:
                    self._accept(key.data, key.fileobj)
                elif sys.stdin.readline():
                    print(json.dumps(self._spent()), flush=True)
                else:
                    self._kill()
                    return

    def _accept(self, name: str, listener: Any) -> None:
        connection, _address = listener.accept()
        wanted = self._wanted
        directory = Path(wanted["hosts"][name])
        directory.mkdir(exist_ok=True)
        with connection, (directory / "sshd.log").open("ab") as log:
            process = subprocess.Popen(
                [
                    *("unshare", "--mount", "--pid", "--uts", "--ipc", "--fork", "--kill-child"),
                    *("sh", str(_HOST), wanted["layers"], str(directory), wanted["machine"], name),
                    *wanted["server"],
                ],
                stdin=connection,
                stdout=connection,
                stderr=log,
            )
        self._running.append(process)
        self._connections += 1

    def _spent(self) -> dict[str, Any]:
        """Wait until no connection is left, then return what all have cost."""
        self._wait(time.monotonic() + _ENDING_SECONDS)
        self._kill()
        logs = (Path(path) / "sshd.log" for path in self._wanted["hosts"].values())
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        return {
            "connections": self._connections,
            "sessions": sum(log.read_bytes().count(_SESSION) for log in logs if log.exists()),
            "cpu_seconds": used.ru_utime + used.ru_stime,
        }

    def _wait(self, until: float) -> None:
        while self._running and time.monotonic() < until:
            self._running = [one for one in self._running if one.poll() is None]
            time.sleep(0.05)

    def _kill(self) -> None:
        for process in self._running:
            process.kill()
            process.wait()
        self._running = []


def main() -> None:
    """Serve what standard input describes."""
    # Ctrl-C is the controller's; it ends this process by closing the input.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    server = Server(json.loads(sys.stdin.readline()))
    print(json.dumps({"ports": server.listen()}), flush=True)
    server.serve()


if __name__ == "__main__":
    main()
