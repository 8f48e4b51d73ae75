# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The running driver exchanged for the installed one without a reboot, where nothing uses it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from .._host.commands import CommandFailed, run
from .._host.errors import GpufleetError
from .._host.files import read_text
from .._host.foreign_text import decimal
from .._host.services import stopped, unit_of
from .identity import InstalledModule, LoadedModule, installed_module, loaded_module
from .registry_in_force import not_in_force, running_parameters

#: Users before the used. The kernel spells module names with underscores.
UNLOAD_ORDER = ("nvidia_drm", "nvidia_modeset", "nvidia_uvm", "nvidia_peermem", "nvidia")

_UNLOAD_SECONDS = 60.0
_LOAD_SECONDS = 300.0
_PANIC = "proc/sys/kernel/panic"
_PANIC_SECONDS = 30


class SwapRefused(GpufleetError):
    """The running driver was not exchanged."""


@dataclass(frozen=True)
class ModuleIdentity:
    """A module as it runs and as it is installed; either may be missing.

    ``differences`` says which of the registry keys asked for the running one does not have.
    """

    loaded: LoadedModule | None
    installed: InstalledModule | None
    differences: tuple[str, ...] = ()

    def matches(self, expected: str | None) -> bool:
        """Whether the running build is the installed one, and ``expected`` where that is given.

        Loaded with other registry keys than those asked for, it is not.
        """
        if (
            self.differences
            or self.loaded is None
            or self.installed is None
            or self.loaded.build_id is None
        ):
            return False
        if expected is not None and self.loaded.build_id != expected:
            return False
        return self.loaded.build_id == self.installed.build_id


@dataclass(frozen=True)
class Holder:
    """A process that has a file of the driver open, and systemd's unit that it belongs to."""

    pid: int
    name: str
    unit: str | None = None

    def __str__(self) -> str:
        return f"{self.name} ({self.pid})"


def identify(
    root: Path, kernel: str, name: str, registry: Mapping[str, int] | None = None
) -> ModuleIdentity:
    """Return the running and the installed module of that name.

    Args:
        registry: keys, as numbers, that the running driver should have been loaded with.

    Raises:
        ModuleUnreadable: the installed file is damaged.
    """
    running = running_parameters(root)
    return ModuleIdentity(
        loaded_module(root, name),
        installed_module(root, kernel, name),
        not_in_force(registry or {}, running) if running is not None else (),
    )


def loaded_driver(root: Path) -> tuple[str, ...]:
    """Return the driver's modules that are loaded, in the order of unloading."""
    return tuple(name for name in UNLOAD_ORDER if loaded_module(root, name) is not None)


def holders(root: Path = Path("/")) -> tuple[Holder, ...]:
    """Return the processes that have /dev/nvidia* or a file below /proc/driver/nvidia open."""
    found = []
    for process in sorted((root / "proc").glob("[0-9]*"), key=lambda path: int(path.name)):
        if any(_is_driver_file(link) for link in _open_files(process)):
            name = (read_text(process / "comm") or "?").strip()
            pid = int(process.name)
            found.append(Holder(pid, name, unit_of(root, pid)))
    return tuple(found)


def foreign_users(root: Path, loaded: Sequence[str]) -> tuple[str, ...]:
    """Return kernel modules other than the driver's own that use one of the loaded modules."""
    users: set[str] = set()
    for name in loaded:
        users |= {path.name for path in (root / "sys/module" / name / "holders").glob("*")}
    return tuple(sorted(users - set(UNLOAD_ORDER)))


def held_references(root: Path, loaded: Sequence[str]) -> tuple[str, ...]:
    """Return the modules that something inside the kernel holds, such as a console or a display.

    A module's refcnt counts one for each module that depends on it; more are other holders.
    """
    held = []
    for name in loaded:
        directory = root / "sys/module" / name
        count = (read_text(directory / "refcnt") or "0").strip()
        dependents = len(list((directory / "holders").glob("*")))
        if (decimal(count) or 0) > dependents:
            held.append(name)
    return tuple(held)


