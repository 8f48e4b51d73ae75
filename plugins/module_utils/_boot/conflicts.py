# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What parameters do to each other: which one wins, which one can never be undone."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from .._host.errors import GpufleetError
from .cmdline import CommandLine, Parameter

PASSTHROUGH = "iommu.passthrough"
# Parameters whose comma-separated words are settings of their own, several of which may be given
# in one or in many parameters: pci_setup() in drivers/pci/pci.c, efi's parse_efi_cmdline().
_WORD_LISTS = frozenset({"pci", "efi", "iommu", "intel_iommu", "amd_iommu"})
# Each occurrence adds one more: register_console(), memmap=, the module deny list of modprobe.
_ADDING = frozenset({"console", "earlycon", "memmap", "modprobe.blacklist"})
_TRUE_WORDS = frozenset({"1", "y", "yes", "t", "true", "on"})


class ParameterConflict(GpufleetError):
    """Other parameters defeat the wanted ones and appending cannot help."""


@dataclass(frozen=True)
class Setting:
    """One thing that a parameter sets; a ``sticky`` value stays whatever comes later."""

    key: str
    value: str
    sticky: bool = False


@dataclass(frozen=True)
class Conflict:
    """A configured parameter that contradicts a wanted one.

    ``resolved`` tells that the wanted one, coming later, wins; ``source`` names the file.
    """

    parameter: str
    wanted: str
    source: str
    resolved: bool

    def as_dict(self) -> dict[str, str | bool]:
        """Return the fields as plain data."""
        return {
            "parameter": self.parameter,
            "wanted": self.wanted,
            "source": self.source,
            "resolved": self.resolved,
        }


def _iommu_word(family: str, word: str) -> Setting:
    # Linux 6.1: iommu_setup() in arch/x86/kernel/pci-dma.c, intel_iommu_setup() in
    # drivers/iommu/intel/iommu.c, parse_amd_iommu_options() in drivers/iommu/amd/init.c.
    if family == "iommu" and word in {"pt", "nopt"}:
        return Setting(PASSTHROUGH, "1" if word == "pt" else "0")
    if family == "iommu" and word == "off":
        # Sets no_iommu, which nothing clears: iommu=force sets a variable of its own.
        return Setting("iommu.enabled", "0", sticky=True)
    if family == "intel_iommu" and word in {"on", "off"}:
        return Setting("intel_iommu.enabled", "1" if word == "on" else "0")
    if family == "amd_iommu" and word == "off":
        return Setting("amd_iommu.enabled", "0", sticky=True)
    return Setting(f"{family}:{word}", "1")


def settings_of(parameter: Parameter) -> tuple[Setting, ...]:
    """Return what the parameter sets, one Setting per word for parameters that are lists."""
    key, value = parameter.key, parameter.value
    if key == PASSTHROUGH:
        return (Setting(key, "1" if (value or "").lower() in _TRUE_WORDS else "0"),)
    if key in _ADDING:
        return (Setting(f"{key}:{value}", "1"),)
    if key in _WORD_LISTS and value is not None:
        words = [word for word in value.split(",") if word]
        if key in {"pci", "efi"}:
            pairs = [word.partition("=") for word in words]
            return tuple(Setting(f"{key}:{name}", rest) for name, _equals, rest in pairs)
        return tuple(_iommu_word(key, word) for word in words)
    return (Setting(key, "\0flag" if value is None else value),)


def effect(parameters: Iterable[Parameter]) -> dict[str, Setting]:
    """Return what holds after all parameters: the last value of each key, sticky ones apart."""
    result: dict[str, Setting] = {}
    for parameter in parameters:
        for setting in settings_of(parameter):
            if not (setting.key in result and result[setting.key].sticky):
                result[setting.key] = setting
    return result


# A wanted setting is void where another one, of another key, switches off what it configures.
_VOID_WITHOUT = {
    PASSTHROUGH: ("iommu.enabled", "intel_iommu.enabled", "amd_iommu.enabled"),
    "intel_iommu.enabled": ("iommu.enabled",),
}


