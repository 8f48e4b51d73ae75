# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A fleet of hosts and the four things to do with it."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from .errors import FleetError
from .results import (
    FAILED,
    NOT_REACHED,
    UNREACHABLE,
    Failure,
    FleetResult,
    HostRecord,
    HostResult,
    MalformedResult,
    TaskCounts,
)
from .runs import Observer, Outcome, Request, execute, last_words

REPORT_FOLDER = "gpufleet-report"
PAGE_NAME = "report.html"

PLAYBOOKS = {
    "preflight": "gpufleet.p2p.preflight",
    "apply": "gpufleet.p2p.site",
    "verify": "gpufleet.p2p.verify",
    "rollback": "gpufleet.p2p.rollback",
}
"""Action -> playbook of the collection."""


class Fleet:
    """The hosts of an inventory.

    Args:
        inventory: path of an inventory file or directory, or several; or a host list such as
            ``"a.example,b.example"`` (with its comma).
        limit: a pattern that narrows the hosts, as ``ansible-playbook --limit`` takes it.
        tags, skip_tags: steps to run or to leave out: driver, iommu, reboot, verify.
        check: change nothing, tell what would be changed.
        diff: have the differences in the events' text.
        extra_vars: variables that outrank all others.
        extra_vars_files: files of such variables; a vaulted file needs Ansible's usual settings.
        report_dir: where the report and the records are put, ``gpufleet-report`` in the current
            directory by default. A check run puts nothing there.
        observer: called with every Event of a run, in the thread that started it.
        keep_on_failure: keep ansible-runner's private data directory of a run that did not
            succeed; it holds what tasks returned, and the environment.
        playbooks: names or paths of other playbooks for the actions.

    Raises:
        FleetError: the inventory does not exist.
    """

    def __init__(
        self,
        inventory: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
        *,
        limit: str | None = None,
        tags: Sequence[str] | None = None,
        skip_tags: Sequence[str] | None = None,
        check: bool = False,
        diff: bool = False,
        extra_vars: Mapping[str, Any] | None = None,
        extra_vars_files: Sequence[str | os.PathLike[str]] = (),
        report_dir: str | os.PathLike[str] | None = None,
        observer: Observer | None = None,
        keep_on_failure: bool = False,
        playbooks: Mapping[str, str] | None = None,
    ) -> None:
        sources = [inventory] if isinstance(inventory, (str, os.PathLike)) else list(inventory)
        self._inventory = tuple(_source(source) for source in sources)
        if not self._inventory:
            raise _inventory_missing("no inventory")
        self._limit = limit
        self._tags = tuple(tags or ())
        self._skip_tags = tuple(skip_tags or ())
        self._check = check
        self._diff = diff
        self._extra_vars = dict(extra_vars or {})
        self._extra_vars_files = tuple(_existing(path) for path in extra_vars_files)
        self._report_dir = Path(report_dir or REPORT_FOLDER).absolute()
        self._observer = observer
        self._keep_on_failure = keep_on_failure
        self._playbooks = {**PLAYBOOKS, **(playbooks or {})}

    def preflight(self) -> FleetResult:
        """Read every host and evaluate the gates; nothing is changed."""
        return self.run("preflight")

    def apply(self) -> FleetResult:
        """Take every host to verified peer-to-peer, batch by batch."""
        return self.run("apply")

    def verify(self) -> FleetResult:
        """Verify every pair of GPUs of every host; nothing is changed."""
        return self.run("verify")

    def rollback(self) -> FleetResult:
        """Take every host back to what it was."""
        return self.run("rollback")

    def run(self, action: str) -> FleetResult:
        """Run one of the actions by name and return its result.

        A host that failed is told in the result, not by an exception.

        Raises:
            Interrupted: Ctrl-C.
            FleetError: no host was run at all (``no_hosts``, ``run_failed``), or the collection
                is missing.
        """
        started = time.monotonic()
        private = Path(tempfile.mkdtemp(prefix="gpufleet-"))  # mode 0700
        kept = None
        try:
            result = self._run_in(private, action, started)
            if self._keep_on_failure and not result.succeeded:
                kept = private
                return replace(result, kept=kept)
            return result
        finally:
            if kept is None:
                shutil.rmtree(private)

    def _run_in(self, private: Path, action: str, started: float) -> FleetResult:
        reports = private / "report"
        request = Request(
            playbook=self._playbooks[action],
            inventory=self._inventory,
            limit=self._limit,
            tags=self._tags,
            skip_tags=self._skip_tags,
            check=self._check,
            diff=self._diff,
            # A folder of this run's own: records of an earlier run cannot be taken for its.
            extra_vars={
                **self._extra_vars,
                "p2p_report_dir": str(reports),
                "report_in_check_mode": True,
            },
            extra_vars_files=self._extra_vars_files,
        )
        outcome = execute(request, private, self._observer, keep=self._keep_on_failure)
        hosts = tuple(_host_results(outcome, reports / "hosts"))
        if not hosts:
            raise _nothing_ran(outcome)
        report = None
        if not self._check and (reports / PAGE_NAME).is_file():
            shutil.copytree(reports, self._report_dir, dirs_exist_ok=True)
            report = self._report_dir / PAGE_NAME
        return FleetResult(action, self._check, hosts, report, time.monotonic() - started)


