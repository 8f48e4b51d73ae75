# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the modules do: observations and wishes in, an ordered list of steps out.

Nothing here writes. The steps of a plan are in such an order that after each of them the host
boots its former default or the confirmed one, and that planning again continues where a killed run
stopped.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from . import replacing
from .cmdline import CommandLine, Parameter, format_line, wanted
from .conflicts import Conflict, in_force, refuse_impossible
from .interface import BootLoader, Step, Trial, TrialRefused
from .trial import (
    Running,
    TrialState,
    new_trial,
    read_record,
    read_running,
    record_step,
    state_of,
)


@dataclass(frozen=True)
class Host:
    """The observed host: its boot loader, the running kernel, the recorded trial."""

    root: Path
    loader: BootLoader
    running: Running
    record: Trial | None

    @property
    def trial_state(self) -> TrialState:
        """How far the recorded trial has come."""
        return state_of(self.record, self.running, self.loader)


def observe(loader: BootLoader, root: Path = Path("/")) -> Host:
    """Read what the plans below need."""
    return Host(root, loader, read_running(root), read_record(root))


@dataclass(frozen=True)
class CommandLinePlan:
    """What kernel_cmdline is going to do and to return.

    ``before`` and ``after`` are the default entry's command line; a trial leaves it as it is, so
    ``after`` is then what confirming will make of it. ``in_force`` is about the running kernel.
    """

    steps: list[Step]
    before: CommandLine
    after: CommandLine
    in_force: bool
    reboot_required: bool
    conflicts: tuple[Conflict, ...] = ()
    token: str | None = None

    def as_result(self) -> dict[str, object]:
        """Return the module's result as plain data."""
        return {
            "before": format_line(self.before),
            "after": format_line(self.after),
            "in_force": self.in_force,
            "reboot_required": self.reboot_required,
            "conflicts": [conflict.as_dict() for conflict in self.conflicts],
            "token": self.token,
        }


@dataclass(frozen=True)
class TrialPlan:
    """What boot_trial is going to do and to return."""

    steps: list[Step]
    token: str | None
    fell_back: bool
    reboot_required: bool


def _same(left: Sequence[Parameter], right: Sequence[Parameter]) -> bool:
    return len(left) == len(right) and all(a.same_as(b) for a, b in zip(left, right))


def _is_configured(host: Host, parameters: Sequence[Parameter]) -> bool:
    own = host.loader.own_parameters()
    holds = in_force(parameters, host.loader.configured(), vendor=host.loader.vendor)
    return holds and (own is None or _same(own, parameters)) and not _is_replacing(host)


def _is_replacing(host: Host) -> bool:
    return replacing.former_words(host.root) is not None


def _configure(host: Host, parameters: Sequence[Parameter] | None) -> list[Step]:
    """Return the loader's steps, marked where they take a list of ours away or replace it."""
    own = host.loader.own_parameters()
    replaces = own is not None and (parameters is None or not _same(own, parameters))
    steps = host.loader.steps_to_configure(parameters)
    return replacing.marked(host.root, own if replaces else None, steps)


def plan_present(
    host: Host, texts: Sequence[str], *, trial: bool, panic_seconds: int
) -> CommandLinePlan:
    """Plan to have the parameters in the default entry, or in a trial of it.

    Raises:
        ParameterRefused, ParameterConflict, BootConfigurationRefused, TrialRefused.
    """
    parameters = wanted(texts)
    refuse_impossible(parameters)
    loader, running = host.loader, host.running
    conflicts = loader.conflicts(parameters)
    before = loader.configured()
    running_it = in_force(parameters, running.line, vendor=loader.vendor)
    recorded = wanted(host.record.parameters) if host.record is not None else ()
    same_trial = host.record if _same(recorded, parameters) else None
    trying_it = same_trial is not None and host.trial_state is TrialState.RUNNING

    def plan(steps: list[Step], *, reboot: bool, token: str | None) -> CommandLinePlan:
        after = before if configured else loader.after(parameters)
        return CommandLinePlan(steps, before, after, running_it, reboot, conflicts, token)

    configured = _is_configured(host, parameters)
    if trial and same_trial is not None and trying_it and running_it:
        return plan([], reboot=False, token=same_trial.token)
    if configured:
        # A confirmation that was killed half-way leaves a trial that is not needed any more.
        return plan(_forget(host), reboot=not running_it, token=None)
    if not trial:
        steps = _forget(host) + _configure(host, parameters)
        return plan(steps, reboot=not running_it, token=None)
    attempt = same_trial
    # The same token only for the same trial, not yet booted: then arming again changes nothing.
    spent = trying_it or attempt is None or attempt.boot_id != running.boot_id
    if attempt is None or spent or attempt.panic_seconds != panic_seconds:
        attempt = new_trial(parameters, panic_seconds, running.boot_id, host.root)
    steps = [*record_step(host.root, attempt), *loader.steps_to_arm(attempt)]
    return plan(steps, reboot=True, token=attempt.token)


def _forget(host: Host) -> list[Step]:
    """Return what removes a trial; the record goes last, so that a killed run is continued."""
    return [*host.loader.steps_to_disarm(), *record_step(host.root, None)]


