# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Typed results of a run: what each host's record says and what Ansible counted.

The result of a verification itself is p2p_verify's own type; here is what stands around it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from ansible_collections.gpufleet.p2p.plugins.module_utils._p2p.decode import (
    MalformedResult,
    Reader,
    malformed,
)
from ansible_collections.gpufleet.p2p.plugins.module_utils._p2p.result import (
    CHECKS,
    FAIL,
    HOST_VERDICTS,
    NOT_RUN,
    PAIR_VERDICTS,
    PASS,
    PASSED,
    WARN,
    WAYS,
    AllToAll,
    Cause,
    Gpu,
    Pair,
    Result,
)

__all__ = [
    "CHECKS",
    "FAIL",
    "HOST_VERDICTS",
    "NOT_RUN",
    "PAIR_VERDICTS",
    "PASS",
    "PASSED",
    "WARN",
    "WAYS",
    "AllToAll",
    "Cause",
    "DriverWork",
    "Failure",
    "FleetResult",
    "Gate",
    "Gpu",
    "HostRecord",
    "HostResult",
    "MalformedResult",
    "Pair",
    "Reboots",
    "Result",
    "TaskCounts",
]

SCHEMA_VERSION = 1

VERIFIED = "verified"
READY = "ready"
DONE = "done"
FAILED = "failed"
REFUSED = "refused"
UNREACHABLE = "unreachable"
NOT_REACHED = "not_reached"
OUTCOMES = (VERIFIED, READY, DONE, FAILED, REFUSED, UNREACHABLE, NOT_REACHED)
GOOD_OUTCOMES = (VERIFIED, READY, DONE)

T = TypeVar("T")


@dataclass(frozen=True)
class Gate:
    """One preflight gate: whether it passed, what it read, what it wanted, what to do."""

    name: str
    passed: bool
    read: str
    want: str
    remedy: str

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return {
            "name": self.name,
            "passed": self.passed,
            "read": self.read,
            "want": self.want,
            "remedy": self.remedy,
        }

    @classmethod
    def _read(cls, reader: Reader) -> Gate:
        return cls(
            reader.text("name"),
            reader.flag("passed"),
            reader.text("read"),
            reader.text("want"),
            _optional(reader, "remedy", reader.text) or "",
        )


@dataclass(frozen=True)
class Failure:
    """Why a host was refused or failed."""

    code: str
    read: str
    want: str
    remedy: str

    def to_dict(self) -> dict[str, str]:
        """Return plain data."""
        return {"code": self.code, "read": self.read, "want": self.want, "remedy": self.remedy}

    def __str__(self) -> str:
        return f"{self.code}: read {self.read}; want {self.want}; remedy: {self.remedy}"

    @classmethod
    def _read(cls, reader: Reader) -> Failure:
        return cls(
            reader.text("code"), reader.text("read"), reader.text("want"), reader.text("remedy")
        )


@dataclass(frozen=True)
class DriverWork:
    """What this run did about the driver.

    Attributes:
        built: whether the build was compiled in this run and counted to this host.
        installed: whether the modules were installed on this host in this run.
        build_id: GNU build-id of nvidia.ko in the fleet's build, None where there is none.
        version: driver version asked for.
        manifest: the build's manifest as written by dkms_module.
    """

    built: bool = False
    installed: bool = False
    build_id: str | None = None
    version: str | None = None
    manifest: Any = None

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return {
            "built": self.built,
            "installed": self.installed,
            "build_id": self.build_id,
            "version": self.version,
            "manifest": self.manifest,
        }

    @classmethod
    def _read(cls, reader: Reader) -> DriverWork:
        return cls(
            _optional(reader, "built", reader.flag) or False,
            _optional(reader, "installed", reader.flag) or False,
            _optional(reader, "build_id", reader.text),
            _optional(reader, "version", reader.text),
            _optional(reader, "manifest", reader.value),
        )


@dataclass(frozen=True)
class Reboots:
    """How often the host restarted in this run, and the boot ids seen, oldest first."""

    count: int = 0
    boot_ids: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return {"count": self.count, "boot_ids": list(self.boot_ids)}

    @classmethod
    def _read(cls, reader: Reader) -> Reboots:
        return cls(
            _optional(reader, "count", reader.integer) or 0,
            _optional(reader, "boot_ids", reader.texts) or (),
        )


@dataclass(frozen=True)
class Drained:
    """What became of a host that work was kept away from.

    Attributes:
        state: drained (by gpufleet, and still so), restored, or other (somebody else's doing).
        read: the same in words.
    """

    state: str
    read: str

    def to_dict(self) -> dict[str, str]:
        """Return plain data."""
        return {"state": self.state, "read": self.read}

    @classmethod
    def _read(cls, reader: Reader) -> Drained:
        return cls(reader.choice("state", ("drained", "restored", "other")), reader.text("read"))


