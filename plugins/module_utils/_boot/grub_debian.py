# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""GRUB as Debian and Ubuntu install it: an appending drop-in, and a trial entry in custom.cfg.

GRUB_CMDLINE_LINUX_DEFAULT is used, because recovery entries skip it and stay known-good. A trial
does not touch grub.cfg at all: its entry lives in custom.cfg, which every Debian grub.cfg sources.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

from .._host.files import read_bytes
from . import boot_device, conflicts, grub_defaults, grub_environment, grub_script, grub_trial_entry
from .cmdline import CommandLine, Parameter, from_arguments
from .grub_config import (
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
    BootLoader,
    StateFile,
    Step,
    Trial,
    TrialRefused,
    TrialSupport,
    WriteFile,
)

DROP_IN = grub_defaults.DIRECTORY / "zz-gpufleet.cfg"
CUSTOM_CFG = Path("boot/grub/custom.cfg")
GRUBENV = Path("boot/grub/grubenv")
ORIGINAL_CFG = STATE_DIRECTORY / "grub.cfg.original"

_DROP_IN_HEADER = """\
# Written by gpufleet (kernel_cmdline); taken away again by kernel_cmdline with state: absent.
# It appends: what other files set stays, and the kernel lets the later parameter win.
"""


def drop_in_text(parameters: Sequence[Parameter]) -> str:
    """Return the drop-in that appends ``parameters`` to what the files before it set.

    Two readers take a layer of quotes each: the shell takes the double quotes, GRUB the single
    ones around words that hold, say, a semicolon.
    """
    words = " ".join(grub_script.quote(parameter.text) for parameter in parameters)
    escaped = "".join(f"\\{c}" if c in '\\"$`' else c for c in words)
    name = "GRUB_CMDLINE_LINUX_DEFAULT"
    return f'{_DROP_IN_HEADER}{name}="${{{name}:+${name} }}{escaped}"\n'


def _arguments(text: str) -> tuple[str, ...]:
    """Return the words GRUB would hand to ``linux``, without those that are variables."""
    return tuple(word.text for word in grub_script.read_words(text) if not word.has_variable)


