# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The PCI tree is read as sysfs shows it: links, bridges, BARs, payloads."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.gpufleet.p2p.plugins.module_utils._host import pci
from ansible_collections.gpufleet.p2p.plugins.module_utils._host.acs import read_acs
from ansible_collections.gpufleet.p2p.plugins.module_utils._host.iommu import IommuGroup, group_of
from ansible_collections.gpufleet.p2p.plugins.module_utils._host.pci import Link
from hypothesis import given
from hypothesis import strategies as st
from support.host_tree import build_host_tree

HOST = {
    "name": "alpha",
    "driver": {"version": "595.58.03"},
    "link_payload_bytes": 256,
    "ports": [
        {"id": "rp0", "kind": "root_port", "gen": 5, "width": 8, "numa_node": 0, "acs": True},
        {"id": "rp1", "kind": "root_port", "gen": 4, "width": 16, "numa_node": 1, "acs": False},
        {
            "id": "sw0",
            "kind": "switch",
            "parent": "rp1",
            "gen": 4,
            "width": 4,
            "downstream": ["sw0d0", "sw0d1"],
            "acs": True,
        },
    ],
    "gpus": [
        {"port": port, "gen": 5, "width": 16, "numa_node": None, "bar1_bytes": 32 << 30}
        for port in ("rp0", "sw0d0", "sw0d1")
    ],
}


@pytest.mark.parametrize(
    ("text", "generation"),
    [
        ("2.5 GT/s PCIe", 1),
        ("5.0 GT/s PCIe", 2),
        ("8.0 GT/s PCIe\n", 3),
        ("16.0 GT/s PCIe", 4),
        ("32.0 GT/s PCIe", 5),
        ("64.0 GT/s PCIe", 6),
        ("8 GT/s", 3),  # before Linux 5.3
        ("Unknown", None),
        ("Unknown speed", None),
        ("", None),
        (None, None),
    ],
)
def test_speed_text_names_the_generation(text: str | None, generation: int | None) -> None:
    assert pci.link_generation(text) == generation


@pytest.mark.parametrize(
    ("text", "width"),
    [("16", 16), ("1\n", 1), ("0", None), ("255", None), ("x", None), (None, None)],
)
def test_width_text_names_the_lanes(text: str | None, width: int | None) -> None:
    assert pci.link_width(text) == width


@given(st.text())
def test_any_link_text_is_a_generation_and_lanes_or_unknown(text: str) -> None:
    assert pci.link_generation(text) in (None, 1, 2, 3, 4, 5, 6, 7)
    width = pci.link_width(text)
    assert width is None or width > 0


@given(st.integers(1, 7), st.text(alphabet=" PCIe\n", max_size=6))
def test_every_generation_is_read_whatever_follows_its_rate(generation: int, rest: str) -> None:
    rate = (2.5, 5, 8, 16, 32, 64, 128)[generation - 1]
    assert pci.link_generation(f"{rate:.1f} GT/s {rest}") == generation
    assert pci.link_generation(f"{rate:g} GT/s {rest}") == generation


BARS = st.lists(
    st.tuples(st.integers(0, 1 << 48), st.integers(4, 40), st.booleans()), min_size=6, max_size=6
)


@given(BARS, st.text())
def test_bars_are_those_that_decode_memory(bars: list[tuple[int, int, bool]], rest: str) -> None:
    lines = [
        f"0x{start:016x} 0x{start + (1 << bits) - 1:016x} 0x{0x200 if memory else 0x100:016x}"
        for start, bits, memory in bars
    ]
    sizes = tuple(1 << bits for _start, bits, memory in bars if memory)
    assert pci.memory_bar_bytes("\n".join(lines)) == sizes
    # What follows the six registers (the expansion ROM, bridge windows) does not count.
    assert pci.memory_bar_bytes("\n".join([*lines, rest])) == sizes


@given(st.text())
def test_any_text_of_resources_gives_sizes_or_none(text: str) -> None:
    assert all(size > 0 for size in pci.memory_bar_bytes(text))


def test_bars_of_a_recorded_rtx_4090() -> None:
    # BAR0 registers 16 MiB, BAR1 and BAR3 64-bit prefetchable, BAR5 I/O ports, then the ROM.
    resource = """\
0x00000000f6000000 0x00000000f6ffffff 0x0000000000040200
0x0000006000000000 0x00000067ffffffff 0x000000000014220c
0x0000000000000000 0x0000000000000000 0x0000000000000000
0x0000006800000000 0x0000006801ffffff 0x000000000014220c
0x0000000000000000 0x0000000000000000 0x0000000000000000
0x000000000000e000 0x000000000000e07f 0x0000000000040101
0x00000000f7000000 0x00000000f707ffff 0x0000000000046200
"""
    assert pci.memory_bar_bytes(resource) == (16 << 20, 32 << 30, 32 << 20)