def _source(source: str | os.PathLike[str]) -> str:
    text = os.fspath(source)
    if "," in text:
        return text
    path = Path(text).expanduser()
    if not path.exists():
        raise _inventory_missing(f"no file or directory {text}")
    return str(path.absolute())


def _existing(path: str | os.PathLike[str]) -> Path:
    found = Path(path).expanduser().absolute()
    if not found.is_file():
        raise FleetError(
            "variables_missing",
            read=f"no file {path}",
            want="a file of variables in YAML or JSON",
            remedy="correct the path after -e @",
        )
    return found


def _inventory_missing(read: str) -> FleetError:
    return FleetError(
        "inventory_missing",
        read=read,
        want="an inventory with a group p2p_hosts",
        remedy="name one with -i, or start from inventories/example/",
    )


def _nothing_ran(outcome: Outcome) -> FleetError:
    if outcome.rc == 0:
        return FleetError(
            "no_hosts",
            read="no host of the inventory matched",
            want="at least one host in the group p2p_hosts within the limit",
            remedy="see ansible-inventory -i INVENTORY --graph p2p_hosts, and the limit",
        )
    return FleetError(
        "run_failed",
        read=f"ansible-playbook ended with {outcome.rc}: {last_words(outcome)}",
        want="a run that reaches the hosts",
        remedy="correct what Ansible names, then run again",
    )


def _host_results(outcome: Outcome, folder: Path) -> list[HostResult]:
    """Return one result for each host that has a record or that Ansible counted."""
    records: dict[str, HostRecord] = {}
    for path in sorted(folder.glob("*.json")):
        record = _record(path)
        records[record.host] = record
    results = []
    # delegate_to: localhost puts the controller into the recap, without a record of its own.
    counted = [host for host in outcome.hosts if host != "localhost"]
    for host in sorted({*records, *counted}):
        counts = {name: of_host.get(host, 0) for name, of_host in outcome.statistics.items()}
        tasks = TaskCounts(
            ok=counts.get("ok", 0),
            changed=counts.get("changed", 0),
            failed=counts.get("failures", 0),
            unreachable=counts.get("dark", 0),
            skipped=counts.get("skipped", 0),
            rescued=counts.get("rescued", 0),
        )
        messages = outcome.messages.get(host, ())
        record = _completed(host, records.get(host), tasks, messages, outcome.unreachable.get(host))
        results.append(HostResult(record, tasks, messages))
    return results


def _record(path: Path) -> HostRecord:
    try:
        return HostRecord.from_file(path)
    except MalformedResult as error:
        # The name in the file may be what is wrong; the file's own name says whose it is.
        return HostRecord(path.stem, FAILED, failure=Failure(**error.as_dict()))


def _completed(
    host: str,
    record: HostRecord | None,
    tasks: TaskCounts,
    messages: Sequence[str],
    lost: str | None,
) -> HostRecord:
    """Return the record, or one from what Ansible saw where the host has none of its own."""
    if record is not None and record.outcome not in (UNREACHABLE, NOT_REACHED):
        return record
    if tasks.unreachable or lost:
        failure = Failure(
            "unreachable",
            read=" ".join((lost or "no answer").split()),
            want="an answer over SSH",
            remedy="check power, network, ansible_host and the key, then run again",
        )
        return HostRecord(host, UNREACHABLE, failure=failure)
    # The role that leaves a record for a host out of the play cannot tell a failed from a lost one.
    if record is not None and not tasks.failed:
        return record
    if tasks.failed:
        failure = Failure(
            "task_failed",
            read=" ".join(messages[-1].split()) if messages else "a failed task",
            want="every task to succeed",
            remedy="correct what the task names, then run again",
        )
        return HostRecord(host, FAILED, failure=failure)
    failure = Failure(
        "no_record",
        read="the playbook ended without a record of this host",
        want="a record",
        remedy="run without --tags, so that the host is concluded",
    )
    return HostRecord(host, NOT_REACHED, failure=failure)
