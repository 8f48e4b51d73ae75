# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A grub.cfg that grub-mkconfig generates from /etc/default/grub: what such hosts have in common.

The parameters come last in GRUB_CMDLINE_LINUX_DEFAULT, because recovery entries skip that variable
and stay known-good; a subclass says in which file. A trial does not touch grub.cfg at all: its
entry lives in custom.cfg, which every generated grub.cfg sources.
"""

from __future__ import annotations

import tempfile
from abc import abstractmethod
from collections.abc import Iterable, Sequence
from pathlib import Path

from .._host.files import mode_of, read_bytes
from . import (
    boot_device,
    conflicts,
    grub_defaults,
    grub_environment,
    grub_script,
    grub_trial_entry,
    replacing,
)
from .cmdline import CommandLine, Parameter, from_arguments
from .grub_config import (
    CONFIG,
    DIRECTORY,
    ENVIRONMENT,
    GenerateConfig,
    default_linux_entry,
    linux_command,
    own_span,
    read_grub_cfg,
)
from .grub_tools import GrubTools, InstalledGrub
from .interface import (
    STATE_DIRECTORY,
    BootConfigurationRefused,
    BootFile,
    BootLoader,
    StateFile,
    Step,
    Trial,
    TrialSupport,
    refuse_impossible_trial,
)

VARIABLE = "GRUB_CMDLINE_LINUX_DEFAULT"
ORIGINAL_CFG = STATE_DIRECTORY / "grub.cfg.original"


def arguments(text: str) -> tuple[str, ...]:
    """Return the words GRUB would hand to ``linux``, without those that are variables."""
    return tuple(word.text for word in grub_script.read_words(text) if not word.has_variable)


class GeneratedGrub(BootLoader):
    """The configuration below /etc/default/grub* and /boot/grub or grub2 of the tree at ``root``.

    ``own_source`` names, below ``root``, what our parameters are read from.
    """

    directory: Path = DIRECTORY
    program_prefix: str = "grub"
    own_source: Path

    def __init__(
        self,
        root: Path = Path("/"),
        *,
        firmware: str = "bios",
        vendor: str | None = None,
        tools: GrubTools | None = None,
    ) -> None:
        self.root = root
        self.firmware = firmware
        self.vendor = vendor
        self.tools = tools or InstalledGrub(self.program_prefix)

    @abstractmethod
    def own_steps(self, parameters: Sequence[Parameter] | None) -> list[Step]:
        """Return what writes these where the generator reads them; nothing where they are."""

    @abstractmethod
    def sources(
        self, parameters: Sequence[Parameter], scratch: Path
    ) -> list[tuple[Path, Path, bool]]:
        """Return what the generator will source once these are written, in its order.

        Each is the file to be sourced, which may be a planned one below ``scratch``, the file that
        it stands for, and whether it is read after ours.
        """

    # What is configured

    def _script(self) -> grub_script.Script:
        text = read_grub_cfg(self.root, self.directory / CONFIG)
        return grub_script.parse(text.decode("utf-8", "surrogateescape"))

    def _environment(self) -> Path:
        return self.root / self.directory / ENVIRONMENT

    def _custom(self) -> Path:
        return self.root / self.directory / "custom.cfg"

    def _default(self) -> grub_script.Entry:
        return default_linux_entry(self._script(), read_bytes(self._environment()))

    def default_entry(self) -> str:
        """Return the default entry's id in grub.cfg."""
        return self._default().identity

    def configured(self) -> CommandLine:
        """Return the parameters in grub.cfg's default entry, from ``root=`` on."""
        linux = linux_command(self._default())
        return from_arguments(w.text for w in linux.arguments[1:] if not w.has_variable)

    def _own_words(self) -> tuple[str, ...]:
        """Return our words in grub.cfg; a killed run leaves the former ones in it."""
        own = tuple(parameter.text for parameter in self.own_parameters() or ())
        former = replacing.former_words(self.root) or ()
        words = linux_command(self._default()).arguments
        found = [run for run in (own, former) if own_span(words, run) is not None]
        return max(found, key=len, default=own)

    def after(self, parameters: Sequence[Parameter] | None) -> CommandLine:
        """Return the default entry's parameters with gpufleet's replaced by these."""
        linux = linux_command(self._default())
        words = list(linux.arguments[1:])
        span = own_span(words, self._own_words())
        if span is not None:
            del words[span[0] : span[1]]
        texts = [word.text for word in words if not word.has_variable]
        return from_arguments([*texts, *(parameter.text for parameter in parameters or ())])

    # Conflicts

    def _named(self, path: Path) -> str:
        return f"/{path.relative_to(self.root)}"

    def conflicts(self, parameters: Sequence[Parameter]) -> tuple[conflicts.Conflict, ...]:
        """Return what contradicts these in the files of /etc/default/grub*.

        Raises:
            BootConfigurationRefused: a file that is read later discards or defeats ours.
        """
        with tempfile.TemporaryDirectory(prefix="gpufleet-grub-") as scratch:
            sources = self.sources(parameters, Path(scratch))
            read = grub_defaults.evaluate([path for path, _for, _later in sources])
        values = [
            grub_defaults.Values(stands_for, value.linux, value.default)
            for value, (_path, stands_for, _later) in zip(read, sources)
        ]
        later = [value for value, source in zip(values, sources) if source[2]]
        self._refuse_overriders(parameters, later)
        found = conflicts.find_conflicts(parameters, self._attributed(values), vendor=self.vendor)
        conflicts.refuse_unresolved(found)
        line = from_arguments(arguments(f"{values[-1].linux} {values[-1].default}"))
        if not conflicts.in_force(parameters, line, vendor=self.vendor):
            separator = "a lone -- before them" if line.for_init else "a parameter after them"
            places = [self._named(value.path) for value in later]
            raise BootConfigurationRefused(
                "parameters_defeated",
                read=f"{separator}, from /{grub_defaults.MAIN} or " + (", ".join(places) or "it"),
                want=", ".join(parameter.text for parameter in parameters) + " to take effect",
                remedy="remove the contradicting parameter there, then run again",
            )
        return found

    def _attributed(self, values: Sequence[grub_defaults.Values]) -> list[tuple[Parameter, str]]:
        """Return the words of others in command-line order, each with the file it came from."""
        result: list[tuple[Parameter, str]] = []
        for variable in ("linux", "default"):
            known: list[tuple[str, str]] = []
            for value in values:
                fresh = []
                for text in arguments(getattr(value, variable)):
                    earlier = next((item for item in known if item[0] == text), None)
                    if earlier is not None:
                        known.remove(earlier)
                    fresh.append(earlier or (text, self._named(value.path)))
                known = fresh
            result += [
                (parameter, source)
                for text, source in known
                if source != f"/{self.own_source}"
                for parameter in from_arguments([text]).parameters
            ]
        return result

    def _refuse_overriders(
        self, parameters: Sequence[Parameter], later: Iterable[grub_defaults.Values]
    ) -> None:
        ours = tuple(parameter.text for parameter in parameters)
        for value in later:
            if own_span(grub_script.read_words(value.default), ours) is None:
                raise BootConfigurationRefused(
                    "drop_in_overridden",
                    read=f"{self._named(value.path)} is read after /{self.own_source} and sets"
                    f" {VARIABLE} anew",
                    want=f"files read later to append to {VARIABLE}",
                    remedy=f"rename that file so that it sorts before {self.own_source.name}",
                )

    # The default configuration

    def steps_to_configure(self, parameters: Sequence[Parameter] | None) -> list[Step]:
        """Return: keep the original grub.cfg, write our parameters, generate grub.cfg anew.

        The kept copy is also the mark that grub.cfg was changed: while it is there, removing
        continues where a killed run stopped.
        """
        original = self.root / ORIGINAL_CFG
        kept = read_bytes(original)
        old_cfg = read_grub_cfg(self.root, self.directory / CONFIG)
        if parameters is None and kept is None and self.own_parameters() is None:
            return []
        steps: list[Step] = []
        if parameters is not None and kept is None:
            steps.append(StateFile("keep the original grub.cfg", original, None, old_cfg, 0o600))
        steps += self.own_steps(parameters)
        steps.append(
            GenerateConfig(
                self.root,
                self.tools,
                old_cfg,
                self._own_words(),
                tuple(parameters or ()),
                self.vendor,
                directory=self.directory,
            )
        )
        if parameters is None and kept is not None:
            steps.append(StateFile("drop the kept grub.cfg", original, kept, None, 0o600))
        return steps

    # The trial

    def trial_support(self) -> TrialSupport:
        """Tell whether GRUB can clear its one-shot entry and finds ours in custom.cfg."""
        obstacle = boot_device.one_shot_obstacle(self.root, f"/{self.directory}")
        if obstacle is None:
            try:
                grub_environment.read(self._environment())
                obstacle = grub_trial_entry.missing_snippet(self._script()) or self.init_obstacle()
            except (BootConfigurationRefused, grub_script.GrubScriptError) as refusal:
                obstacle = str(refusal)
        return TrialSupport(obstacle is None, obstacle or "")

    def next_boot_token(self) -> str | None:
        """Return the token of the trial entry that ``next_entry`` selects, or None."""
        block = read_bytes(self._environment())
        if block is None or len(block) != grub_environment.BLOCK_BYTES:
            return None
        selected = grub_environment.parse(block).get("next_entry", "")
        custom = read_bytes(self._custom()) or b""
        token = grub_trial_entry.token_of(selected)
        held = grub_trial_entry.block_in(custom) or b""
        return token if token and selected.encode() in held else None

    def steps_to_arm(self, trial: Trial) -> list[Step]:
        """Return: write the trial entry, then select it for one boot.

        Raises:
            TrialRefused: a one-shot boot is impossible here, or somebody else has selected one.
        """
        refuse_impossible_trial(self.trial_support())
        environment, custom = self._environment(), self._custom()
        block = grub_environment.read(environment)
        grub_trial_entry.refuse_taken(block, environment)
        old = read_bytes(custom)
        text = grub_trial_entry.render(self._default(), self._script(), trial, self._own_words())
        new = grub_trial_entry.with_block(old, text)
        self.tools.check(new)
        identity = grub_trial_entry.identity_of(trial.token)
        chosen = grub_environment.updated(block, "next_entry", identity)
        steps: list[Step] = []
        if old != new:
            mode = mode_of(custom, 0o644)
            steps.append(BootFile("write the trial entry", custom, old, new, mode))
        if chosen != block:
            mode = mode_of(environment, 0o644)
            steps.append(BootFile("select it for one boot", environment, block, chosen, mode))
        return steps

    def steps_to_disarm(self) -> list[Step]:
        """Return: forget the one-shot selection, then remove the entry, each if it is there.

        GRUB clears ``next_entry`` by leaving it empty; beside an entry of ours the empty variable
        is our trace too, and goes.
        """
        environment, custom = self._environment(), self._custom()
        old = read_bytes(custom)
        has_entry = old is not None and grub_trial_entry.block_in(old) is not None
        steps: list[Step] = []
        block = read_bytes(environment)
        if block is not None and len(block) == grub_environment.BLOCK_BYTES:
            selected = grub_environment.parse(block).get("next_entry")
            spent = selected == "" and has_entry
            if selected is not None and (spent or grub_trial_entry.token_of(selected)):
                cleared = grub_environment.updated(block, "next_entry", None)
                mode = mode_of(environment, 0o644)
                steps.append(BootFile("clear the selection", environment, block, cleared, mode))
        if old is not None and has_entry:
            new = grub_trial_entry.without_block(old)
            mode = mode_of(custom, 0o644)
            steps.append(BootFile("remove the trial entry", custom, old, new, mode))
        return steps
