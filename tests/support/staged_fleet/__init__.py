# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A fleet of doubles that the product's own playbooks and roles are run on.

What runs as it is: playbooks, roles, filters, the report, and the modules that keep their state in
the host's file system (host_lock and what drains a host), each with a folder of its own for root.
What is replaced by host_double.py: the modules that would change a kernel, a driver or a boot
loader, and ansible.builtin.reboot, which would restart the machine that runs the tests.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from support.gate_facts import RELEASE

from .host_double import COMPILER, PACKAGE, PATCHED, SOURCE_KEY, VERSION, HostDouble, bare

ROOT = Path(__file__).parents[3]
#: Modules that host_double.py answers for, each by an action plugin of its name.
DOUBLES = (
    "boot_trial",
    "dkms_module",
    "driver_registry",
    "driver_source",
    "driver_trial",
    "driver_userspace",
    "kernel_cmdline",
    "loaded_module",
    "p2p_facts",
    "p2p_guard",
    "p2p_plan",
    "p2p_preflight",
    "p2p_verify",
    "restart",
)
#: In the roles: what would touch the machine that runs the tests, and what is there instead.
REPLACED = {
    "ansible.builtin.reboot:": "gpufleet.p2p.restart:",
    "path: /var/cache/gpufleet\n": 'path: "{{ host_folder }}/root/var/cache/gpufleet"\n',
}
#: Modules that run as they are, in the host's own root.
ROOTED = ("drain_note", "host_lock")
OWN_ROOT = 'ROOT = Path("/")'
PAUSE_SECONDS = 0.1
LIMIT_SECONDS = 300


def stage(folder: Path) -> Path:
    """Return a folder of collections with a copy of this one, doubles in their places."""
    collection = folder / "collections/ansible_collections/gpufleet/p2p"
    (collection / "plugins").mkdir(parents=True)
    for name in ("galaxy.yml", "meta", "playbooks"):
        (collection / name).symlink_to(ROOT / name)
    for name in ("filter", "module_utils"):
        (collection / "plugins" / name).symlink_to(ROOT / "plugins" / name)
    for name in ("action", "modules", "plugin_utils"):
        shutil.copytree(ROOT / "plugins" / name, collection / "plugins" / name)
    shutil.copytree(ROOT / "roles", collection / "roles")
    for path in (collection / "roles").rglob("*.yml"):
        text = path.read_text()
        for dangerous, harmless in REPLACED.items():
            text = text.replace(dangerous, harmless)
        path.write_text(text)
    for name in DOUBLES:
        double = collection / "plugins/action" / f"{name}.py"
        double.write_text((Path(__file__).parent / "action_double.py").read_text())
    for name in ROOTED:
        module = collection / "plugins/modules" / f"{name}.py"
        text = module.read_text()
        assert OWN_ROOT in text
        rooted = text.replace(OWN_ROOT, 'ROOT = Path(__import__("os").environ["HOST_ROOT"])')
        module.write_text(rooted)
    # Which controller a run is of: by default this machine's boot, as in the product.
    identity = collection / "plugins/plugin_utils/run_identity.py"
    text = identity.read_text()
    boot = '(proc / "sys/kernel/random/boot_id").read_text(encoding="ascii").strip()'
    assert boot in text
    identity.write_text(text.replace(boot, 'os.environ.get("CONTROLLER_BOOT", "this")'))
    return folder / "collections"


class Ended:
    """A run that ended: its return code and what it printed."""

    def __init__(self, code: int, text: str) -> None:
        self.code = code
        self.text = text

    def __repr__(self) -> str:
        return f"return code {self.code}\n{self.text}"


