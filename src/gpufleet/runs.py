# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One run of ansible-playbook under ansible-runner: its environment, its events, its end.

ansible-runner's own habits are set right here: secrets do not go to its files or to the command
line, the host keys of a fleet are checked as Ansible alone would, the ``ansible-playbook`` beside
this interpreter is the one that runs, and an interrupt lets Ansible end its workers.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import queue
import shlex
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .errors import FleetError, Interrupted
from .events import Event, event_from_runner

Observer = Callable[[Event], None]

GRACE_SECONDS = 20.0
"""How long an interrupted run may take to end its workers before it is killed."""

REPEAT_SECONDS = 3.0
"""How long after an interrupt a run that goes on is interrupted again."""

LEFTOVER_SECONDS = 5.0
"""How long processes of an interrupted run are looked for and told to end."""

OUTPUT_LINES_KEPT = 40


@dataclass(frozen=True)
class Request:
    """What to run.

    Attributes:
        playbook: a collection's playbook by name, or a path.
        inventory: paths or host lists, as ``ansible-playbook -i`` takes them.
        extra_vars: variables; written to a file of mode 0600, since a command line is public.
        extra_vars_files: files of variables, vaulted ones too.
    """

    playbook: str
    inventory: tuple[str, ...]
    limit: str | None = None
    tags: tuple[str, ...] = ()
    skip_tags: tuple[str, ...] = ()
    check: bool = False
    diff: bool = False
    extra_vars: Mapping[str, Any] = field(default_factory=dict)
    extra_vars_files: tuple[Path, ...] = ()


@dataclass(frozen=True)
class Outcome:
    """How the run ended: Ansible's exit code, its recap, what failed hosts said, last output."""

    rc: int
    statistics: Mapping[str, Mapping[str, int]]
    messages: Mapping[str, tuple[str, ...]]
    unreachable: Mapping[str, str]
    output: tuple[str, ...]

    @property
    def hosts(self) -> tuple[str, ...]:
        """Return every host that Ansible counted, by name."""
        return tuple(sorted({host for counts in self.statistics.values() for host in counts}))


def collection_root() -> Path:
    """Return the directory that holds ``ansible_collections/gpufleet/p2p``.

    That is site-packages where the wheel is installed, ``collection/`` in an editable checkout.

    Raises:
        FleetError: the collection is nowhere on the import path.
    """
    for entry in sys.path:
        root = Path(entry or ".").resolve()
        if (root / "ansible_collections/gpufleet/p2p/galaxy.yml").is_file():
            return root
    raise FleetError(
        "collection_missing",
        read="no ansible_collections/gpufleet/p2p on Python's import path",
        want="the collection beside the package gpufleet",
        remedy="install the package again: pip install --force-reinstall gpufleet",
    )


def environment(root: Path) -> dict[str, str]:
    """Return what the run needs in its environment beside the caller's own.

    Values that the operator configured (ansible.cfg, ANSIBLE_*) win over this product's defaults.
    """
    # Imported here, since Ansible reads ansible.cfg of the current directory when it is imported.
    config = importlib.import_module("ansible.config.manager").ConfigManager()
    variables = {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
        # ansible-runner turns the check off where this is unset.
        "ANSIBLE_HOST_KEY_CHECKING": str(config.get_config_value("HOST_KEY_CHECKING")),
    }
    variables["ANSIBLE_NOCOLOR"] = "true"  # texts of events are for any screen, or none
    configured = [str(path) for path in config.get_config_value("COLLECTIONS_PATHS")]
    others = [path for path in configured if Path(path).resolve() != root]
    variables["ANSIBLE_COLLECTIONS_PATH"] = os.pathsep.join([str(root), *others])
    for setting, variable, value in (
        ("DEFAULT_FORKS", "ANSIBLE_FORKS", "25"),
        ("ANSIBLE_PIPELINING", "ANSIBLE_PIPELINING", "true"),
    ):
        _, origin = config.get_config_value_and_origin(setting)
        if origin == "default":
            variables[variable] = value
    return variables


class _Cancellation:
    """Ends a run: by SIGINT to ansible-playbook, after a while by ansible-runner's kill."""

    def __init__(self) -> None:
        self._pid: int | None = None
        self._deadline: float | None = None
        self._interrupted = 0.0

    def learn(self, data: Mapping[str, Any]) -> None:
        """Remember ansible-playbook's process id, which every event carries."""
        pid = data.get("pid")
        if self._pid is None and isinstance(pid, int):
            self._pid = pid

    def ask(self) -> None:
        """Interrupt ansible-playbook, so that it ends its workers and prints its recap."""
        if self._deadline is None:
            self._deadline = time.monotonic() + (GRACE_SECONDS if self._pid else 0.0)
            self._interrupt()

    def _interrupt(self) -> None:
        self._interrupted = time.monotonic()
        if self._pid:
            with contextlib.suppress(ProcessLookupError):  # it has just ended by itself
                os.kill(self._pid, signal.SIGINT)

    @property
    def asked(self) -> bool:
        """Whether the run was to end early."""
        return self._deadline is not None

    def force(self) -> None:
        """Have ansible-runner kill the process group at its next look."""
        self._deadline = time.monotonic()

    def due(self) -> bool:
        """Return whether ansible-runner is to kill the run; it asks about once a second."""
        if self._deadline is None:
            return False
        # Ansible loses an interrupt that comes while it forks a worker.
        if time.monotonic() - self._interrupted >= REPEAT_SECONDS:
            self._interrupt()
        return time.monotonic() >= self._deadline


