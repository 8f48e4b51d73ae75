# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a GPU shows is read from sysfs and from the map of memory."""

from __future__ import annotations

from pathlib import Path

from ansible_collections.gpufleet.p2p.plugins.module_utils._host.console import (
    Console,
    firmware_framebuffers,
    read_console,
)
from hypothesis import given
from hypothesis import strategies as st

GPU = "0000:01:00.0"
IOMEM = """\
00000000-00000fff : Reserved
c0000000-d1ffffff : PCI Bus 0000:00
  c0000000-d1ffffff : PCI Bus 0000:01
    c0000000-cfffffff : 0000:01:00.0
      c0000000-c02fffff : BOOTFB
    d0000000-d1ffffff : 0000:01:00.0
    d2000000-d2003fff : 0000:01:00.1
      d2000000-d2003fff : ICH HD audio
e0000000-e0ffffff : 0000:02:00.0
  e0000000-e02fffff : simplefb
f0000000-f0000fff : efifb
"""


def write(path: Path, text: str = "") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_everything_a_gpu_shows(tmp_path: Path) -> None:
    device = tmp_path / "sys/bus/pci/devices" / GPU
    write(device / "boot_vga", "1\n")
    write(device / "graphics/fb0/name", "EFI VGA\n")
    write(device / "drm/card1/card1-HDMI-A-1/status", "connected\n")
    write(device / "drm/card1/card1-DP-1/status", "disconnected\n")
    write(device / "drm/renderD128/dev", "226:128\n")
    write(tmp_path / "proc/iomem", IOMEM)
    assert read_console(tmp_path, GPU) == Console(
        boot_vga=True,
        framebuffers=("fb0 (EFI VGA)", "BOOTFB in /proc/iomem"),
        connectors=("card1-HDMI-A-1",),
    )


def test_a_gpu_that_shows_nothing(tmp_path: Path) -> None:
    write(tmp_path / "sys/bus/pci/devices" / GPU / "boot_vga", "0\n")
    assert read_console(tmp_path, GPU) == Console()
    assert read_console(tmp_path / "nowhere", GPU) == Console()


def test_framebuffers_belong_to_the_function_they_lie_in() -> None:
    assert firmware_framebuffers(IOMEM) == {
        "0000:01:00.0": ("BOOTFB in /proc/iomem",),
        "0000:02:00.0": ("simplefb in /proc/iomem",),
    }


NAMES = st.sampled_from(["0000:01:00.0", "PCI Bus 0000:01", "BOOTFB", "efifb", "nvidia", ""])


@given(st.lists(st.tuples(st.integers(0, 6), NAMES)))
def test_any_map_gives_framebuffers_of_functions_above_them(lines: list[tuple[int, str]]) -> None:
    text = "\n".join(f"{'  ' * depth}0-f : {name}" for depth, name in lines)
    for owner, found in firmware_framebuffers(text).items():
        assert owner == "0000:01:00.0"
        assert len(found) <= sum(name in ("BOOTFB", "efifb") for _depth, name in lines)


@given(st.text())
def test_any_text_is_a_map(text: str) -> None:
    firmware_framebuffers(text)
