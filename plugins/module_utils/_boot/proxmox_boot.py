# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""proxmox-boot-tool: kernels and entries on EFI partitions, which it mounts only to fill them.

Two kinds. Started by systemd-boot, entries take /etc/kernel/cmdline; started by GRUB, there is a
grub.cfg on each partition, made from /etc/default/grub. In both the file is changed here and the
tool fills the partitions one after the other; a mark stays until it has reached all of them.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path

from .._host.files import mode_of, read_bytes
from . import conflicts, grub_defaults, grub_script
from .cmdline import CommandLine, Parameter, from_arguments
from .efi_variables import loader_variable
from .grub_debian import DROP_IN, GrubDebian, drop_in_text
from .interface import (
    BootConfigurationRefused,
    BootLoader,
    StateFile,
    Step,
    Trial,
    TrialRefused,
    TrialSupport,
    WriteFile,
)
from .option_text import words_of
from .parameter_file import KERNEL_CMDLINE, KernelCmdline
from .parameter_record import Configured, read_configured, record_step
from .proxmox_refresh import (
    PARTITIONS,
    PENDING,
    MarkPending,
    ProxmoxBootTool,
    Refresh,
    RefreshTool,
)
from .systemd_boot import refuse_unportable

_NO_TRIAL = (
    "proxmox-boot-tool keeps the entries on partitions that it rewrites by itself, and its own"
    " selection of one boot (proxmox-boot-tool kernel pin --next-boot) is taken back by the started"
    " system, not by the boot loader: one that does not start would be started again"
)


def recognise(root: Path, firmware: str, vendor: str | None) -> ProxmoxBoot | None:
    """Return the loader where proxmox-boot-tool has partitions to fill, else None."""
    if not (root / PARTITIONS).is_file():
        return None
    started_by = loader_variable(root, "LoaderInfo") or ""
    kind = ProxmoxSystemdBoot if started_by.startswith("systemd-boot") else ProxmoxGrub
    return kind(root, firmware=firmware, vendor=vendor)


class ProxmoxBoot(BootLoader):
    """What both kinds have in common."""

    def __init__(
        self,
        root: Path = Path("/"),
        *,
        firmware: str = "efi",
        vendor: str | None = None,
        tool: RefreshTool | None = None,
    ) -> None:
        self.root = root
        self.firmware = firmware
        self.vendor = vendor
        self.tool = tool or ProxmoxBootTool()

    @abstractmethod
    def _line(self, parameters: Sequence[Parameter]) -> CommandLine:
        """Return what the files come to with ``parameters`` as ours."""

    @abstractmethod
    def _file_steps(self, parameters: Sequence[Parameter] | None) -> tuple[list[Step], list[Step]]:
        """Return what changes the files, and what is left to do once they are copied."""

    def default_entry(self) -> str:
        """Return the entry that the running system was started from; the next is the tool's."""
        return loader_variable(self.root, "LoaderEntrySelected") or "the newest kernel, by GRUB"

    @property
    def _is_pending(self) -> bool:
        return (self.root / PENDING).is_file()

    def configured(self) -> CommandLine:
        """Return what the partitions were filled with; without ours while that is not known."""
        return self._line(() if self._is_pending else self.own_parameters() or ())

    def after(self, parameters: Sequence[Parameter] | None) -> CommandLine:
        """Return the configured line with gpufleet's parameters replaced by these."""
        return self._line(parameters or ())

    def steps_to_configure(self, parameters: Sequence[Parameter] | None) -> list[Step]:
        """Return: mark the partitions as not known, change the file, refresh, take the mark away.

        proxmox-boot-tool copies kernels and entries over those that are there. A crash in it is
        survived where there is a second partition, not by anything that could be done here.
        """
        changes, rest = self._file_steps(parameters)
        if parameters is None and not changes and not rest and not self._is_pending:
            return []
        pending, mark = read_bytes(self.root / PENDING), b"a refresh has not come to its end\n"
        steps: list[Step] = []
        if pending is None:
            steps.append(MarkPending("mark the partitions", self.root / PENDING, None, mark))
        steps += [*changes, Refresh(self.root, self.tool), *rest]
        return [*steps, StateFile("take the mark away", self.root / PENDING, mark, None)]

    def trial_support(self) -> TrialSupport:
        """Tell that there is none, and why."""
        return TrialSupport(False, _NO_TRIAL)

    def steps_to_arm(self, trial: Trial) -> list[Step]:
        """Refuse.

        Raises:
            TrialRefused: always.
        """
        raise TrialRefused(
            "trial_impossible",
            read=_NO_TRIAL,
            want="a boot loader that can forget a one-shot entry by itself",
            remedy="use trial: false (p2p_trial_boot: false), with a console at hand: the way back"
            " is the menu's editor (key e)",
        )

    def steps_to_disarm(self) -> list[Step]:
        """Return nothing: no trial can be armed."""
        return []

    def next_boot_token(self) -> str | None:
        """Return None: no trial can be armed."""
        return None


