# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""GRUB with BLS entries, as Fedora, RHEL and its rebuilds install it: /boot/loader/entries.

Nothing generates such a menu: GRUB reads the entries at each boot, and grub.cfg, which on EFI may
be a stub, is never written here. Four texts hold parameters, and ours are appended to each that a
host has: ``options`` of its entries, ``kernelopts`` in grubenv (RHEL 8), /etc/kernel/cmdline for
new kernels, and GRUB_CMDLINE_LINUX for whoever runs grub2-mkconfig.

The files are written whole and renamed, not handed to grubby. ``grubby --args=k=v`` first removes
every other ``k``: ``pci=noaer`` erases ``pci=realloc``, one console erases the other, and nobody
could put them back. It edits with ``sed -i``, file by file, without a flush, and one call cannot
be undone half-way. What grubby does later to a text of ours is found again by its words.

A trial is an entry of its own. Its name sorts below all others, so that a default given as a place
in the menu stays what it is; GRUB makes it bootable just as it does the default's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from .._host.files import mode_of, read_bytes
from . import boot_device, conflicts, grub_defaults, grub_environment, grub_script, own_line
from .bls_entry import ENTRIES, OPTIONS, BlsEntry, default_of, expand, read_entries
from .bls_places import KERNEL_CMDLINE, KERNELOPTS, Place, missing_source, places_of, uses_shared
from .bls_trial import held_trials, identity_of, path_of, render, token_of
from .cmdline import CommandLine, Parameter, ParameterRefused, from_arguments
from .grub_config import CONFIG, ENVIRONMENT, boot_file_exists, read_grub_cfg
from .grub_generated import arguments
from .grub_trial_entry import missing_one_shot, refuse_taken
from .interface import (
    BootConfigurationRefused,
    BootFile,
    BootLoader,
    BootLoaderUnsupported,
    Step,
    Trial,
    TrialSupport,
    refuse_impossible_trial,
)
from .options_record import OptionsRecord, appended, read_record, record_step, settling_steps
from .systemd_boot import refuse_unportable

DIRECTORY = Path("boot/grub2")
_VARIABLE = "GRUB_CMDLINE_LINUX"
_PROGRAMS = ("usr/sbin/grubby", "usr/sbin/grub2-mkconfig", "usr/bin/grub2-mkconfig")


def recognise(root: Path, firmware: str, vendor: str | None) -> GrubBls | None:
    """Return the boot loader of a host with entries that one menu reads, None without entries.

    Raises:
        BootLoaderUnsupported: there are entries, but nothing or more than one thing reads them.
    """
    if not any((root / ENTRIES).glob("*.conf")):
        return None
    if not any((root / program).is_file() for program in _PROGRAMS):
        raise BootLoaderUnsupported(
            "boot_loader_specification",
            read=f"boot entries in /{ENTRIES}, and neither grubby nor grub2-mkconfig",
            remedy=f"add the parameters to the {OPTIONS} of these entries by this host's own means",
        )
    # RHEL 8 has the menu on the EFI partition; later releases have a stub there that leads on.
    places = sorted((root / "boot/efi/EFI").glob(f"*/{CONFIG}")) if firmware == "efi" else []
    directories = [path.parent.relative_to(root) for path in places] + [DIRECTORY]
    found = [directory for directory in directories if _reads_entries(root / directory / CONFIG)]
    has_defaults = (root / grub_defaults.MAIN).is_file()
    if len(found) == 1 and has_defaults:
        return GrubBls(root, directory=found[0], firmware=firmware, vendor=vendor)
    menus = ", ".join(f"/{directory / CONFIG}" for directory in found) or "no grub.cfg"
    raise BootLoaderUnsupported(
        "grub_bls",
        read=f"/{ENTRIES}, which {menus} reads (blscfg)"
        if has_defaults
        else f"/{ENTRIES} and no /{grub_defaults.MAIN}",
        remedy="have one menu that reads the entries: GRUB_ENABLE_BLSCFG=true in"
        f" /{grub_defaults.MAIN}, then grub2-mkconfig -o with the file that /etc/grub2.cfg or"
        " /etc/grub2-efi.cfg (EFI) points to",
    )


