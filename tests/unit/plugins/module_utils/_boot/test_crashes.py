# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whatever is asked for, in whatever order, killed wherever: the host boots old, wanted, or tried.

A state machine over a model of the host: present, absent, trial, confirm, abandon and power cycles,
on every boot loader, with command lines that others have written before. The product's steps are
plain data, so a crash is the list of steps cut short, with a power cycle behind it or none. In the
end the run is repeated undisturbed, and then taken back: the wanted parameters are in force, and
afterwards the files are the original bytes.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import pytest
from ansible_collections.gpufleet.p2p.plugins.module_utils._boot import conflicts, plan
from ansible_collections.gpufleet.p2p.plugins.module_utils._boot.cmdline import (
    CommandLine,
    Parameter,
    format_line,
    wanted,
)
from ansible_collections.gpufleet.p2p.plugins.module_utils._boot.interface import (
    Step,
    TrialRefused,
    apply_in_order,
)
from ansible_collections.gpufleet.p2p.plugins.module_utils._boot.trial import (
    Running,
    read_running,
)
from ansible_collections.gpufleet.p2p.plugins.module_utils._host.errors import GpufleetError
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    rule,
    run_state_machine_as_test,
)
from support.boot_hosts import HOSTS
from support.file_tree_host import OTHERS_PLACES, FileTreeHost, PowerCut

Parameters = tuple[Parameter, ...]
WANTED = ["intel_iommu=on", "iommu=pt"]
# Sticky ones, ones that lose, ones that win, a separator, repetitions, and what needs quotes.
OTHERS = [
    "iommu=nopt",
    "iommu=off",
    "intel_iommu=off",
    "amd_iommu=off",
    "iommu=pt",
    "iommu=pt iommu=nopt",
    "console=tty0 console=ttyS0,115200",
    "pci=noaer",
    "'pci=disable_acs_redir=a;b'",
    "'dyndbg=file drivers/iommu/* +p'",
    "-- single",
]
KNOWN = [
    *WANTED,
    "iommu.passthrough=1",
    "iommu=nopt",
    "amd_iommu=on",
    "pci=realloc",
    "pci=disable_acs_redir=0000:00:01.0;0000:00:02.0",
    'dyndbg="file drivers/iommu/* +p"',
    "console=ttyS0,115200",
    "quiet",
]
_VALUE = st.text(
    st.characters(min_codepoint=32, max_codepoint=126, exclude_characters="\"'\\"), max_size=12
)
GENERATED = st.tuples(st.from_regex(r"[a-z][a-z_.-]{1,8}", fullmatch=True), _VALUE).map(
    lambda pair: f'{pair[0]}="{pair[1]}"'
)
# One list often, so that it is asked for again where a run for it, or its removal, was killed.
LISTS = st.just(WANTED) | st.lists(st.sampled_from(KNOWN) | GENERATED, min_size=1, max_size=3)
# Steps that a killed run came to; more than any plan has stands for a run that was not killed.
KILLS = st.just(99) | st.integers(0, 8)
# Pieces of the work of tools and firmware after which the power goes; None where it stays.
CUTS = st.none() | st.integers(0, 8)
Planned = TypeVar("Planned")


