# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""systemd-boot with entries that a tool of the host makes: kernel-install, or kernelstub.

The tool's own file is changed, so that the next kernel's entry has the parameters, and so is the
line of options in each present entry, as the tool would write it. The tool itself is not run: it
copies kernels over those that boot and empties entries before it fills them, and a crash leaves a
part. Here each file is replaced as a whole, the default entry last.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from .._host.files import mode_of, read_bytes, read_text
from .._host.kernel import TRIAL_PARAMETER
from . import boot_entry_trial, conflicts
from .boot_entry import BootEntry
from .boot_menu import Menu, read_menu
from .cmdline import CommandLine, Parameter, parse
from .efi_variables import Bootctl, OneShotTool, loader_variable
from .interface import (
    BootConfigurationRefused,
    BootLoader,
    BootLoaderUnsupported,
    Step,
    Trial,
    TrialRefused,
    TrialSupport,
    WriteFile,
)
from .option_text import with_words, without_words, words_of
from .parameter_file import KERNEL_CMDLINE, VENDOR_CMDLINE, KernelCmdline, ParameterFile
from .parameter_record import Configured, read_configured, record_step

_INSTALL_CONF = (Path("etc/kernel/install.conf"), Path("usr/lib/kernel/install.conf"))
# kernel-install ends the options with it where entries are named after the machine's id.
_MACHINE_ID = "systemd.machine_id="


def recognise(root: Path, firmware: str, vendor: str | None) -> SystemdBoot | None:
    """Return the loader where systemd-boot started the running system, else None.

    Raises:
        BootLoaderUnsupported: kernel-install makes unified kernel images on this host.
    """
    loader = loader_variable(root, "LoaderInfo")
    # GRUB 2.12 and later sets this variable too.
    if loader is None or not loader.startswith("systemd-boot"):
        return None
    for path in _INSTALL_CONF:
        text = read_text(root / path)
        if text is not None and "layout=uki" in text.replace('"', "").split():
            raise BootLoaderUnsupported(
                "unified_kernel_image",
                read=f"layout=uki in /{path}",
                remedy="build the parameters into the image, whose command line is signed with it",
            )
    return SystemdBoot(root, firmware=firmware, vendor=vendor)