def _reads_entries(config: Path) -> bool:
    text = (read_bytes(config) or b"").decode("utf-8", "surrogateescape")
    try:
        script = grub_script.parse(text)
    except grub_script.GrubScriptError:
        return False
    return any(command.name == "blscfg" for command in script.commands)


class GrubBls(BootLoader):
    """The entries, grubenv and /etc of the tree at ``root``; ``directory`` has its grub.cfg."""

    name = "grub_bls"

    def __init__(
        self,
        root: Path = Path("/"),
        *,
        directory: Path = DIRECTORY,
        firmware: str = "bios",
        vendor: str | None = None,
    ) -> None:
        self.root = root
        self.directory = directory
        self.firmware = firmware
        self.vendor = vendor

    # What is configured

    def _script(self) -> grub_script.Script:
        text = read_grub_cfg(self.root, self.directory / CONFIG)
        return grub_script.parse(text.decode("utf-8", "surrogateescape"))

    @property
    def _environment(self) -> Path:
        return self.root / self.directory / ENVIRONMENT

    def _saved(self) -> dict[str, str]:
        block = read_bytes(self._environment)
        if block is None or len(block) != grub_environment.BLOCK_BYTES:
            return {}
        return grub_environment.parse(block)

    def _entries(self) -> list[BlsEntry]:
        return [entry for entry in read_entries(self.root) if token_of(entry.identity) is None]

    def _default(self) -> BlsEntry:
        selector = grub_script.default_selector(self._script(), self._saved().get("saved_entry"))
        entry = default_of(self._entries(), selector)
        if entry.value(OPTIONS) is None:
            raise BootConfigurationRefused(
                "default_entry_without_options",
                read=f"no {OPTIONS} in {entry.path.name}",
                want="parameters in the default entry",
                remedy="give it its parameters: grubby --update-kernel=DEFAULT --args=…",
            )
        return entry

    def _places(self) -> list[Place]:
        shared = self._saved().get(KERNELOPTS)
        return places_of(self.root, self._entries(), self._default(), self._environment, shared)

    def _record(self) -> OptionsRecord:
        """Return what is recorded; of a host that lost it, what our line in /etc tells."""
        record = read_record(self.root)
        if record is None:
            own = self.own_parameters()
            runs = () if own is None else (tuple(parameter.text for parameter in own),)
            record = OptionsRecord(runs)
        return record

    def _bases(self) -> dict[str, str]:
        record = self._record()
        return {place.name: record.base_of(place.name, place.text) for place in self._places()}

    def default_entry(self) -> str:
        """Return the default entry's id, its file name without the suffix."""
        return self._default().identity

    def configured(self) -> CommandLine:
        """Return the parameters of the default entry, from ``root=`` on."""
        return self._line(self._default().value(OPTIONS) or "", self._variables())

    def own_parameters(self) -> tuple[Parameter, ...] | None:
        """Return what our line in /etc/default/grub appends; None where there is none."""
        values = own_line.values_of(read_bytes(self.root / grub_defaults.MAIN) or b"")
        return None if values is None else from_arguments(arguments(values.linux)).parameters

    def after(self, parameters: Sequence[Parameter] | None) -> CommandLine:
        """Return the default entry's parameters with gpufleet's replaced by these."""
        entry, bases = self._default(), self._bases()
        words = [parameter.text for parameter in parameters or ()]
        options = entry.value(OPTIONS) or ""
        if uses_shared(entry):
            shared = appended(bases[KERNELOPTS], words)
            return self._line(options, {**self._variables(), KERNELOPTS: shared})
        base = bases.get(entry.path.name, options)
        return self._line(appended(base, words), self._variables())

    def _variables(self) -> dict[str, str]:
        """Return GRUB's variables: grubenv's, and grub.cfg's own kernelopts where it has none."""
        variables = {}
        for command in self._script().commands:
            for word in command.arguments if command.name == "set" else ():
                name, _equals, value = word.text.partition("=")
                if name == KERNELOPTS:
                    variables[name] = value
        return {**variables, **self._saved()}

    @staticmethod
    def _line(options: str, variables: Mapping[str, str]) -> CommandLine:
        return from_arguments(arguments(expand(options, variables)))

    # Conflicts

    def conflicts(self, parameters: Sequence[Parameter]) -> tuple[conflicts.Conflict, ...]:
        """Return what contradicts these in the default entry.

        Raises:
            ParameterRefused: a dollar sign, which some releases of GRUB take for a variable.
            ParameterConflict: something that nothing later undoes.
            BootConfigurationRefused: something behind ours defeats them, or kernel-install would
                write others into a new kernel's entry.
        """
        _refuse_variables(parameters)
        _refuse_rescue(self._default())
        entry, shared = self._default(), self._variables().get(KERNELOPTS, "")
        if not uses_shared(entry):
            refuse_unportable(parameters)
        missing = missing_source(self.root, entry)
        if missing is not None:
            raise BootConfigurationRefused(
                "kernel_cmdline_missing",
                read=missing,
                want=f"the parameters of new kernels in /{KERNEL_CMDLINE}",
                remedy=f"write the {OPTIONS} of {entry.path.name} there, in one line, without"
                " $tuned_params; grub2-mkconfig does it from RHEL 9.2 on",
            )
        of_shared = set(arguments(shared)) if uses_shared(entry) else set()
        others = [
            (
                parameter,
                f"{KERNELOPTS} in /{self.directory / ENVIRONMENT}"
                if parameter.text in of_shared
                else f"/{ENTRIES / entry.path.name}",
            )
            for parameter in self.after(None).parameters
        ]
        # What cannot be kept, for want of room in grubenv, is not tried either.
        self._texts(tuple(parameter.text for parameter in parameters))
        found = conflicts.find_conflicts(parameters, others, vendor=self.vendor)
        conflicts.refuse_unresolved(found)
        if not conflicts.in_force(parameters, self.after(parameters), vendor=self.vendor):
            raise BootConfigurationRefused(
                "parameters_defeated",
                read=f"{OPTIONS} of {entry.path.name}, which end them early (a lone --, an unquoted"
                " ;) or set them anew behind ours by a variable of grubenv",
                want=", ".join(parameter.text for parameter in parameters) + " to take effect",
                remedy="remove what contradicts there (tuned_params belongs to tuned), then run"
                " again",
            )
        return found

    # The default configuration

    def steps_to_configure(self, parameters: Sequence[Parameter] | None) -> list[Step]:
        """Return: record the original texts, write our line, append to each text.

        The record is also the mark that texts were changed: while it is there, removing continues
        where a killed run stopped.
        """
        record, own = read_record(self.root), self.own_parameters()
        if parameters is None:
            if record is None and own is None:
                return []
            return [
                *self._texts(()),
                *own_line.line_step(self.root, None),
                *record_step(self.root, "drop the record of the original options", None),
            ]
        words = tuple(parameter.text for parameter in parameters)
        texts = {place.name: place.text for place in self._places()}
        planned = self._record().having(words, texts)
        steps = record_step(self.root, "record the original options", planned)
        steps += own_line.line_step(self.root, _line_for_generator(parameters))
        steps += self._texts(words)
        return steps + settling_steps(self.root, planned, words)

    def _texts(self, words: tuple[str, ...]) -> list[Step]:
        bases = self._bases()
        steps = []
        for place in self._places():
            text = appended(bases[place.name], () if place.is_rescue else words)
            if text != place.text:
                steps.append(place.step(text))
        return steps

    # The trial

    def trial_support(self) -> TrialSupport:
        """Tell whether GRUB can clear its one-shot entry, and will boot what it names."""
        obstacle = boot_device.one_shot_obstacle(self.root, f"/{self.directory}")
        if obstacle is None:
            try:
                grub_environment.read(self._environment)
                obstacle = (
                    missing_one_shot(self._script())
                    or self._counting()
                    or missing_source(self.root, self._default())
                    or self.init_obstacle()
                )
            except (BootConfigurationRefused, grub_script.GrubScriptError) as refusal:
                obstacle = str(refusal)
        return TrialSupport(obstacle is None, obstacle or "")

    def _counting(self) -> str | None:
        """Return why Fedora's boot counter, as greenboot sets it, could choose another entry."""
        counter = self._saved().get("boot_counter")
        if counter is None:
            return None
        return (
            f"grubenv has boot_counter={counter}, by which GRUB may boot another entry (greenboot)"
        )

    def next_boot_token(self) -> str | None:
        """Return the token of the trial entry that ``next_entry`` selects, or None."""
        token = token_of(self._saved().get("next_entry", ""))
        return token if token and path_of(self.root, token).is_file() else None

    def steps_to_arm(self, trial: Trial) -> list[Step]:
        """Return: write the trial entry, select it for one boot, remove former trials' entries.

        Raises:
            TrialRefused: a one-shot boot is impossible here, or somebody else has selected one.
            BootConfigurationRefused: the default entry's kernel or initial ramdisk is gone.
        """
        refuse_impossible_trial(self.trial_support())
        block = grub_environment.read(self._environment)
        refuse_taken(block, self._environment, token_of)
        default = self._default()
        self._refuse_missing_files(default)
        path, content = path_of(self.root, trial.token), self._trial_entry(default, trial)
        old = read_bytes(path)
        steps: list[Step] = []
        if old != content:
            mode = mode_of(default.path, 0o644)
            steps.append(BootFile("write the trial entry", path, old, content, mode))
        steps += self._selection(identity_of(trial.token))
        return steps + [_removal(held) for held in held_trials(self.root) if held != path]

    def _trial_entry(self, default: BlsEntry, trial: Trial) -> bytes:
        bases, options = self._bases(), default.value(OPTIONS) or ""
        if uses_shared(default):
            options = options.replace(f"${KERNELOPTS}", bases[KERNELOPTS], 1)
        return render(default, bases.get(default.path.name, options), trial)

    def _refuse_missing_files(self, entry: BlsEntry) -> None:
        for key in ("linux", "initrd"):
            for word in grub_script.read_words(entry.value(key) or "")[:1]:
                if not boot_file_exists(self.root, word.text):
                    raise BootConfigurationRefused(
                        "default_entry_without_files",
                        read=f"{entry.path.name} loads {word.text}, which does not exist",
                        want="a default entry that can boot",
                        remedy="choose another default: grubby --set-default=/boot/vmlinuz-RELEASE",
                    )

    def _selection(self, identity: str | None) -> list[Step]:
        present = self._saved().get("next_entry")
        if present == identity:
            return []
        name = "clear the selection" if identity is None else "select it for one boot"
        return [grub_environment.set_variable(name, self._environment, "next_entry", identity)]

    def steps_to_disarm(self) -> list[Step]:
        """Return: forget the one-shot selection, then remove the entry, each if it is there.

        GRUB clears ``next_entry`` by leaving it empty; beside an entry of ours the empty variable
        is our trace too, and goes.
        """
        trials = held_trials(self.root)
        selected = self._saved().get("next_entry")
        ours = selected is not None and token_of(selected) is not None
        steps: list[Step] = []
        if ours or (selected == "" and trials):
            steps += self._selection(None)
        return steps + [_removal(path) for path in trials]


