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
from pathlib import Path

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
from ansible_collections.gpufleet.p2p.plugins.module_utils._boot.trial import read_running
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
from support.file_tree_host import OTHERS_PLACES, FileTreeHost

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
LISTS = st.lists(st.sampled_from(KNOWN) | GENERATED, min_size=1, max_size=3)
# Steps that a killed run came to; more than any plan has stands for a run that was not killed.
KILLS = st.integers(0, 12)


class Crashes(RuleBasedStateMachine):
    """A host, and what its next boot may have been given beside the original command line.

    ``defaults`` are the lists of ours that the default entry may have, ``tried`` those that one
    boot may have. A run that was not killed leaves a single default.
    """

    def __init__(self, kind: Callable[[Path], FileTreeHost]) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="gpufleet-crashes-"))
        self.host = kind(self.folder)
        self.original = CommandLine()
        self.pristine: dict[str, bytes] = {}
        self.defaults: set[Parameters] = {()}
        self.tried: set[Parameters] = set()

    @initialize(
        words=st.lists(st.sampled_from(OTHERS), max_size=2, unique=True),
        place=st.sampled_from(OTHERS_PLACES),
    )
    def others_have_been_here(self, words: list[str], place: str) -> None:
        """What the administrator, a cloud or a hoster had configured before."""
        if words:
            self.host.administer(" ".join(words), place)
        self.original = read_running(self.folder).line
        self.pristine = self.host.tree()

    def run(self, steps: Sequence[Step], kill: int) -> bool:
        """Apply steps until the kill; return whether all of them were applied."""
        before = self.host.tree()
        try:
            apply_in_order(steps[:kill])
        except GpufleetError:
            assert self.host.tree() == before
            return False
        return kill >= len(steps)

    def asked(self, ask: Callable[[], plan.CommandLinePlan]) -> plan.CommandLinePlan | None:
        """Return what is planned, or None where it is refused; planning changes nothing."""
        before = self.host.tree()
        try:
            return ask()
        except GpufleetError:
            return None
        finally:
            assert self.host.tree() == before

    @rule(texts=LISTS, trial=st.booleans(), kill=KILLS)
    def present(self, texts: list[str], trial: bool, kill: int) -> None:
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
        done = self.run(planned.steps, kill)
        if done and planned.token is None:
            configured = self.host.loader().own_parameters()
            self.defaults = {configured or ()}
            self.tried = set()
            assert conflicts.in_force(parameters, self.host.loader().configured(), vendor="intel")
        if done and planned.token is not None:
            self.tried = {parameters}
        if done:
            again = plan.plan_present(host(), texts, trial=trial, panic_seconds=30)
            assert again.steps == []

    @rule(kill=KILLS)
    def arm(self, kill: int) -> None:
        """boot_trial with state: armed, of the recorded trial or of the default as it is."""
        planned = plan.plan_armed(self.host.observe(), None, unchanged=True)
        record = self.host.observe().record
        own = self.host.loader().own_parameters() or ()
        parameters = own if record is None else wanted(record.parameters)
        self.tried.add(parameters)
        if self.run(planned.steps, kill):
            self.tried = {parameters}
            assert self.host.loader().next_boot_token() == planned.token

    @rule(kill=KILLS)
    def confirm(self, kill: int) -> None:
        """boot_trial with state: confirmed."""
        observed = self.host.observe()
        try:
            planned = plan.plan_confirmed(observed, None)
        except TrialRefused:
            return
        if observed.record is None:
            return
        self.defaults.add(wanted(observed.record.parameters))
        if self.run(planned.steps, kill):
            self.defaults = {self.host.loader().own_parameters() or ()}
            self.tried = set()

    @rule(kill=KILLS)
    def abandon(self, kill: int) -> None:
        """boot_trial with state: abandoned."""
        if self.run(plan.plan_abandoned(self.host.observe(), None).steps, kill):
            self.tried = set()

    @rule(texts=LISTS | st.just([]), kill=KILLS)
    def absent(self, texts: list[str], kill: int) -> None:
        """kernel_cmdline with state: absent."""
        planned = self.asked(lambda: plan.plan_absent(self.host.observe(), texts))
        if planned is None:
            return
        own = self.host.loader().own_parameters() or ()
        given = wanted(texts)
        kept = tuple(p for p in own if given and not any(p.same_as(other) for other in given))
        self.defaults.add(kept)
        if self.run(planned.steps, kill):
            self.tried = set()
            if not kept:
                assert self.host.tree() == self.pristine
            # What is not ours is not taken away; a change that was killed stays half-way.
            if not kept or len(kept) < len(own):
                self.defaults = {kept}

    @rule()
    def power_cycle(self) -> None:
        """The host boots: the original command line, with a list that was asked for, or none."""
        self.host.reboot()
        running = read_running(self.folder)
        lists = self.defaults if running.token is None else self.tried
        assert running.line.parameters in {self.original.parameters + own for own in lists}

    def teardown(self) -> None:
        """Run again as the role does, undisturbed; then take everything back."""
        try:
            if self.pristine:
                self.wanted_comes_into_force()
                apply_in_order(plan.plan_absent(self.host.observe(), []).steps)
                assert self.host.tree() == self.pristine
                assert plan.plan_absent(self.host.observe(), []).steps == []
                self.host.reboot()
                assert read_running(self.folder).line == self.original
        finally:
            shutil.rmtree(self.folder)

    def wanted_comes_into_force(self) -> None:
        """Reboot only where asked to: a running trial that is not confirmed must not be left."""

        def ask() -> plan.CommandLinePlan:
            return plan.plan_present(self.host.observe(), WANTED, trial=True, panic_seconds=30)

        planned = self.asked(ask)
        if planned is None:
            assert any(word in self.original_text() for word in ("iommu=off", "-- single"))
            return
        apply_in_order(planned.steps)
        if planned.reboot_required:
            self.host.reboot()
        if ask().token is not None:
            apply_in_order(plan.plan_confirmed(self.host.observe(), None).steps)
        assert ask().steps == []
        self.host.reboot()
        line = read_running(self.folder).line
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