@dataclass(frozen=True)
class HostRecord:
    """One host's record, as the report role writes it to ``hosts/<host>.json``.

    Attributes:
        host: inventory name.
        outcome: verified, ready (gates passed, nothing else asked), done (changed but not
            measured), failed, refused, unreachable or not_reached.
        started, finished: ISO 8601 in UTC, None where not noted.
        facts: ``ansible_facts.p2p`` as p2p_facts gave them, empty if the host was never read.
        verify: the verification, None if it did not come to one.
        drain: None for a host that was not drained.
        failure: None for a host that came through.
    """

    host: str
    outcome: str
    started: str | None = None
    finished: str | None = None
    gates: tuple[Gate, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)
    driver: DriverWork = DriverWork()
    reboot: Reboots = Reboots()
    drain: Drained | None = None
    verify: Result | None = None
    failure: Failure | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the record as plain JSON data, with ``schema``: 1."""
        return {
            "schema": SCHEMA_VERSION,
            "host": self.host,
            "outcome": self.outcome,
            "started": self.started,
            "finished": self.finished,
            "gates": [gate.to_dict() for gate in self.gates],
            "facts": dict(self.facts),
            "driver": self.driver.to_dict(),
            "reboot": self.reboot.to_dict(),
            "drain": self.drain.to_dict() if self.drain else None,
            "verify": self.verify.to_dict() if self.verify else None,
            "failure": self.failure.to_dict() if self.failure else None,
        }

    @classmethod
    def from_dict(cls, data: object) -> HostRecord:
        """Return the HostRecord in ``data``.

        A part that the host never came to may be missing; what is there must be well formed.

        Raises:
            MalformedResult: another schema version, an unknown outcome, or a value of another
                type than the schema's; it names the place.
        """
        reader = Reader(data, "")
        if reader.integer("schema") != SCHEMA_VERSION:
            raise malformed("schema", reader.value("schema"), f"schema version {SCHEMA_VERSION}")
        empty = Reader({}, "")
        return cls(
            host=reader.text("host"),
            outcome=reader.choice("outcome", OUTCOMES),
            started=_optional(reader, "started", reader.text),
            finished=_optional(reader, "finished", reader.text),
            gates=tuple(
                Gate._read(gate) for gate in _optional(reader, "gates", reader.children) or ()
            ),
            facts=_optional(reader, "facts", lambda key: _mapping(reader, key)) or {},
            driver=DriverWork._read(_optional(reader, "driver", reader.child) or empty),
            reboot=Reboots._read(_optional(reader, "reboot", reader.child) or empty),
            drain=_optional(reader, "drain", lambda key: Drained._read(reader.child(key))),
            verify=_optional(reader, "verify", lambda key: Result.from_dict(reader.value(key))),
            failure=_optional(reader, "failure", lambda key: Failure._read(reader.child(key))),
        )

    @classmethod
    def from_file(cls, path: Path) -> HostRecord:
        """Return the HostRecord in a JSON file; raises MalformedResult and OSError."""
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise malformed(str(path), str(error), "a JSON document") from error
        return cls.from_dict(data)


@dataclass(frozen=True)
class TaskCounts:
    """Ansible's recap of one host."""

    ok: int = 0
    changed: int = 0
    failed: int = 0
    unreachable: int = 0
    skipped: int = 0
    rescued: int = 0

    def to_dict(self) -> dict[str, int]:
        """Return plain data."""
        return {
            "ok": self.ok,
            "changed": self.changed,
            "failed": self.failed,
            "unreachable": self.unreachable,
            "skipped": self.skipped,
            "rescued": self.rescued,
        }


@dataclass(frozen=True)
class HostResult:
    """One host in one run: its record, Ansible's counts, and what its failed tasks said."""

    record: HostRecord
    tasks: TaskCounts = TaskCounts()
    messages: tuple[str, ...] = ()

    @property
    def host(self) -> str:
        """Return the inventory name."""
        return self.record.host

    @property
    def outcome(self) -> str:
        """Return the record's outcome."""
        return self.record.outcome

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return {
            "record": self.record.to_dict(),
            "tasks": self.tasks.to_dict(),
            "messages": list(self.messages),
        }


@dataclass(frozen=True)
class FleetResult:
    """One run over a fleet.

    Attributes:
        action: preflight, apply, verify or rollback.
        check: whether it was a check run, which changes nothing.
        hosts: by name.
        report: path of the HTML page, None where none was kept.
        seconds: wall time of the run.
        kept: private data directory of ansible-runner, if it was kept for a look.
    """

    action: str
    check: bool
    hosts: tuple[HostResult, ...]
    report: Path | None
    seconds: float
    kept: Path | None = None

    @property
    def verified(self) -> bool:
        """Whether there are hosts and each of them is verified."""
        return bool(self.hosts) and all(host.outcome == VERIFIED for host in self.hosts)

    @property
    def succeeded(self) -> bool:
        """Whether there are hosts and each of them came through: verified, ready or done."""
        return bool(self.hosts) and all(host.outcome in GOOD_OUTCOMES for host in self.hosts)

    @property
    def changed(self) -> int:
        """Return how many tasks changed a host, or would have in a check run."""
        return sum(host.tasks.changed for host in self.hosts)

    def __getitem__(self, host: str) -> HostResult:
        """Return one host's result; raises KeyError."""
        for result in self.hosts:
            if result.host == host:
                return result
        raise KeyError(host)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON data, with ``schema``: 1."""
        return {
            "schema": SCHEMA_VERSION,
            "action": self.action,
            "check": self.check,
            "verified": self.verified,
            "succeeded": self.succeeded,
            "changed": self.changed,
            "hosts": [host.to_dict() for host in self.hosts],
            "report": str(self.report) if self.report else None,
            "seconds": round(self.seconds, 3),
            "kept": str(self.kept) if self.kept else None,
        }


def _optional(reader: Reader, key: str, read: Callable[[str], T]) -> T | None:
    """Return None for a missing key or null, else what ``read`` gives."""
    try:
        reader.value(key)
    except MalformedResult:
        return None  # value() refuses nothing but a missing key
    return reader.optional(key, read)


def _mapping(reader: Reader, key: str) -> dict[str, Any]:
    reader.child(key)  # refuses what is not an object
    return dict(reader.value(key))