class ProxmoxSystemdBoot(ProxmoxBoot):
    """Entries that take their options from the first line of /etc/kernel/cmdline."""

    name = "proxmox_systemd_boot"
    _file = KernelCmdline(first_line=True)

    def _data(self) -> bytes:
        data = self._file.read(self.root)
        if data is None or self._file.line(data).value_of("root") is None:
            raise BootConfigurationRefused(
                "kernel_cmdline_missing",
                read=f"/{KERNEL_CMDLINE} " + ("is not there" if data is None else "has no root="),
                want="the command line that proxmox-boot-tool puts into its entries",
                remedy=f"write the parameters of /proc/cmdline but initrd= into /{KERNEL_CMDLINE}"
                " and run proxmox-boot-tool refresh",
            )
        return data

    def _record(self) -> Configured | None:
        return read_configured(self.root)

    def _runs(self) -> tuple[tuple[Parameter, ...], ...]:
        record = self._record()
        return record.runs if record is not None else ()

    def own_parameters(self) -> tuple[Parameter, ...] | None:
        """Return what the record says is ours; None where nothing is."""
        record = self._record()
        return record.parameters if record is not None else None

    def _line(self, parameters: Sequence[Parameter]) -> CommandLine:
        return self._file.line(self._file.edited(self._data(), self._runs(), parameters))

    def conflicts(self, parameters: Sequence[Parameter]) -> tuple[conflicts.Conflict, ...]:
        """Return what contradicts these in /etc/kernel/cmdline.

        Raises:
            ParameterConflict: something that nothing can undo.
            BootConfigurationRefused: the parameters would not take effect behind the others.
        """
        refuse_unportable(parameters)
        others = [(parameter, f"/{KERNEL_CMDLINE}") for parameter in self._line(()).parameters]
        found = conflicts.find_conflicts(parameters, others, vendor=self.vendor)
        conflicts.refuse_unresolved(found)
        if not conflicts.in_force(parameters, self._line(parameters), vendor=self.vendor):
            raise BootConfigurationRefused(
                "parameters_defeated",
                read=f"a lone -- in /{KERNEL_CMDLINE}",
                want=" ".join(words_of(parameters)) + " to take effect",
                remedy="remove it there, then run again",
            )
        return found

    def _file_steps(self, parameters: Sequence[Parameter] | None) -> tuple[list[Step], list[Step]]:
        record, data = self._record(), self._data()
        path = self.root / KERNEL_CMDLINE
        if parameters is None and record is None:
            return [], []
        changes: list[Step] = []
        rest: list[Step] = []
        if parameters is None:
            rest.append(record_step(self.root, "drop the record", None))
        else:
            wanted = (record or Configured((), (), data)).replaced_by(parameters)
            if wanted != record:
                changes.append(record_step(self.root, "record the parameters", wanted))
            if wanted != wanted.settled:
                rest.append(record_step(self.root, "settle the record", wanted.settled))
        after = self._file.edited(data, self._runs(), parameters or ())
        if after != data:
            mode = mode_of(path, 0o644)
            changes.append(WriteFile(f"write /{KERNEL_CMDLINE}", path, data, after, mode))
        return changes, rest


class ProxmoxGrub(ProxmoxBoot):
    """GRUB on each partition, with the grub.cfg that update-grub makes of /etc/default/grub."""

    name = "proxmox_grub"

    @property
    def _grub(self) -> GrubDebian:
        return GrubDebian(self.root, firmware=self.firmware, vendor=self.vendor)

    def own_parameters(self) -> tuple[Parameter, ...] | None:
        """Return what the drop-in appends; None where there is no drop-in."""
        return self._grub.own_parameters()

    def conflicts(self, parameters: Sequence[Parameter]) -> tuple[conflicts.Conflict, ...]:
        """Return what contradicts these in the files of /etc/default/grub*.

        Raises:
            ParameterConflict, BootConfigurationRefused: as GrubDebian has it.
        """
        return self._grub.conflicts(parameters)

    def _line(self, parameters: Sequence[Parameter]) -> CommandLine:
        """Return what the variables come to; root= is what grub-mkconfig puts before them."""
        paths = grub_defaults.files(self.root, without=self.root / DROP_IN)
        values = grub_defaults.evaluate(paths)
        text = f"{values[-1].linux} {values[-1].default}" if values else ""
        words = [word.text for word in grub_script.read_words(text) if not word.has_variable]
        return from_arguments([*words, *(parameter.text for parameter in parameters)])

    def _file_steps(self, parameters: Sequence[Parameter] | None) -> tuple[list[Step], list[Step]]:
        path = self.root / DROP_IN
        before = read_bytes(path)
        after = None if parameters is None else drop_in_text(parameters).encode()
        if before == after:
            return [], []
        name = "remove the drop-in" if after is None else "write the drop-in"
        return [WriteFile(name, path, before, after)], []