def test_unassigned_bar_does_not_count() -> None:
    # "can't assign; no space": IORESOURCE_UNSET, and the start is zero.
    unset = "0x0000000000000000 0x00000007ffffffff 0x000000002014220c\n"
    assert pci.memory_bar_bytes(unset) == ()


def test_tree_has_links_bridges_and_payload(tmp_path: Path) -> None:
    tree = build_host_tree(tmp_path, HOST, acs_redirect=True)
    devices = pci.read_devices(tmp_path)
    first, second, _ = (devices[bdf] for bdf in tree.gpus)
    assert first.link == Link(5, 8)  # of a x16 card in a x8 slot
    assert first.bar_bytes == (32 << 30,)
    assert first.max_payload == 256
    assert first.numa_node is None
    assert not first.is_bridge
    assert [bridge.bdf for bridge in pci.ancestors(devices, first.bdf)] == [tree.ports["rp0"]]
    above = pci.ancestors(devices, second.bdf)
    assert above[0].bdf == tree.ports["sw0d0"]
    assert above[-1].bdf == tree.ports["rp1"]
    assert len(above) == 3
    assert all(bridge.is_bridge for bridge in above)
    assert above[-1].numa_node == 1
    assert above[-1].parent is None


def test_device_without_link_attributes_has_its_ports(tmp_path: Path) -> None:
    tree = build_host_tree(tmp_path, HOST)
    device = tmp_path / "sys/bus/pci/devices" / tree.gpus[0]
    for name in ("current_link_speed", "current_link_width", "max_link_speed", "max_link_width"):
        (device / name).unlink()
    read = pci.read_devices(tmp_path)[tree.gpus[0]]
    assert read.link == read.max_link == Link(5, 8)


def test_half_read_link_is_not_replaced_by_the_ports(tmp_path: Path) -> None:
    tree = build_host_tree(tmp_path, HOST)
    device = tmp_path / "sys/bus/pci/devices" / tree.gpus[0]
    (device / "current_link_speed").write_text("Unknown\n")
    assert pci.read_devices(tmp_path)[tree.gpus[0]].link == Link(None, 8)


def test_driver_is_the_links_name(tmp_path: Path) -> None:
    tree = build_host_tree(tmp_path, HOST)
    driver = tmp_path / "sys/bus/pci/drivers/nvidia"
    driver.mkdir(parents=True)
    (tmp_path / "sys/bus/pci/devices" / tree.gpus[1] / "driver").symlink_to(driver)
    devices = pci.read_devices(tmp_path)
    assert [devices[bdf].driver for bdf in tree.gpus] == [None, "nvidia", None]


def test_host_without_pci_has_no_devices(tmp_path: Path) -> None:
    assert pci.read_devices(tmp_path) == {}
    assert pci.ancestors({}, "0000:01:00.0") == ()


def test_patterns_choose_gpus(tmp_path: Path) -> None:
    build_host_tree(tmp_path, HOST, vendor="10de", device="2684", pci_class="030000")
    devices = pci.read_devices(tmp_path)

    def count(*patterns: str) -> int:
        return sum(pci.matches(device, patterns) for device in devices.values())

    assert count(*pci.DEFAULT_GPU_MATCH) == 3
    assert count("10DE:2684:0302") == 0
    assert count("1b36:*:*", "10de:2684:03") == len(devices)


@pytest.mark.parametrize("pattern", ["10de", "10de:*", "10de:*:03:00", "nvidia:*:*", "10de::03"])
def test_malformed_patterns_are_refused(tmp_path: Path, pattern: str) -> None:
    build_host_tree(tmp_path, HOST)
    device = next(iter(pci.read_devices(tmp_path).values()))
    with pytest.raises(pci.PciPatternInvalid, match="p2p_gpu_match"):
        pci.matches(device, [pattern])


@pytest.mark.parametrize("kind", ["identity", "DMA", "DMA-FQ"])
def test_group_has_number_and_type(tmp_path: Path, kind: str) -> None:
    tree = build_host_tree(tmp_path, HOST, iommu=kind)
    assert group_of(tmp_path, tree.gpus[2]) == IommuGroup(2, kind)


def test_other_group_types_are_unknown(tmp_path: Path) -> None:
    tree = build_host_tree(tmp_path, HOST, iommu="blocked")
    assert group_of(tmp_path, tree.gpus[0]) == IommuGroup(0, "unknown")


def test_no_iommu_no_group(tmp_path: Path) -> None:
    tree = build_host_tree(tmp_path, HOST, iommu=None)
    assert group_of(tmp_path, tree.gpus[0]) is None


def test_acs_is_read_from_the_bridge(tmp_path: Path) -> None:
    tree = build_host_tree(tmp_path, HOST, acs_redirect=True)
    assert read_acs(tmp_path, tree.ports["rp0"]).redirect == ("RR", "CR")
    assert not read_acs(tmp_path, tree.ports["rp1"]).present
    assert not read_acs(tmp_path, "0000:ff:00.0").readable