class StagedFleet:
    """Hosts by name, and the controller that runs playbooks on them."""

    def __init__(self, folder: Path, names: Sequence[str], **variables: Any) -> None:
        self.folder = folder
        self.names = tuple(names)
        self.collections = stage(folder)
        self.cache = folder / "cache"
        self.runs = 0
        self._mark = ""
        for name in names:
            (self._host_folder(name) / "root").mkdir(parents=True)
            self._write(name, bare(name))
            self._interpreter(name)
        self._have_the_build()
        self.variables = {
            "p2p_driver": {"version": VERSION, "source": {"path": "/nowhere"}},
            "p2p_report_dir": str(folder / "report"),
            "p2p_cache_dir": str(self.cache),
            **variables,
        }

    # --- hosts ------------------------------------------------------------------------------

    def host(self, name: str) -> dict[str, Any]:
        """Return a host's state."""
        return HostDouble(self._host_folder(name)).state

    def root(self, name: str) -> Path:
        """Return the folder that is the host's root to the modules that run as they are."""
        return self._host_folder(name) / "root"

    def set(self, name: str, **changes: Any) -> None:
        """Change a host's state."""
        self._write(name, {**self.host(name), **changes})

    def forget_journals(self) -> None:
        """Begin new journals."""
        for name in self.names:
            self.set(name, journal=[])

    def journals(self) -> dict[str, list[str]]:
        """Return what was changed, by host."""
        return {name: self.host(name)["journal"] for name in self.names}

    def lock(self, name: str) -> dict[str, Any] | None:
        """Return the host's lock, None where nobody holds it."""
        path = self.root(name) / "var/lib/gpufleet/lock.json"
        return json.loads(path.read_text()) if path.exists() else None

    def is_converged(self, name: str) -> bool:
        """Return whether everything site.yml is for is there, by default and in force."""
        state = self.host(name)
        return bool(
            state["default"] == ["iommu=pt"]
            and state["running"]["parameters"] == ["iommu=pt"]
            and state["running"]["build_id"] == state["installed"] == PATCHED
            and state["trial"] is None
            and not state["driver_on_trial"]
            and state["guarded"]
        )

    def record(self, name: str) -> dict[str, Any]:
        """Return the host's record of the last report."""
        found: dict[str, Any] = json.loads((self.folder / f"report/hosts/{name}.json").read_text())
        return found

    def keep(self) -> None:
        """Remember every host as it is, for back()."""
        shutil.copytree(self.folder / "hosts", self.folder / "kept", symlinks=True)

    def back(self) -> None:
        """Make every host what it was at keep()."""
        shutil.rmtree(self.folder / "hosts")
        shutil.copytree(self.folder / "kept", self.folder / "hosts", symlinks=True)

    # --- runs -------------------------------------------------------------------------------

    def run(self, *arguments: str, playbook: str = "site", controller: str = "this") -> Ended:
        """Run a playbook to its end."""
        with self._started(arguments, playbook, controller) as process:
            text, _ = process.communicate(timeout=LIMIT_SECONDS)
            return Ended(process.returncode, text)

    def run_and_die(
        self, host: str, place: str, *arguments: str, playbook: str = "site"
    ) -> dict[str, Any]:
        """Run until a change of a host is reached, and end the controller there by SIGKILL.

        Everything that it started is killed with it, as when the machine loses power. Returns the
        host's state.
        """
        self.set(host, halt=place, reached=None)
        with self._started(arguments, playbook, "this") as process:
            try:
                deadline = time.monotonic() + LIMIT_SECONDS
                while self.host(host)["reached"] != place:
                    told = process.poll()
                    assert told is None, f"ended with {told} before {place}:\n{process.stdout}"
                    assert time.monotonic() < deadline, f"{place} was not reached"
                    time.sleep(PAUSE_SECONDS)
            finally:
                _kill_all(self._mark)
                process.wait()
        self.set(host, halt=None, reached=None)
        return self.host(host)

    def _started(
        self, arguments: Sequence[str], playbook: str, controller: str
    ) -> subprocess.Popen[str]:
        self.runs += 1
        self._mark = f"{self.folder}#{self.runs}"
        inventory = self.folder / "inventory.json"
        hosts = {
            name: {
                "host_folder": str(self._host_folder(name)),
                "ansible_python_interpreter": str(self._host_folder(name) / "python"),
            }
            for name in self.names
        }
        everyone = {"ansible_connection": "local", "ansible_pipelining": True}
        group = {"hosts": hosts, "vars": {**everyone, **self.variables}}
        inventory.write_text(json.dumps({"p2p_hosts": group}))
        program = Path(sys.executable).parent / "ansible-playbook"
        environment = {
            **os.environ,
            "ANSIBLE_COLLECTIONS_PATH": str(self.collections),
            "ANSIBLE_LOCALHOST_WARNING": "false",
            "ANSIBLE_NOCOWS": "1",
            "CONTROLLER_BOOT": controller,
            "STAGED_RUN": self._mark,
            "PYTHONPATH": f"{ROOT / 'tests'}{os.pathsep}{os.environ.get('PYTHONPATH', '')}",
        }
        return subprocess.Popen(
            [program, "-i", inventory, *arguments, f"gpufleet.p2p.{playbook}"],
            env=environment,
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    # --- what is laid out -------------------------------------------------------------------

    def _host_folder(self, name: str) -> Path:
        return self.folder / "hosts" / name

    def _write(self, name: str, state: dict[str, Any]) -> None:
        folder = self._host_folder(name)
        path = folder / "state.json"
        if not path.exists():
            path.write_text(json.dumps(state))
        host = HostDouble(folder)
        host.state = state
        host.save()

    def _interpreter(self, name: str) -> None:
        """Give the host a Python that tells modules where its root is and which tools it has."""
        folder = self._host_folder(name)
        (folder / "bin").mkdir()
        shutil.copy(Path(__file__).parent / "scontrol", folder / "bin/scontrol")
        path = folder / "python"
        path.write_text(
            "#!/bin/sh\n"
            f"HOST_ROOT='{folder / 'root'}' HOST_FOLDER='{folder}' PATH='{folder / 'bin'}':$PATH"
            f" exec '{sys.executable}' \"$@\"\n"
        )
        path.chmod(0o755)

    def _have_the_build(self) -> None:
        """Put a finished build into the cache: compiling is another test's subject."""
        builds = self.cache / "builds"
        builds.mkdir(parents=True)
        stem = f"{PACKAGE}-{VERSION}-{SOURCE_KEY[:16]}-{RELEASE}-x86_64-{COMPILER['identity']}"
        (builds / f"{stem}.tar.gz").write_bytes(b"modules")
        manifest = {"modules": [{"name": "nvidia", "build_id": PATCHED}]}
        (builds / f"{stem}.json").write_text(json.dumps(manifest))


def _kill_all(mark: str) -> None:
    """End every process of a run: workers and commands have process groups of their own."""
    word = f"STAGED_RUN={mark}\0".encode()
    while True:
        found = []
        for environment in Path("/proc").glob("[0-9]*/environ"):
            with contextlib.suppress(OSError):
                # One that was killed has none, until somebody waits for it.
                if word in environment.read_bytes():
                    found.append(int(environment.parent.name))
        if not found:
            return
        for pid in found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(PAUSE_SECONDS)


def batches_of(text: str) -> int:
    """Return how many times the last play of site.yml began."""
    return len(re.findall(r"(?m)^PLAY \[Take the hosts to verified", text))