def require_swappable(
    root: Path, kernel: str, name: str, expected: str | None, stop: Sequence[str] = ()
) -> InstalledModule:
    """Return the installed module that a swap would load.

    Args:
        stop: full names of units whose processes do not count, since they will be stopped.

    Raises:
        SwapRefused: the new build is not in place, or processes or the kernel hold the old one.
        ModuleUnreadable: the installed file is damaged.
    """
    installed = installed_module(root, kernel, name)
    if installed is None or (expected is not None and installed.build_id != expected):
        raise SwapRefused(
            "new_build_not_in_place",
            read=f"installed for {kernel}: {installed.build_id if installed else 'no ' + name}",
            want=f"build-id {expected or 'of any installed build'}",
            remedy="install the build first; the running driver was not touched",
        )
    loaded = loaded_driver(root)
    found = holders(root)
    using = [str(holder) for holder in found if holder.unit not in stop]
    using += [f"kernel module {user}" for user in foreign_users(root, loaded)]
    if not found and not using:
        # An open file counts as a reference too; only what no process explains is the kernel's.
        using = [f"the kernel, through {module}" for module in held_references(root, loaded)]
    if using:
        raise SwapRefused(
            "driver_in_use",
            read=f"in use by {', '.join(using)}",
            want="no process, console or other kernel module that uses the driver",
            remedy="stop them (services of their own: p2p_swap_stop), or reboot instead",
        )
    return installed


def swap(
    root: Path, kernel: str, name: str, expected: str | None, stop: Sequence[str] = ()
) -> tuple[str, ...]:
    """Unload the running driver and load the installed one; the same set of modules runs after.

    Args:
        stop: full names of units that are stopped for it and started again, if they run. None is
            stopped where somebody else holds the driver anyway.

    Returns:
        the units that were stopped and started again.

    Raises:
        SwapRefused: as require_swappable; or a module does not unload, or the new one does not load
            or is another build.
        ServiceRefused: a unit did not stop, or not start again.
    """
    require_swappable(root, kernel, name, expected, stop)
    with stopped(stop, root) as units:
        # Asked again: now without those units, and a new process may have come.
        installed = require_swappable(root, kernel, name, expected)
        with restarting_on_panic(root):
            _exchange(root, name, installed)
    return units


@contextmanager
def restarting_on_panic(root: Path) -> Iterator[None]:
    """Have the host restart by itself where the kernel panics inside the block.

    By default a kernel that panics stands still (/proc/sys/kernel/panic is 0). What else is set
    there is the operator's.

    Raises:
        OSError: the kernel did not take the setting.
    """
    setting = root / _PANIC
    if (read_text(setting) or "").strip() != "0":
        yield
        return
    setting.write_text(f"{_PANIC_SECONDS}\n")
    try:
        yield
    finally:
        setting.write_text("0\n")


def _exchange(root: Path, name: str, installed: InstalledModule) -> None:
    before = loaded_driver(root)
    for index, module in enumerate(before):
        try:
            run(["rmmod", module], timeout=_UNLOAD_SECONDS)
        except CommandFailed as error:
            # Loading those already gone again would mix the new build with the old one.
            gone = ", ".join(before[:index]) or "none"
            raise SwapRefused(
                "module_not_unloaded",
                read=f"{error.read}; unloaded before it: {gone}",
                want=f"{module} to unload",
                remedy="reboot; the new build is installed and will be loaded then",
            ) from error
    # A host that had none loaded gets the module asked for, which brings what it depends on.
    _load(tuple(reversed(before)) or (name,))
    running = loaded_module(root, name)
    if running is None or running.build_id != installed.build_id:
        raise SwapRefused(
            "wrong_module_loaded",
            read=f"running: {running.build_id if running else 'no ' + name}",
            want=f"{installed.path}, build-id {installed.build_id}",
            remedy="look for modprobe.d lines and a second driver package, or reboot",
        )


def _load(modules: Sequence[str]) -> None:
    for module in modules:
        try:
            run(["modprobe", module], timeout=_LOAD_SECONDS)
        except CommandFailed as error:
            raise SwapRefused(
                "module_not_loaded",
                read=error.read,
                want=f"{module} to load",
                remedy="read the kernel log (dmesg), then reboot",
            ) from error


def _open_files(process: Path) -> list[str]:
    links = []
    try:
        for descriptor in (process / "fd").iterdir():
            links.append(str(descriptor.readlink()))
    except OSError:
        # The process ended meanwhile, or is a kernel thread.
        return links
    return links


def _is_driver_file(link: str) -> bool:
    return link.startswith(("/dev/nvidia", "/proc/driver/nvidia"))
