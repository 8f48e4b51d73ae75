# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The registry keys on a host: our file of modprobe.d, its copy in the initramfs, what is in force.

A driver that runs has the keys that it was loaded with; others come into force when it is loaded
next.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from .._host.errors import GpufleetError
from .._host.files import FileChange, read_bytes
from .dkms import DkmsTrees
from .elf import modinfo_of, module_bytes, parameters_of
from .identity import resolved_path, show_depends
from .initramfs import STATE_DIRECTORY, Initramfs, contents, refresh
from .modprobe_options import (
    MODULE,
    OPTIONS_FILE,
    foreign_settings,
    parse_configuration,
    passed_options,
    split_options,
)
from .registry import DWORDS, PREFIX, canonical, module_parameters
from .registry_in_force import keys_in_force, not_in_force, parse_dwords, running_parameters
from .registry_merge import HEADER, RegistryRefused, merged

# The largest number of each type that the kernel parses without refusing to load the module.
_LARGEST = {"int": 0x7FFFFFFF, "uint": 0xFFFFFFFF, "long": (1 << 63) - 1, "ulong": (1 << 64) - 1}
_TEXT = "charp"


@dataclass(frozen=True)
class Place:
    """A host, the kernel whose module takes the keys, and the DKMS package of the driver.

    ``version`` is the release that the keys are for; None: of any module that is there.
    """

    kernel: str
    package: str
    version: str | None = None
    root: Path = Path("/")

    @property
    def file(self) -> Path:
        """Our file of modprobe.d."""
        return self.root / str(OPTIONS_FILE).lstrip("/")


@dataclass(frozen=True)
class Outcome:
    """What was done, or in check mode would be, and what the running driver has of it.

    Attributes:
        actions: the plan's steps in words; empty: nothing to do.
        parameters: the module's parameters as our file sets them.
        differences: which keys the running driver has not, in words; None: it is not loaded.
        reload_required: whether the running driver has to be loaded anew.
        diff: Ansible's diff record.
    """

    actions: tuple[str, ...]
    parameters: Mapping[str, str]
    differences: tuple[str, ...] | None
    reload_required: bool
    diff: tuple[dict[str, str], ...]


def set_keys(place: Place, numbers: Mapping[str, int], *, check: bool) -> Outcome:
    """Have the nvidia module loaded with these keys; with none, as if nobody had asked for any.

    Raises:
        RegistryRefused: others set the keys otherwise, the module does not know a parameter, or
            modprobe would not pass them; our file is as it was.
        InitramfsRefused: an image could not be brought in line; our file is as it was.
    """
    before = read_bytes(place.file)
    if before is not None and not before.startswith(HEADER.encode()):
        raise RegistryRefused(
            "registry_file_foreign",
            read=f"{place.file}: not written by gpufleet",
            want="no file of that name but ours",
            remedy="move what it says to a file of another name",
        )
    wanted = merged(numbers, foreign_settings(place.root)) if numbers else None
    after = wanted.as_file() if wanted else None
    if numbers:
        _require_known(place, module_parameters(numbers))
    change = FileChange(place.file, before, after)
    stale = [image for image in _images(place) if _differs(image, after)]
    actions = [f"{'write' if after else 'remove'} {OPTIONS_FILE}"] if change.is_change else []
    actions += [f"refresh {image.image}" for image in stale]
    if actions and not check:
        try:
            change.apply()
            _require_passed(place, numbers)
            for image in stale:
                refresh(image)
        except (GpufleetError, OSError):
            FileChange(place.file, after, before).apply()
            raise
    running = running_parameters(place.root)
    differences = None if running is None else not_in_force(numbers, running)
    left_over = running is not None and bool(_left_over(before, after, running))
    return Outcome(
        tuple(actions),
        wanted.parameters if wanted else {},
        differences,
        reload_required=bool(differences) or left_over,
        diff=(change.as_diff(),) if change.is_change else (),
    )


