# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which installed kernel boots by default, and holding it to one that works.

Debian's GRUB boots the newest kernel. Where the driver could not be built for it, a drop-in of our
own sets GRUB_DEFAULT to the entry of the kernel that works, and grub.cfg is generated as for kernel
parameters: beside the live file, checked, renamed. Without the drop-in everything is as before.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator

from .._host.files import read_bytes
from . import grub_defaults, grub_environment, grub_script
from .grub_config import GRUB_CFG, GenerateConfig, read_grub_cfg
from .grub_debian import GRUBENV, GrubDebian
from .grub_script import Entry, GrubScriptError, Script
from .interface import BootConfigurationRefused, Step, WriteFile

# Sorts before zz-gpufleet.cfg: neither of the two touches the other's variables.
DROP_IN = grub_defaults.DIRECTORY / "zz-gpufleet-kernel.cfg"

_HEADER = """\
# Written by gpufleet: the driver could not be built for a newer kernel, so the host keeps booting
# the one that works. Taken away by gpufleet once the newer kernel has its driver.
"""
_KERNEL_FILE = re.compile(r"(?:^|/)(?:vmlinuz|vmlinux)-([^/]+)$")
_RECOVERY = "-recovery-"


def release_of(entry: Entry) -> str | None:
    """Return the release of the kernel that an entry boots, None where it boots none or many."""
    if entry.linux is None or len(entry.linux.words) < 2:
        return None
    match = _KERNEL_FILE.search(entry.linux.words[1].text)
    return match.group(1) if match else None


def selector_of(script: Script, release: str) -> str | None:
    """Return what GRUB_DEFAULT has to be for ``release`` to boot, or None where it has no entry.

    The entry is one that names the release in its id, in a submenu or not: the first entry's id is
    the same for whichever kernel is the newest, and would follow the next update.
    """
    for path in _paths(script.entries):
        entry = path[-1]
        if (
            release_of(entry) == release
            and release in entry.identity
            and _RECOVERY not in entry.identity
        ):
            return ">".join(step.identity.replace(">", ">>") for step in path)
    return None


def drop_in_text(selector: str) -> str:
    """Return the drop-in that makes ``selector`` the default entry."""
    return f"{_HEADER}GRUB_DEFAULT={shlex.quote(selector)}\n"


class KernelDefault:
    """The kernel that a host with Debian's GRUB boots by default."""

    def __init__(self, loader: GrubDebian) -> None:
        self._loader = loader
        self._root = loader.root

    def pinned(self) -> bool:
        """Return whether our drop-in holds the default."""
        return (self._root / DROP_IN).is_file()

    def present(self) -> str | None:
        """Return the release that boots by default now.

        Raises:
            BootConfigurationRefused, GrubScriptError: grub.cfg does not tell.
        """
        script = self._script()
        return self._selected(script, grub_script.default_selector(script, self._saved()))

    def unpinned(self) -> str | None:
        """Return the release that would boot by default without our drop-in.

        Raises:
            BootConfigurationRefused, GrubScriptError: grub.cfg or /etc/default/grub do not tell.
        """
        paths = grub_defaults.files(self._root, without=self._root / DROP_IN)
        selector = grub_defaults.default_entry(paths) or "0"
        if selector == "saved":
            selector = self._saved() or "0"
        script = self._script()
        try:
            return self._selected(script, selector)
        except GrubScriptError:
            # GRUB itself takes the first entry where the default names none.
            return self._selected(script, "0")

    def steps_to_pin(self, release: str) -> list[Step]:
        """Return what makes ``release`` the default until it is unpinned; nothing where it is.

        Raises:
            BootConfigurationRefused: grub.cfg has no entry of that kernel.
        """
        selector = selector_of(self._script(), release)
        if selector is None:
            raise BootConfigurationRefused(
                "kernel_without_entry",
                read=f"no entry of kernel {release} in /{GRUB_CFG}",
                want="an entry that names the release, as 10_linux writes it",
                remedy="run update-grub; see that /etc/grub.d/10_linux is executable",
            )
        text = drop_in_text(selector).encode()
        before = read_bytes(self._root / DROP_IN)
        if before == text and self.present() == release:
            return []
        write = WriteFile(f"keep booting {release}", self._root / DROP_IN, before, text)
        return [write, self._generation(release)]

    def steps_to_unpin(self) -> list[Step]:
        """Return what gives the default back to the host's own configuration."""
        before = read_bytes(self._root / DROP_IN)
        if before is None:
            return [self._generation(None)] if self._holds_former_pin() else []
        removal = WriteFile("release the kernel", self._root / DROP_IN, before, None)
        return [removal, self._generation(None)]

    def _holds_former_pin(self) -> bool:
        """Whether an unpinning was killed before grub.cfg was generated."""
        if not (self._root / GRUB_CFG).is_file():
            return False
        script = self._script()
        selector = grub_script.default_selector(script, None)
        release = self._selected(script, selector)
        pin = release is not None and selector == selector_of(script, release)
        paths = grub_defaults.files(self._root)
        return pin and grub_defaults.default_entry(paths) != selector

    def _generation(self, release: str | None) -> GenerateConfig:
        own = self._loader.own_parameters() or ()
        return GenerateConfig(
            self._root,
            self._loader.tools,
            read_grub_cfg(self._root),
            tuple(parameter.text for parameter in own),
            own,
            self._loader.vendor,
            release,
        )

    def _script(self) -> Script:
        return grub_script.parse(read_grub_cfg(self._root).decode("utf-8", "surrogateescape"))

    def _saved(self) -> str | None:
        block = read_bytes(self._root / GRUBENV)
        if block is None or len(block) != grub_environment.BLOCK_BYTES:
            return None
        return grub_environment.parse(block).get("saved_entry")

    @staticmethod
    def _selected(script: Script, selector: str) -> str | None:
        return release_of(grub_script.find_entry(script, selector))


def _paths(
    entries: tuple[Entry, ...], above: tuple[Entry, ...] = ()
) -> Iterator[tuple[Entry, ...]]:
    """Yield each menu entry with the submenus above it, outermost first."""
    for entry in entries:
        path = (*above, entry)
        if entry.kind == "menuentry":
            yield path
        yield from _paths(entry.children, path)