class _Collector:
    """Keeps what the result needs from the events and hands each on to the observer."""

    def __init__(self, observer: Observer | None) -> None:
        self._observer = observer
        self._messages: dict[str, list[str]] = {}
        self._unreachable: dict[str, str] = {}
        self._statistics: Mapping[str, Mapping[str, int]] = {}
        self._output: list[str] = []

    def take(self, event: Event) -> None:
        if event.kind == "failed":
            said = self._messages.setdefault(event.host, [])
            if event.message not in said:
                said.append(event.message)
        elif event.kind == "unreachable":
            self._unreachable[event.host] = event.message
        elif event.kind == "stats":
            self._statistics = event.statistics or {}
        elif event.kind == "output" and event.text:
            self._output = [*self._output, *event.text.splitlines()][-OUTPUT_LINES_KEPT:]
        if self._observer is not None:
            self._observer(event)

    def outcome(self, rc: int) -> Outcome:
        return Outcome(
            rc,
            self._statistics,
            {host: tuple(said) for host, said in self._messages.items()},
            self._unreachable,
            tuple(self._output),
        )


def _command_line(request: Request, variables: Path) -> str:
    words = ["-e", f"@{variables}"]
    for path in request.extra_vars_files:
        words += ["-e", f"@{path}"]
    words += ["--check"] * request.check + ["--diff"] * request.diff
    return shlex.join(words)


def _write_private(path: Path, data: Mapping[str, Any]) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        json.dump(data, file)


def execute(
    request: Request, private: Path, observer: Observer | None = None, *, keep: bool = False
) -> Outcome:
    """Run the playbook and return how it ended; the observer is called in this thread.

    Args:
        request: what to run.
        private: an empty directory of mode 0700 for ansible-runner; the caller removes it.
        observer: called with each Event, in order; its exception ends the run and is raised.
        keep: leave ansible-runner's event files in ``private``.

    Raises:
        Interrupted: on KeyboardInterrupt, after Ansible has ended; a second one kills it.
        FleetError: the collection is missing.
    """
    # Imported here: it takes a third of a second, which --help and the lab need not pay.
    runner_module = importlib.import_module("ansible_runner.interface")
    variables = private / "extra_vars.json"
    _write_private(variables, request.extra_vars)
    events: queue.SimpleQueue[Event | None] = queue.SimpleQueue()
    cancellation = _Cancellation()

    def handle(data: Mapping[str, Any]) -> bool:
        cancellation.learn(data)
        event = event_from_runner(data)
        if event is not None:
            events.put(event)
        return keep

    runner = runner_module.init_runner(
        private_data_dir=str(private),
        # ansible-playbook then runs in the caller's directory and reads its ansible.cfg.
        project_dir=str(Path.cwd()),
        playbook=request.playbook,
        inventory=list(request.inventory),
        limit=request.limit,
        tags=",".join(request.tags) or None,
        skip_tags=",".join(request.skip_tags) or None,
        cmdline=_command_line(request, variables),
        envvars=environment(collection_root()),
        settings={"pexpect_timeout": 1},
        suppress_env_files=True,
        quiet=True,
        event_handler=handle,
        cancel_callback=cancellation.due,
    )
    collector = _Collector(observer)
    try:
        with ThreadPoolExecutor(max_workers=1, thread_name_prefix="ansible-runner") as pool:
            ended = pool.submit(runner.run)
            ended.add_done_callback(lambda _future: events.put(None))
            try:
                _drain(events, collector)
            except KeyboardInterrupt:
                _end(cancellation, events, ended)
                raise Interrupted from None
            finally:
                if not ended.done():
                    cancellation.ask()
    finally:
        if cancellation.asked:
            end_leftovers(private)
    ended.result()
    return collector.outcome(int(runner.rc))


def end_leftovers(private: Path) -> None:
    """End what an interrupted Ansible left on this machine.

    Its workers run in sessions of their own, so that one forked in the moment of the interrupt
    outlives it. All that belongs to the run carries the run's directory in its environment
    (AWX_ISOLATED_DATA_DIR). Shared SSH connections are spared: other runs may use them, and they
    end by themselves.
    """
    mark = f"AWX_ISOLATED_DATA_DIR={private}/".encode()
    deadline = time.monotonic() + LEFTOVER_SECONDS
    unseen = 0
    # Twice none: a process that is just being replaced by exec shows no environment.
    while unseen < 2 and time.monotonic() < deadline:
        found = [pid for pid in _processes_with(mark) if pid != os.getpid()]
        unseen = 0 if found else unseen + 1
        for pid in found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
        time.sleep(0.1)


def _processes_with(mark: bytes) -> list[int]:
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if any(
                word.startswith(mark) for word in (folder / "environ").read_bytes().split(b"\0")
            ):
                command = (folder / "comm").read_text(encoding="utf-8", errors="replace").strip()
                if command != "ssh":
                    found.append(int(folder.name))
        except OSError:  # it has ended, or is another user's
            continue
    return found


def _drain(events: queue.SimpleQueue[Event | None], collector: _Collector) -> None:
    while (event := events.get()) is not None:
        collector.take(event)


def _end(
    cancellation: _Cancellation, events: queue.SimpleQueue[Event | None], ended: Future[Any]
) -> None:
    """Wait for an interrupted run; a second interrupt no longer waits for Ansible."""
    cancellation.ask()
    try:
        while not ended.done():
            events.get()
    except KeyboardInterrupt:
        cancellation.force()


def last_words(outcome: Outcome, lines: Sequence[str] = ()) -> str:
    """Return the end of what Ansible printed outside of tasks, on one line, for an error."""
    said = [line.strip() for line in (*lines, *outcome.output) if line.strip()]
    return " ".join(said[-6:]) or "no output"