class GrubDebian(BootLoader):
    """The configuration under /etc/default/grub* and /boot/grub of the tree at ``root``."""

    name = "grub_debian"

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
        self.tools = tools or InstalledGrub()

    # What is configured

    def _script(self) -> grub_script.Script:
        return grub_script.parse(read_grub_cfg(self.root).decode("utf-8", "surrogateescape"))

    def _default(self) -> grub_script.Entry:
        return default_linux_entry(self._script(), read_bytes(self.root / GRUBENV))

    def default_entry(self) -> str:
        """Return the default entry's id in grub.cfg."""
        return self._default().identity

    def configured(self) -> CommandLine:
        """Return the parameters in grub.cfg's default entry, from ``root=`` on."""
        linux = linux_command(self._default())
        return from_arguments(w.text for w in linux.arguments[1:] if not w.has_variable)

    def own_parameters(self) -> tuple[Parameter, ...] | None:
        """Return what the drop-in appends; None where there is no drop-in."""
        drop_in = self.root / DROP_IN
        if not drop_in.is_file():
            return None
        return from_arguments(_arguments(grub_defaults.evaluate([drop_in])[0].default)).parameters

    def _own_words(self) -> tuple[str, ...]:
        return tuple(parameter.text for parameter in self.own_parameters() or ())

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

    def _evaluate_with(self, parameters: Sequence[Parameter]) -> list[grub_defaults.Values]:
        """Return the files' values as they will be with this drop-in, which is not written."""
        drop_in = self.root / DROP_IN
        paths = grub_defaults.files(self.root, without=drop_in)
        with tempfile.TemporaryDirectory(prefix="gpufleet-grub-") as directory:
            planned = Path(directory) / DROP_IN.name
            planned.write_text(drop_in_text(parameters), encoding="utf-8")
            later = [path for path in paths if _sorts_after_ours(path, self.root)]
            ordered = [path for path in paths if path not in later] + [planned, *later]
            values = grub_defaults.evaluate(ordered)
        return [
            grub_defaults.Values(drop_in if v.path == planned else v.path, v.linux, v.default)
            for v in values
        ]

    def _named(self, path: Path) -> str:
        return f"/{path.relative_to(self.root)}"

    def conflicts(self, parameters: Sequence[Parameter]) -> tuple[conflicts.Conflict, ...]:
        """Return what contradicts these in the files of /etc/default/grub*.

        Raises:
            BootConfigurationRefused: a file that is read later discards or defeats the drop-in.
        """
        values = self._evaluate_with(parameters)
        self._refuse_overriders(parameters, values)
        found = conflicts.find_conflicts(parameters, self._attributed(values), vendor=self.vendor)
        conflicts.refuse_unresolved(found)
        line = from_arguments(_arguments(f"{values[-1].linux} {values[-1].default}"))
        if not conflicts.in_force(parameters, line, vendor=self.vendor):
            separator = "a lone -- before them" if line.for_init else "a parameter after them"
            later = [self._named(v.path) for v in values if _sorts_after_ours(v.path, self.root)]
            raise BootConfigurationRefused(
                "parameters_defeated",
                read=f"{separator}, from /{grub_defaults.MAIN} or " + (", ".join(later) or "it"),
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
                for text in _arguments(getattr(value, variable)):
                    earlier = next((item for item in known if item[0] == text), None)
                    if earlier is not None:
                        known.remove(earlier)
                    fresh.append(earlier or (text, self._named(value.path)))
                known = fresh
            result += [
                (parameter, source)
                for text, source in known
                if source != f"/{DROP_IN}"
                for parameter in from_arguments([text]).parameters
            ]
        return result

    def _refuse_overriders(
        self, parameters: Sequence[Parameter], values: Sequence[grub_defaults.Values]
    ) -> None:
        ours = tuple(parameter.text for parameter in parameters)
        for value in values:
            if not _sorts_after_ours(value.path, self.root):
                continue
            if own_span(grub_script.read_words(value.default), ours) is None:
                raise BootConfigurationRefused(
                    "drop_in_overridden",
                    read=f"{self._named(value.path)} is read after /{DROP_IN} and sets"
                    " GRUB_CMDLINE_LINUX_DEFAULT anew",
                    want="files read later to append to GRUB_CMDLINE_LINUX_DEFAULT",
                    remedy="rename that file so that it sorts before zz-gpufleet.cfg",
                )

    # The default configuration

    def steps_to_configure(self, parameters: Sequence[Parameter] | None) -> list[Step]:
        """Return: keep the original grub.cfg, write the drop-in, generate grub.cfg anew.

        The kept copy is also the mark that grub.cfg was changed: while it is there, removing
        continues where a killed run stopped.
        """
        drop_in, original = self.root / DROP_IN, self.root / ORIGINAL_CFG
        present, kept = read_bytes(drop_in), read_bytes(original)
        old_cfg = read_grub_cfg(self.root)
        old_words = self._own_words()
        if parameters is None:
            if present is None and kept is None:
                return []
            steps: list[Step] = []
            if present is not None:
                steps.append(WriteFile("remove the drop-in", drop_in, present, None))
            steps.append(self._generation(old_cfg, old_words, ()))
            if kept is not None:
                steps.append(StateFile("drop the kept grub.cfg", original, kept, None, 0o600))
            return steps
        steps = []
        if kept is None:
            kept_copy = StateFile("keep the original grub.cfg", original, None, old_cfg, 0o600)
            steps.append(kept_copy)
        wanted = drop_in_text(parameters).encode()
        if present != wanted:
            steps.append(WriteFile("write the drop-in", drop_in, present, wanted))
        steps.append(self._generation(old_cfg, old_words, parameters))
        return steps

    def _generation(
        self, old_cfg: bytes, old_words: tuple[str, ...], parameters: Sequence[Parameter]
    ) -> GenerateConfig:
        return GenerateConfig(
            self.root, self.tools, old_cfg, old_words, tuple(parameters), self.vendor
        )

    # The trial

    def trial_support(self) -> TrialSupport:
        """Tell whether GRUB can clear its one-shot entry and finds ours in custom.cfg."""
        obstacle = boot_device.one_shot_obstacle(self.root)
        if obstacle is None:
            try:
                grub_environment.read(self.root / GRUBENV)
                obstacle = grub_trial_entry.missing_snippet(self._script())
            except (BootConfigurationRefused, grub_script.GrubScriptError) as refusal:
                obstacle = str(refusal)
        return TrialSupport(obstacle is None, obstacle or "")

    def next_boot_token(self) -> str | None:
        """Return the token of the trial entry that ``next_entry`` selects, or None."""
        block = read_bytes(self.root / GRUBENV)
        if block is None or len(block) != grub_environment.BLOCK_BYTES:
            return None
        selected = grub_environment.parse(block).get("next_entry", "")
        custom = read_bytes(self.root / CUSTOM_CFG) or b""
        token = grub_trial_entry.token_of(selected)
        held = grub_trial_entry.block_in(custom) or b""
        return token if token and selected.encode() in held else None

    def steps_to_arm(self, trial: Trial) -> list[Step]:
        """Return: write the trial entry, then select it for one boot.

        Raises:
            TrialRefused: a one-shot boot is impossible here, or somebody else has selected one.
        """
        support = self.trial_support()
        if not support.possible:
            raise TrialRefused(
                "trial_impossible",
                read=support.reason,
                want="a boot loader that can forget a one-shot entry by itself",
                remedy="use trial: false, which changes the default entry at once and has no way"
                " back but the recovery entry; or move /boot to a plain partition",
            )
        environment, custom = self.root / GRUBENV, self.root / CUSTOM_CFG
        block = grub_environment.read(environment)
        selected = grub_environment.parse(block).get("next_entry", "")
        if selected and grub_trial_entry.token_of(selected) is None:
            raise TrialRefused(
                "next_entry_taken",
                read=f"next_entry={selected} in /{GRUBENV}",
                want="no one-shot boot that somebody else has asked for",
                remedy="reboot once, or clear it: grub-editenv - unset next_entry",
            )
        old = read_bytes(custom)
        text = grub_trial_entry.render(self._default(), self._script(), trial, self._own_words())
        new = grub_trial_entry.with_block(old, text)
        self.tools.check(new)
        identity = grub_trial_entry.identity_of(trial.token)
        chosen = grub_environment.updated(block, "next_entry", identity)
        steps: list[Step] = []
        if old != new:
            mode = _mode_of(custom, 0o644)
            steps.append(WriteFile("write the trial entry", custom, old, new, mode))
        if chosen != block:
            mode = _mode_of(environment, 0o644)
            steps.append(WriteFile("select it for one boot", environment, block, chosen, mode))
        return steps

    def steps_to_disarm(self) -> list[Step]:
        """Return: forget the one-shot selection, then remove the entry, each if it is there.

        GRUB clears ``next_entry`` by leaving it empty; beside an entry of ours the empty variable
        is our trace too, and goes.
        """
        environment, custom = self.root / GRUBENV, self.root / CUSTOM_CFG
        old = read_bytes(custom)
        has_entry = old is not None and grub_trial_entry.block_in(old) is not None
        steps: list[Step] = []
        block = read_bytes(environment)
        if block is not None and len(block) == grub_environment.BLOCK_BYTES:
            selected = grub_environment.parse(block).get("next_entry")
            spent = selected == "" and has_entry
            if selected is not None and (spent or grub_trial_entry.token_of(selected)):
                cleared = grub_environment.updated(block, "next_entry", None)
                mode = _mode_of(environment, 0o644)
                steps.append(WriteFile("clear the selection", environment, block, cleared, mode))
        if old is not None and has_entry:
            new = grub_trial_entry.without_block(old)
            mode = _mode_of(custom, 0o644)
            steps.append(WriteFile("remove the trial entry", custom, old, new, mode))
        return steps


def _sorts_after_ours(path: Path, root: Path) -> bool:
    directory = root / grub_defaults.DIRECTORY
    return path.parent == directory and path.name.encode() > DROP_IN.name.encode()


def _mode_of(path: Path, default: int) -> int:
    return path.stat().st_mode & 0o7777 if path.exists() else default