def parameters_in_file(content: bytes | None) -> dict[str, str]:
    """Return the parameters of the module that a file such as ours sets."""
    text = (content or b"").decode("utf-8", "backslashreplace")
    found: dict[str, str] = {}
    for directive in parse_configuration(text):
        module, _blank, options = directive.rest.partition(" ")
        if directive.command == "options" and module == MODULE:
            found.update(split_options(options))
    return found


def _require_known(place: Place, parameters: Mapping[str, str]) -> None:
    """Refuse parameters that the installed module does not have: the kernel passes them over.

    A module of another release is not asked: ours is not installed yet.
    """
    path = resolved_path(place.root, place.kernel, MODULE)
    if path is None or not path.is_file():
        return
    image = module_bytes(path)
    if place.version not in (None, modinfo_of(image, str(path)).get("version")):
        return
    known = parameters_of(image, str(path))
    for name, value in parameters.items():
        kind = known.get(name)
        if name == DWORDS:
            fits = kind == _TEXT
        else:
            fits = kind in _LARGEST and int(value) <= _LARGEST[str(kind)]
        if not fits:
            raise RegistryRefused(
                "registry_parameter_unknown",
                read=f"{path}: {name} of type {kind}" if kind else f"{path}: no parameter {name}",
                want=f"a parameter that takes {value}",
                remedy="see modinfo -p nvidia for what the driver knows, and correct"
                " p2p_driver.registry; keys of the resource manager have no NVreg_ before them",
            )


def _require_passed(place: Place, numbers: Mapping[str, int]) -> None:
    """Refuse where modprobe, by its own word, would not pass the keys that were written.

    Without an installed module there is nothing that it could be asked about.
    """
    said = show_depends(place.root, place.kernel, MODULE)
    if not numbers or not said.strip():
        return
    passed = passed_options(said)
    if passed is None:
        lost: tuple[str, ...] = ("another module is loaded in its place",)
    else:
        named = {name[len(PREFIX) :]: v for name, v in passed.items() if name.startswith(PREFIX)}
        unset = [name for name in module_parameters(numbers) if name not in passed]
        lost = (*(f"{name} is not passed" for name in unset), *not_in_force(numbers, named))
    if lost:
        raise RegistryRefused(
            "registry_not_effective",
            read=f"modprobe --show-depends {MODULE}: {'; '.join(lost)}",
            want=" ".join(f"{key}={value}" for key, value in numbers.items()),
            remedy=f"look for what overrides {OPTIONS_FILE} in modprobe.d and /proc/cmdline",
        )


def _images(place: Place) -> list[Initramfs]:
    """Return the images of the kernels that have our driver, or whose image we have changed."""
    trees = DkmsTrees(state=place.root / "var/lib/dkms")
    state = place.root / str(STATE_DIRECTORY).lstrip("/")
    prefix = "initramfs-"
    # .../NAME/VERSION/KERNEL/ARCH
    kernels = {
        link.resolve().parent.name for link in (trees.state / place.package).glob("kernel-*")
    }
    kernels |= {path.stem[len(prefix) :] for path in state.glob(f"{prefix}*.json")}
    return [Initramfs(kernel, place.root / "boot", state, place.root) for kernel in sorted(kernels)]


def _differs(image: Initramfs, options: bytes | None) -> bool:
    """Whether the image loads the driver with other options than these."""
    if not image.image.is_file():
        return False
    held = contents(image.image)
    return bool(held.builds) and held.options != options


def _left_over(
    before: bytes | None, after: bytes | None, running: Mapping[str, str]
) -> tuple[str, ...]:
    """Return what the running driver still has of what our file said and does not say any more."""
    was, now = parameters_in_file(before), parameters_in_file(after)
    gone = {
        name: value
        for name, value in was.items()
        if name not in now and name != DWORDS and running.get(name[len(PREFIX) :]) == value
    }
    kept = {canonical(key) for key, _value in parse_dwords(now.get(DWORDS, ""))}
    in_force = {canonical(key) for key in keys_in_force(running)}
    keys = [key for key, _value in parse_dwords(was.get(DWORDS, ""))]
    return (*gone, *(key for key in keys if canonical(key) in in_force - kept))
