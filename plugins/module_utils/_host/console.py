# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a GPU shows something: the firmware's display, a framebuffer in its memory, a monitor.

A console takes a part of BAR1, and a peer's accesses to the rest may then go astray.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from .files import read_text

_BDF = re.compile(r"[0-9a-f]{4,8}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]")
_RANGE = re.compile(r"( *)[0-9a-f]+-[0-9a-f]+ : (.+)")
# Names of ranges that the firmware's framebuffer has in /proc/iomem: of drivers/firmware/sysfb.c,
# efifb, vesafb and simplefb.
_FIRMWARE_FRAMEBUFFERS = frozenset({"BOOTFB", "efifb", "vesafb", "simplefb", "simple-framebuffer"})


@dataclass(frozen=True)
class Console:
    """What one GPU shows.

    Attributes:
        boot_vga: it is the display that the firmware chose, whether or not it is used.
        framebuffers: the console's framebuffers in its memory, such as ``fb0 (EFI VGA)``.
        connectors: outputs with a monitor, such as ``card1-HDMI-A-1``.
    """

    boot_vga: bool = False
    framebuffers: tuple[str, ...] = ()
    connectors: tuple[str, ...] = ()


def read_console(root: Path, bdf: str) -> Console:
    """Return what the GPU at ``bdf`` shows, as far as sysfs and /proc/iomem tell."""
    device = root / "sys/bus/pci/devices" / bdf
    drawn = [_framebuffer(path) for path in _entries(device / "graphics", "fb")]
    mapped = firmware_framebuffers(read_text(root / "proc/iomem") or "").get(bdf, ())
    return Console(
        boot_vga=(read_text(device / "boot_vga") or "").strip() == "1",
        framebuffers=(*drawn, *mapped),
        connectors=tuple(
            output.name
            for card in _entries(device / "drm", "card")
            for output in _entries(card, f"{card.name}-")
            if (read_text(output / "status") or "").strip() == "connected"
        ),
    )


def firmware_framebuffers(iomem: str) -> Mapping[str, tuple[str, ...]]:
    """Return the firmware's framebuffers by the PCI function whose memory they lie in.

    Lines of /proc/iomem are indented by how deep a range lies in others; ordinary users see
    zeros for the addresses, but the same names.
    """
    found: dict[str, tuple[str, ...]] = {}
    above: list[tuple[int, str]] = []
    for line in iomem.splitlines():
        match = _RANGE.fullmatch(line)
        if match is None:
            continue
        depth, name = len(match.group(1)), match.group(2).strip()
        above = [(other, title) for other, title in above if other < depth]
        if name in _FIRMWARE_FRAMEBUFFERS:
            owner = next((title for _depth, title in reversed(above) if _BDF.fullmatch(title)), "")
            if owner:
                found[owner] = (*found.get(owner, ()), f"{name} in /proc/iomem")
        above.append((depth, name))
    return found


def _framebuffer(path: Path) -> str:
    name = (read_text(path / "name") or "").strip()
    return f"{path.name} ({name})" if name else path.name


def _entries(directory: Path, prefix: str) -> list[Path]:
    try:
        return sorted(path for path in directory.iterdir() if path.name.startswith(prefix))
    except OSError:
        return []
