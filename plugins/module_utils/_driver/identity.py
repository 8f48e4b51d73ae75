# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which driver modules run, which would be loaded next, and whether they are the same build."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from .._host.commands import CommandMissing, run
from .._host.files import read_bytes, read_text
from . import modprobe_options
from .elf import build_id_in_notes, build_id_of, modinfo_of, module_bytes

#: Modules of one driver build, in the order in which they are loaded.
DRIVER_MODULES = ("nvidia", "nvidia-uvm", "nvidia-modeset", "nvidia-drm", "nvidia-peermem")


@dataclass(frozen=True)
class LoadedModule:
    """A module in the running kernel; build_id None where the kernel keeps no notes."""

    name: str
    version: str | None
    build_id: str | None


@dataclass(frozen=True)
class InstalledModule:
    """The module file that depmod's order resolves a name to; path is as the host sees it."""

    name: str
    path: str
    version: str | None
    build_id: str | None
    signer: str | None

    def as_dict(self) -> dict[str, str | None]:
        """Return the fields as plain data for a module's result."""
        return {
            "name": self.name,
            "path": self.path,
            "version": self.version,
            "build_id": self.build_id,
            "signer": self.signer,
        }


def loaded_module(root: Path, name: str) -> LoadedModule | None:
    """Return the running module called ``name``, or None where it is not loaded.

    Reads /sys/module/NAME below ``root``; the kernel spells names with underscores.
    """
    directory = root / "sys/module" / name.replace("-", "_")
    # A built-in driver has a directory too, but no initstate.
    if read_text(directory / "initstate") is None and read_bytes(_notes(directory)) is None:
        return None
    version = read_text(directory / "version")
    notes = read_bytes(_notes(directory))
    return LoadedModule(
        name=name,
        version=version.strip() if version else None,
        build_id=build_id_in_notes(notes) if notes else None,
    )


def installed_module(root: Path, kernel: str, name: str) -> InstalledModule | None:
    """Return what modprobe would load as ``name`` under ``kernel``, or None where nothing is.

    The path comes from ``modinfo -n``, so depmod's search order (updates before the rest) is the
    host's own. A built-in module is no file and yields None, as does a host without kmod.

    Raises:
        ModuleUnreadable: the resolved file is damaged.
    """
    path = resolved_path(root, kernel, name)
    if path is None or read_bytes(path) is None:
        return None
    return module_at(root, path, name)


def module_at(root: Path, path: Path, name: str) -> InstalledModule:
    """Return the identity of the module file ``path`` (which lies below ``root``).

    Raises:
        OSError: the file cannot be read.
        ModuleUnreadable: the file is damaged.
    """
    image = module_bytes(path)
    return InstalledModule(
        name=name,
        path="/" + str(path.relative_to(root)),
        version=modinfo_of(image, str(path)).get("version"),
        build_id=build_id_of(image, str(path)),
        signer=signer_of(path),
    )


def resolved_path(root: Path, kernel: str, name: str) -> Path | None:
    """Return the file (below ``root``) that depmod's order resolves ``name`` to, or None."""
    words = ["modinfo", "-b", str(root), "-k", kernel, "-n", name]
    try:
        result = run(words, check=False)
    except CommandMissing:
        return None
    answer = result.stdout.strip()
    if result.rc != 0 or not answer.startswith("/"):
        return None
    # With "-b /" modinfo answers "//lib/…", which pathlib keeps as a different root.
    return Path("/" + answer.lstrip("/"))


def signer_of(path: Path) -> str | None:
    """Return the common name of the key that signed a module file, None where it is unsigned."""
    return run(["modinfo", "-F", "signer", str(path)], check=False).stdout.strip() or None


def modprobe_override(root: Path, kernel: str, name: str) -> str | None:
    """Return what modprobe.d makes ``modprobe NAME`` do instead of loading that module, or None.

    Debian's own packages carry an ``install`` line for nvidia, which bypasses a plain nvidia.ko
    whatever depmod resolves; an ``alias`` line has the same effect.
    """
    return parse_override(show_depends(root, kernel, name), name)


def show_depends(root: Path, kernel: str, name: str) -> str:
    """Return what modprobe would do for a module, in its words; empty where it would fail."""
    words = ["modprobe", "-d", str(root), "-S", kernel, "--show-depends", name]
    # -d moves the modules only; the configuration directories have to be named.
    for directory in modprobe_options.DIRECTORIES:
        if (root / directory).is_dir():
            words += ["-C", str(root / directory)]
    try:
        result = run(words, check=False)
    except CommandMissing:
        return ""
    return result.stdout


def parse_override(said: str, name: str) -> str | None:
    """Return the last line of ``modprobe --show-depends NAME`` where no line loads that module.

    None where one does (others load what it depends on, before and after it), and for no line.
    """
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    if not lines or modprobe_options.loading_line(lines, name) is not None:
        return None
    return lines[-1]


def _notes(directory: Path) -> Path:
    return directory / "notes/.note.gnu.build-id"