def plan_absent(host: Host, texts: Sequence[str]) -> CommandLinePlan:
    """Plan to take back what gpufleet configured: the given parameters, or all where none is given.

    A reboot is required while the running kernel has parameters that the default entry lacks:
    the given ones, else those removed now, else any.
    """
    loader, running = host.loader, host.running
    own = loader.own_parameters() or ()
    given = wanted(texts)
    removed = [p for p in own if not given or any(p.same_as(other) for other in given)]
    kept = [parameter for parameter in own if parameter not in removed]
    steps = _forget(host)
    if not kept:
        steps += _configure(host, None)
    elif removed or _is_replacing(host):
        steps += _configure(host, kept)
    before, after = loader.configured(), loader.after(kept)
    candidates = given or tuple(removed) or running.line.parameters
    still_running = [
        parameter
        for parameter in candidates
        if _has(running.line, parameter) and not _has(after, parameter)
    ]
    force = bool(given or removed) and in_force(
        given or removed, running.line, vendor=loader.vendor
    )
    return CommandLinePlan(steps, before, after, force, bool(still_running))


def _has(line: CommandLine, parameter: Parameter) -> bool:
    return any(parameter.same_as(other) for other in line.parameters)


def _refuse_other_token(host: Host, token: str | None) -> None:
    if token is not None and host.record is not None and token != host.record.token:
        raise TrialRefused(
            "trial_token_mismatch",
            read=f"the recorded trial {host.record.token}, armed {host.record.created}",
            want=f"the trial {token}",
            remedy="another run has armed a trial on this host since; start again from"
            " kernel_cmdline",
        )


def plan_armed(
    host: Host, token: str | None, *, unchanged: bool = False, panic_seconds: int = 30
) -> TrialPlan:
    """Plan to have the recorded trial selected for the next boot.

    With ``unchanged``, where none is recorded, it is one of the default entry with the parameters
    that it has, in which something else is tried.

    Raises:
        TrialRefused: there is no recorded trial, or another one; or one-shot is impossible.
    """
    _refuse_other_token(host, token)
    if host.record is None and unchanged:
        own = host.loader.own_parameters() or ()
        attempt = new_trial(own, panic_seconds, host.running.boot_id, host.root)
        steps = [*record_step(host.root, attempt), *host.loader.steps_to_arm(attempt)]
        return TrialPlan(steps, attempt.token, fell_back=False, reboot_required=True)
    if host.record is None:
        raise TrialRefused(
            "no_trial",
            read="no recorded trial",
            want="a trial written by kernel_cmdline with trial: true",
            remedy="run kernel_cmdline first",
        )
    state = host.trial_state
    fell_back = state is TrialState.FELL_BACK
    attempt, steps = host.record, []
    if fell_back:
        parameters = wanted(host.record.parameters)
        seconds, boot = host.record.panic_seconds, host.running.boot_id
        attempt = new_trial(parameters, seconds, boot, host.root)
        steps += record_step(host.root, attempt)
    steps += host.loader.steps_to_arm(attempt)
    # A running trial that must restart for another reason would otherwise be left by it.
    running_it = state is TrialState.RUNNING
    return TrialPlan(steps, attempt.token, fell_back, reboot_required=not running_it)


def plan_confirmed(host: Host, token: str | None) -> TrialPlan:
    """Plan to make the running trial's parameters the default.

    Raises:
        TrialRefused: no trial, another one, not booted yet, fell back, or not in force.
        BootConfigurationRefused, ParameterConflict: the default cannot be changed so.
    """
    _refuse_other_token(host, token)
    loader, running, record = host.loader, host.running, host.record
    if record is None:
        return _already_confirmed(host, token)
    state = host.trial_state
    parameters = wanted(record.parameters)
    running_it = in_force(parameters, running.line, vendor=loader.vendor)
    if running_it and _is_configured(host, parameters):
        # Confirmed, but killed before the end of it, perhaps rebooted since.
        return TrialPlan(_forget(host), record.token, fell_back=False, reboot_required=False)
    if state is not TrialState.RUNNING:
        fell_back = state is TrialState.FELL_BACK
        raise TrialRefused(
            "trial_fell_back" if fell_back else "trial_not_booted",
            read=f"the running kernel has no gpufleet.trial={record.token}; the trial is"
            f" {state.value}",
            want="the host to run the trial that is to be confirmed",
            remedy="look at the console and the journal of the failed boot; the former entry is"
            " still the default"
            if fell_back
            else "reboot into the trial first",
        )
    if not running_it:
        raise TrialRefused(
            "trial_not_in_force",
            read=format_line(running.line),
            want=" ".join(record.parameters),
            remedy="abandon the trial and look for what overrides these parameters",
        )
    loader.conflicts(parameters)
    steps = [*_configure(host, parameters), *_forget(host)]
    return TrialPlan(steps, record.token, fell_back=False, reboot_required=False)


def _already_confirmed(host: Host, token: str | None) -> TrialPlan:
    """Return an empty plan where the trial was confirmed before, in this boot or an earlier one."""
    own = host.loader.own_parameters()
    if own is None or not in_force(own, host.running.line, vendor=host.loader.vendor):
        raise TrialRefused(
            "no_trial",
            read="no recorded trial",
            want="a trial to confirm" if token is None else f"the trial {token}",
            remedy="run kernel_cmdline with trial: true, then reboot",
        )
    return TrialPlan([*host.loader.steps_to_disarm()], token, False, reboot_required=False)


def plan_abandoned(host: Host, token: str | None) -> TrialPlan:
    """Plan to remove the trial; the default entry was never touched by it.

    Raises:
        TrialRefused: another trial than the given one is recorded.
    """
    _refuse_other_token(host, token)
    state = host.trial_state
    abandoned = host.record.token if host.record is not None else token
    return TrialPlan(
        _forget(host),
        abandoned,
        fell_back=state is TrialState.FELL_BACK,
        reboot_required=state is TrialState.RUNNING,
    )