class Crashes(RuleBasedStateMachine):
    """A host, and what its next boot may have been given beside the original command line.

    ``defaults`` are the lists of ours that the default entry may have, ``tried`` those that one
    boot may have. A run that was not killed leaves a single default, and what it was asked for is
    ``promised``: whatever the host's tool does since, the default has it in force.
    """

    def __init__(self, kind: Callable[[Path], FileTreeHost]) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="gpufleet-crashes-"))
        self.host = kind(self.folder)
        self.original = CommandLine()
        self.pristine: dict[str, bytes] = {}
        self.defaults: set[Parameters] = {()}
        self.tried: set[Parameters] = set()
        self.promised: Parameters = ()

    def running(self) -> Running:
        """Return the running kernel's part of the model, without what the host's tool adds."""
        running = read_running(self.folder)
        return replace(running, line=running.line.without(self.host.tool_parameters))

    @property
    def can_try(self) -> bool:
        """Whether there are trials; not where the words at the end of the line are for init."""
        return self.host.can_try and not self.original.for_init

    @initialize(
        words=st.lists(st.sampled_from(OTHERS), max_size=2, unique=True),
        place=st.sampled_from(OTHERS_PLACES),
    )
    def others_have_been_here(self, words: list[str], place: str) -> None:
        """What the administrator, a cloud or a hoster had configured before."""
        if words:
            self.host.administer(" ".join(words), place)
        self.original = self.running().line
        self.pristine = self.host.tree()
        assert self.host.loader().trial_support().possible is self.can_try

    def own(self) -> Parameters:
        """Return what the product takes for its own: one of the lists, never a part of two."""
        own = self.host.loader().own_parameters() or ()
        assert own in self.defaults
        return own

    def run(self, steps: Sequence[Step], kill: int, cut: int | None) -> bool:
        """Apply steps until the kill or the power cut; return whether all of them were applied."""
        before = self.host.tree()
        try:
            done = self.powered(lambda: apply_in_order(steps[:kill]), cut)
        except GpufleetError:
            assert self.host.tree() == before
            return False
        return done and kill >= len(steps)

    def powered(self, work: Callable[[], object], cut: int | None) -> bool:
        """Do the work, with the power cut somewhere in it; return whether it was done."""
        self.host.power_cut_after = cut
        try:
            work()
        except PowerCut:
            self.booted()
            return False
        finally:
            self.host.power_cut_after = None
        return True

    def asked(self, ask: Callable[[], Planned]) -> Planned | None:
        """Return what is planned, or None where it is refused; planning changes nothing."""
        before = self.host.tree()
        try:
            return ask()
        except GpufleetError:
            return None
        finally:
            assert self.host.tree() == before

    @rule(texts=LISTS, trial=st.booleans(), kill=KILLS, cut=CUTS)
    def present(self, texts: list[str], trial: bool, kill: int, cut: int | None) -> None:
        """kernel_cmdline with state: present."""
        host = self.host.observe
        planned = self.asked(
            lambda: plan.plan_present(host(), texts, trial=trial, panic_seconds=30)
        )
        if planned is None:
            return
        parameters = wanted(texts)
        if planned.token is not None:
            self.tried.add(parameters)
        elif planned.steps:
            # Where others have them in force already, the steps only forget a trial.
            self.defaults.add(parameters)
            self.promised = ()
        done = self.run(planned.steps, kill, cut)
        if done and planned.token is None:
            configured = self.host.loader().own_parameters()
            self.defaults = {configured or ()}
            self.tried = set()
            self.promised = parameters
            assert conflicts.in_force(parameters, self.host.loader().configured(), vendor="intel")
        if done and planned.token is not None:
            self.tried = {parameters}
        if done:
            again = plan.plan_present(host(), texts, trial=trial, panic_seconds=30)
            assert again.steps == []

    @rule(kill=KILLS, cut=CUTS)
    def arm(self, kill: int, cut: int | None) -> None:
        """boot_trial with state: armed, of the recorded trial or of the default as it is."""
        planned = self.asked(lambda: plan.plan_armed(self.host.observe(), None, unchanged=True))
        assert (planned is not None) is self.can_try
        if planned is None:
            return
        record = self.host.observe().record
        parameters = self.own() if record is None else wanted(record.parameters)
        self.tried.add(parameters)
        if self.run(planned.steps, kill, cut):
            self.tried = {parameters}
            assert self.host.loader().next_boot_token() == planned.token

    @rule(kill=KILLS, cut=CUTS)
    def confirm(self, kill: int, cut: int | None) -> None:
        """boot_trial with state: confirmed."""
        observed = self.host.observe()
        try:
            planned = plan.plan_confirmed(observed, None)
        except TrialRefused:
            return
        if observed.record is None:
            return
        self.defaults.add(wanted(observed.record.parameters))
        self.promised = ()
        if self.run(planned.steps, kill, cut):
            self.defaults = {self.host.loader().own_parameters() or ()}
            self.tried = set()
            self.promised = wanted(observed.record.parameters)

    @rule(kill=KILLS, cut=CUTS)
    def abandon(self, kill: int, cut: int | None) -> None:
        """boot_trial with state: abandoned."""
        if self.run(plan.plan_abandoned(self.host.observe(), None).steps, kill, cut):
            self.tried = set()

    @rule(texts=LISTS | st.just([]), kill=KILLS, cut=CUTS)
    def absent(self, texts: list[str], kill: int, cut: int | None) -> None:
        """kernel_cmdline with state: absent."""
        planned = self.asked(lambda: plan.plan_absent(self.host.observe(), texts))
        if planned is None:
            return
        own = self.own()
        given = wanted(texts)
        kept = tuple(p for p in own if given and not any(p.same_as(other) for other in given))
        self.defaults.add(kept)
        self.promised = ()
        if self.run(planned.steps, kill, cut):
            self.tried = set()
            if not kept:
                assert self.host.tree() == self.pristine or self.host.inherits_running
            # What is not ours is not taken away; a change that was killed stays half-way.
            if not kept or len(kept) < len(own):
                self.defaults = {kept}

    @rule(cut=CUTS)
    def power_cycle(self, cut: int | None) -> None:
        """The host is started, from each of its disks."""
        for _ in range(self.host.boot_disks):
            if self.powered(self.host.reboot, cut):
                self.as_asked_for()

    @rule(cut=CUTS)
    def refresh(self, cut: int | None) -> None:
        """A kernel is updated; the package manager makes up for what a power cut left undone."""
        if not self.powered(self.host.refresh, cut):
            self.host.refresh()

    def booted(self) -> None:
        """Boot undisturbed."""
        self.host.reboot()
        self.as_asked_for()

    def as_asked_for(self) -> None:
        """The original command line runs, with a list that was asked for, or none."""
        running = self.running()
        lists = self.defaults if running.token is None else self.tried
        assert running.line.parameters in {self.original.parameters + own for own in lists}
        if running.token is None:
            assert conflicts.in_force(self.promised, running.line, vendor="intel")

    def teardown(self) -> None:
        """Run again as the role does, undisturbed; then take everything back."""
        try:
            if self.pristine:
                self.wanted_comes_into_force()
                self.everything_is_taken_back()
        finally:
            shutil.rmtree(self.folder)

    def everything_is_taken_back(self) -> None:
        """The files are the original ones, and so is the kernel that is updated before it boots."""
        apply_in_order(plan.plan_absent(self.host.observe(), []).steps)
        assert self.host.tree() == self.pristine or self.host.inherits_running
        self.host.refresh()
        self.host.reboot()
        assert self.running().line == self.original
        apply_in_order(plan.plan_absent(self.host.observe(), []).steps)
        assert self.host.tree() == self.pristine
        assert plan.plan_absent(self.host.observe(), []).steps == []

    def wanted_comes_into_force(self) -> None:
        """Reboot only where asked to: a running trial that is not confirmed must not be left."""

        def ask() -> plan.CommandLinePlan:
            return plan.plan_present(self.host.observe(), WANTED, trial=trial, panic_seconds=30)

        trial = self.can_try
        planned = self.asked(ask)
        if planned is None:
            assert any(word in self.original_text() for word in ("iommu=off", "-- single"))
            return
        apply_in_order(planned.steps)
        if planned.reboot_required:
            self.host.reboot()
        if trial and ask().token is not None:
            apply_in_order(plan.plan_confirmed(self.host.observe(), None).steps)
        assert ask().steps == []
        self.host.refresh()
        self.host.reboot()
        line = self.running().line
        assert conflicts.in_force(wanted(WANTED), line, vendor="intel")
        assert (ask().steps, ask().reboot_required) == ([], False)

    def original_text(self) -> str:
        """Return the original command line, the part for init too."""
        return format_line(self.original)


@pytest.mark.parametrize("kind", HOSTS)
def test_any_sequence_of_crashes_ends_wanted_or_original(kind: str) -> None:
    run_state_machine_as_test(
        lambda: Crashes(HOSTS[kind]),
        settings=settings(
            max_examples=20,
            stateful_step_count=12,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow],
        ),
    )