def _removal(path: Path) -> Step:
    return BootFile("remove the trial entry", path, read_bytes(path), None, mode_of(path, 0o644))


def _line_for_generator(parameters: Sequence[Parameter]) -> str:
    """Return our line for /etc/default/grub, which only grub2-mkconfig obeys.

    grubby sources the file too, and writes what the variable comes to into the line of others: it
    must not see ours, and its ``sed`` on lines that begin with the variable must not find it.
    """
    assignment = grub_defaults.appending(_VARIABLE, parameters)
    return f'test -z "${{grub_mkconfig_dir:-}}" || {assignment}'


def _refuse_rescue(default: BlsEntry) -> None:
    if default.is_rescue:
        raise BootConfigurationRefused(
            "default_entry_is_rescue",
            read=f"the default entry is {default.path.name}",
            want="a kernel of its own as the default; the rescue entry is left as it is",
            remedy="choose it with: grubby --set-default=/boot/vmlinuz-RELEASE",
        )


def _refuse_variables(parameters: Sequence[Parameter]) -> None:
    for parameter in parameters:
        if "$" in parameter.text:
            raise ParameterRefused(
                "parameter_unportable",
                read=f"{parameter.text!r} has a dollar sign",
                want="a parameter without one: GRUB takes it for a variable in boot entries",
                remedy="write the parameter without that character",
            )