_VENDOR_SWITCH = {"intel_iommu.enabled": "intel", "amd_iommu.enabled": "amd"}


def _defeater(
    setting: Setting, holding: dict[str, Setting], vendor: str | None = None
) -> Setting | None:
    """Return the setting that keeps ``setting`` from holding, or None if it holds."""
    present = holding.get(setting.key)
    if present is not None and present.value != setting.value:
        return present
    if setting.value != "0":
        for master in _VOID_WITHOUT.get(setting.key, ()):
            if vendor is not None and _VENDOR_SWITCH.get(master, vendor) != vendor:
                continue
            switch = holding.get(master)
            if switch is not None and switch.value == "0":
                return switch
    return None


def in_force(wanted: Iterable[Parameter], line: CommandLine, *, vendor: str | None = None) -> bool:
    """Whether every wanted parameter has its effect on a kernel booted with ``line``.

    ``vendor`` is the processor's ("intel", "amd"); the other vendor's IOMMU switch is then of no
    consequence. None counts both.
    """
    asked = tuple(wanted)
    holding = effect(line.parameters)
    return all(
        setting.key in holding and _defeater(setting, holding, vendor) is None
        for setting in effect(asked).values()
    )


def refuse_impossible(wanted: Iterable[Parameter]) -> None:
    """Refuse parameters that no kernel knows or that contradict each other.

    Raises:
        ParameterConflict: ``amd_iommu=on``, which does not exist, or two that exclude each other.
    """
    asked = tuple(wanted)
    for parameter in asked:
        if parameter.key == "amd_iommu" and "on" in (parameter.value or "").split(","):
            raise ParameterConflict(
                "parameter_does_not_exist",
                read="amd_iommu=on",
                want="a parameter that the kernel knows; an AMD IOMMU is on unless switched off",
                remedy="leave amd_iommu=on out; iommu=pt alone is enough on AMD",
            )
    holding = effect(asked)
    for parameter in asked:
        if not in_force((parameter,), CommandLine(asked)):
            other = next(
                defeater
                for setting in settings_of(parameter)
                if (defeater := _defeater(setting, holding)) is not None
            )
            raise ParameterConflict(
                "parameters_contradict",
                read=f"{parameter.text} beside another that sets {other.key} to {other.value}",
                want="parameters that can all hold at once",
                remedy="leave one of the two out",
            )


def find_conflicts(
    wanted: Iterable[Parameter],
    configured: Iterable[tuple[Parameter, str]],
    *,
    vendor: str | None = None,
) -> tuple[Conflict, ...]:
    """Return the configured parameters that contradict the wanted ones.

    Args:
        wanted: what is to hold; it will come after everything configured.
        configured: the other parameters in the order of the command line, each with the name of
            the file that it comes from.
        vendor: as for ``in_force``.
    """
    asked = tuple(wanted)
    conflicts = []
    for parameter, source in configured:
        for target in asked:
            if in_force((target,), CommandLine((target, parameter)), vendor=vendor):
                continue
            resolved = in_force((target,), CommandLine((parameter, *asked)), vendor=vendor)
            conflicts.append(Conflict(parameter.text, target.text, source, resolved))
    return tuple(conflicts)


def refuse_unresolved(conflicts: Iterable[Conflict]) -> None:
    """Refuse where a conflict cannot be resolved by coming later.

    Raises:
        ParameterConflict: names each sticky parameter and the file that it comes from.
    """
    sticky = [conflict for conflict in conflicts if not conflict.resolved]
    if not sticky:
        return
    places = "; ".join(dict.fromkeys(f"{item.parameter} in {item.source}" for item in sticky))
    names = ", ".join(dict.fromkeys(item.wanted for item in sticky))
    raise ParameterConflict(
        "parameter_sticky",
        read=places,
        want=f"{names} to take effect; nothing that comes later can undo what was read",
        remedy="remove those parameters from the named files, then run again",
    )