class SystemdBoot(BootLoader):
    """The entries of systemd-boot and the file that they are made from, in the tree at ``root``."""

    name = "systemd_boot"
    file: ParameterFile = KernelCmdline()

    def __init__(
        self,
        root: Path = Path("/"),
        *,
        firmware: str = "efi",
        vendor: str | None = None,
        tool: OneShotTool | None = None,
    ) -> None:
        self.root = root
        self.firmware = firmware
        self.vendor = vendor
        self.tool = tool or Bootctl()

    # What is configured

    def _menu(self) -> Menu:
        ours = [path.name for path in boot_entry_trial.trial_entries(self.root)]
        return read_menu(self.root, without=ours)

    def _record(self) -> Configured | None:
        return read_configured(self.root)

    def _runs(self) -> tuple[tuple[Parameter, ...], ...]:
        """Return the runs of parameters that may be ours in a file."""
        record = self._record()
        return record.runs if record is not None else ()

    def default_entry(self) -> str:
        """Return the default entry's id, which is its file's name."""
        return self._menu().default().identity

    def configured(self) -> CommandLine:
        """Return the parameters in the default entry."""
        return self._menu().default().line

    def own_parameters(self) -> tuple[Parameter, ...] | None:
        """Return what the record says is ours; None where nothing is."""
        record = self._record()
        return record.parameters or None if record is not None else None

    def after(self, parameters: Sequence[Parameter] | None) -> CommandLine:
        """Return the default entry's parameters with gpufleet's replaced by these."""
        return self._edited(self._menu().default(), parameters or ()).line

    def _edited(self, entry: BootEntry, parameters: Sequence[Parameter]) -> BootEntry:
        others = without_words(entry.options, *map(words_of, self._runs()))
        return entry.with_options(
            with_words(others, words_of(parameters), ahead_of=self._last_word(entry))
        )

    @staticmethod
    def _last_word(entry: BootEntry) -> str:
        return _MACHINE_ID if entry.value("machine-id") else ""

    # Conflicts

    def conflicts(self, parameters: Sequence[Parameter]) -> tuple[conflicts.Conflict, ...]:
        """Return what contradicts these in the tool's file and in the default entry.

        Raises:
            ParameterConflict: something that nothing can undo.
            BootConfigurationRefused: the parameters would not take effect behind the others.
        """
        refuse_unportable(parameters)
        entry = self._menu().default()
        others = parse(without_words(entry.options, *map(words_of, self._runs())))
        data = self.file.read(self.root)
        known = self.file.line(self.file.edited(data, self._runs(), ())) if data else CommandLine()
        sources = [(parameter, f"/{self.file.path}") for parameter in known.parameters]
        sources += [
            (parameter, str(entry.path))
            for parameter in others.parameters
            if not any(parameter.same_as(other) for other in known.parameters)
        ]
        found = conflicts.find_conflicts(parameters, sources, vendor=self.vendor)
        conflicts.refuse_unresolved(found)
        if not conflicts.in_force(parameters, self.after(parameters), vendor=self.vendor):
            raise BootConfigurationRefused(
                "parameters_defeated",
                read=f"{entry.path}: {entry.options}",
                want=", ".join(parameter.text for parameter in parameters) + " to take effect",
                remedy=f"remove what defeats them, such as a lone --, from /{self.file.path} and"
                " the entry, then run again",
            )
        return found

    # The default configuration

    def steps_to_configure(self, parameters: Sequence[Parameter] | None) -> list[Step]:
        """Return: record what is ours, write the tool's file, then each entry, the default last.

        The record comes first and goes last, so that a run that was killed in between is continued.
        """
        record = self._record()
        if parameters is None:
            if record is None or not record.parameters:
                return []
            return self._steps_to_remove(record)
        data = self.file.read(self.root)
        wanted = (record or Configured((), (), data)).replaced_by(parameters)
        base = data if data is not None else self._base()
        after = self.file.edited(base, self._runs(), parameters)
        steps: list[Step] = []
        if record != wanted:
            steps.append(record_step(self.root, "record the parameters", wanted))
        steps += self._file_steps(data, after)
        steps += self._entry_steps(parameters)
        if wanted != wanted.settled:
            steps.append(record_step(self.root, "settle the record", wanted.settled))
        return steps

    def _steps_to_remove(self, record: Configured) -> list[Step]:
        data = self.file.read(self.root)
        steps: list[Step] = []
        if record.original is None and self._falls_back and self._is_running(record):
            # Without a file, a kernel or initramfs that is installed before the next boot would
            # get an entry with the running kernel's parameters: ours, again.
            if data is not None:
                steps += self._file_steps(data, self.file.edited(data, record.runs, ()))
            steps += self._entry_steps(())
            kept = record.replaced_by(())
            return [*steps, record_step(self.root, "record the kept file", kept)]
        if data is not None:
            steps += self._file_steps(data, self._restored(data, record))
        steps += self._entry_steps(())
        return [*steps, record_step(self.root, "drop the record", None)]

    def _restored(self, data: bytes, record: Configured) -> bytes | None:
        """Return the file as it was before ours; None where it was not there and only ours is."""
        others = self.file.edited(data, record.runs, ())
        if record.original is None:
            return None if others == self._base() else others
        rebuilt = self.file.edited(record.original, (), record.parameters)
        return record.original if data == rebuilt else others

    def _file_steps(self, before: bytes | None, after: bytes | None) -> list[Step]:
        if before == after:
            return []
        path = self.root / self.file.path
        name = f"{'remove' if after is None else 'write'} /{self.file.path}"
        return [WriteFile(name, path, before, after, mode_of(path, 0o644))]

    def _entry_steps(self, parameters: Sequence[Parameter]) -> list[Step]:
        menu = self._menu()
        default = menu.default()
        entries = [e for e in menu.ordered() if e != default and e.belongs_with(default)]
        steps: list[Step] = []
        for entry in [*entries, default]:
            edited = self._edited(entry, parameters)
            if edited != entry:
                name = f"write the options of {entry.identity}"
                mode = mode_of(entry.path, 0o644)
                steps.append(WriteFile(name, entry.path, entry.data, edited.data, mode))
        return steps

    # A host without the tool's file

    @property
    def _falls_back(self) -> bool:
        """Whether kernel-install would take the running kernel's parameters, token and all."""
        if self.file.path != KERNEL_CMDLINE or (self.root / VENDOR_CMDLINE).is_file():
            return False
        record = self._record()
        return not (self.root / KERNEL_CMDLINE).is_file() or (
            record is not None and record.original is None
        )

    def _base(self) -> bytes:
        """Return what a missing file has to say for the entries to stay as they are."""
        vendor = read_bytes(self.root / VENDOR_CMDLINE)
        if vendor is not None:
            return vendor
        entry = self._menu().default()
        options = without_words(entry.options, *map(words_of, self._runs()))
        words = options.split(" ")
        if self._last_word(entry) and words[-1].startswith(_MACHINE_ID):
            words.pop()
        return (" ".join(words) + "\n").encode("utf-8", "surrogateescape")

    def _is_running(self, record: Configured) -> bool:
        """Whether the running kernel has a trial, or any of ours that others do not ask for."""
        line = parse(read_text(self.root / "proc/cmdline") or "")
        others = parse(self._base().decode("utf-8", "surrogateescape"))
        ours = [parameter for run in record.runs for parameter in run]
        return bool(line.having(TRIAL_PARAMETER)) or any(
            parameter.same_as(mine)
            for parameter in line.parameters
            for mine in ours
            if not any(mine.same_as(other) for other in others.parameters)
        )

    def _steps_to_keep_file(self) -> list[Step]:
        """Return what keeps a trial's parameters out of entries made while it runs."""
        record = self._record()
        data = self.file.read(self.root)
        if not self._falls_back or data is not None:
            return []
        ours = record.parameters if record is not None else ()
        steps: list[Step] = []
        if record is None:
            kept = Configured((), (), None)
            steps.append(record_step(self.root, "record the kept file", kept))
        return [*steps, *self._file_steps(None, self.file.edited(self._base(), (), ours))]

    def _steps_to_release_file(self) -> list[Step]:
        record = self._record()
        if record is None or record.parameters or self._is_running(record):
            return []
        data = self.file.read(self.root)
        steps: list[Step] = []
        if data is not None:
            steps += self._file_steps(data, self._restored(data, record))
        return [*steps, record_step(self.root, "drop the record", None)]

    # The trial

    def trial_support(self) -> TrialSupport:
        """Tell whether systemd-boot can start an entry once and the EFI variables are writable."""
        support = boot_entry_trial.support(self.root, self._menu())
        obstacle = self.init_obstacle() if support.possible else None
        return support if obstacle is None else TrialSupport(False, obstacle)

    def next_boot_token(self) -> str | None:
        """Return the token of the trial that LoaderEntryOneShot selects, or None."""
        return boot_entry_trial.next_boot_token(self.root)

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
                want="systemd-boot to start an entry once, and the default entry after it",
                remedy="mend what was read; or use trial: false, which changes the entries at once"
                " and whose way back is the menu's editor (key e)",
            )
        entry = boot_entry_trial.render(self._menu().default(), trial, self._runs())
        armed = boot_entry_trial.steps_to_arm(self.root, self.tool, entry)
        return [*self._steps_to_keep_file(), *armed]

    def steps_to_disarm(self) -> list[Step]:
        """Return: take the selection back, remove the entry, release a file kept for the trial."""
        disarmed = boot_entry_trial.steps_to_disarm(self.root, self.tool)
        return [*disarmed, *self._steps_to_release_file()]


def refuse_unportable(parameters: Sequence[Parameter]) -> None:
    """Refuse what these tools would not hand on unchanged: they make one of several blanks.

    Raises:
        BootConfigurationRefused: names the parameter.
    """
    for parameter in parameters:
        if "  " in parameter.text:
            raise BootConfigurationRefused(
                "parameter_unportable",
                read=f"{parameter.text!r} has several blanks in a row",
                want="values that kernel-install hands on unchanged",
                remedy="write the parameter without them",
            )
