# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The path between two GPUs, on PCI trees made from host descriptions."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from ansible_collections.gpufleet.p2p.plugins.module_utils._gpu.nvml import NvLink, NvmlDevice
from ansible_collections.gpufleet.p2p.plugins.module_utils._host.acs import read_acs
from ansible_collections.gpufleet.p2p.plugins.module_utils._host.pci import Link, read_devices
from ansible_collections.gpufleet.p2p.plugins.module_utils._p2p.path import Path as PciePath
from ansible_collections.gpufleet.p2p.plugins.module_utils._p2p.path import (
    nvlinks_between,
    path_between,
)
from support.host_tree import HostTree, build_host_tree, load_description

GPU = {"bar1_bytes": 1 << 35, "gen": 5, "width": 16, "numa_node": 0}


def describe(ports: list[dict[str, object]], gpus: list[dict[str, object]]) -> dict[str, object]:
    return {
        "name": "trial",
        "driver": {"version": "595.58.03"},
        "ports": ports,
        "gpus": [{**GPU, **gpu} for gpu in gpus],
        "link_payload_bytes": 256,
    }


def root_port(name: str, node: int = 0, gen: int = 5, width: int = 16) -> dict[str, object]:
    return {
        "id": name,
        "kind": "root_port",
        "gen": gen,
        "width": width,
        "numa_node": node,
        "acs": True,
    }


def switch(name: str, parent: str, downstream: list[str]) -> dict[str, object]:
    return {
        "id": name,
        "kind": "switch",
        "parent": parent,
        "gen": 4,
        "width": 4,
        "numa_node": 0,
        "acs": True,
        "downstream": downstream,
    }


def path_in(tree: HostTree, first: int = 0, second: int = 1) -> PciePath:
    devices = read_devices(tree.root)
    acs = {bdf: read_acs(tree.root, bdf) for bdf in devices if devices[bdf].is_bridge}
    return path_between(devices, acs, tree.gpus[first], tree.gpus[second])


def test_two_root_ports_of_one_host_bridge(tmp_path: Path) -> None:
    description = describe([root_port("a"), root_port("b")], [{"port": "a"}, {"port": "b"}])
    tree = build_host_tree(tmp_path, description)
    path = path_in(tree)
    assert (path.level, path.shared_bridge) == ("PHB", None)
    assert [hop.bdf for hop in path.hops] == list(tree.gpus)
    assert (path.payload_bytes, path.payload_known) == (256, True)


def test_two_sockets(tmp_path: Path) -> None:
    ports = [root_port("a"), root_port("b", node=1)]
    tree = build_host_tree(
        tmp_path, describe(ports, [{"port": "a"}, {"port": "b", "numa_node": 1}])
    )
    assert path_in(tree).level == "SYS"


def test_two_host_bridges_of_one_node(tmp_path: Path) -> None:
    ports = [root_port("a"), root_port("b", node=1)]
    tree = build_host_tree(tmp_path, describe(ports, [{"port": "a"}, {"port": "b"}]))
    assert path_in(tree).level == "NODE"


def test_one_switch_is_crossed_below_its_uplink(tmp_path: Path) -> None:
    ports = [root_port("a"), switch("s", "a", ["s0", "s1"])]
    tree = build_host_tree(tmp_path, describe(ports, [{"port": "s0"}, {"port": "s1"}]))
    path = path_in(tree)
    assert (path.level, path.shared_bridge) == ("PIX", tree.ports["s"])
    assert [hop.bdf for hop in path.hops] == list(tree.gpus)


def test_a_switch_that_redirects_sends_data_up_and_down_its_uplink(tmp_path: Path) -> None:
    ports = [root_port("a"), switch("s", "a", ["s0", "s1"])]
    description = describe(ports, [{"port": "s0"}, {"port": "s1"}])
    tree = build_host_tree(tmp_path, description, acs_redirect=True)
    path = path_in(tree)
    assert [hop.bdf for hop in path.hops] == [tree.gpus[0], tree.ports["s"], tree.gpus[1]]
    assert path.hops[0].redirect == ("RR", "CR")


def test_cascaded_switches(tmp_path: Path) -> None:
    ports = [
        root_port("a"),
        switch("s", "a", ["s0", "s1"]),
        switch("t", "s0", ["t0"]),
        switch("u", "s1", ["u0"]),
    ]
    tree = build_host_tree(tmp_path, describe(ports, [{"port": "t0"}, {"port": "u0"}]))
    path = path_in(tree)
    assert path.level == "PXB"
    assert [hop.bdf for hop in path.hops] == [
        tree.gpus[0],
        tree.ports["t"],
        tree.ports["u"],
        tree.gpus[1],
    ]


def test_the_rigs_chipset_cards_leave_by_the_uplink(tmp_path: Path) -> None:
    tree = build_host_tree(tmp_path, load_description("seven_gpu_rig"))
    path = path_in(tree, 0, 4)
    assert path.level == "PHB"
    assert [(hop.gen, hop.width) for hop in path.hops] == [(5, 8), (4, 4), (4, 4)]
    assert path_in(tree, 4, 6).level == "PIX"


def test_a_fast_card_in_a_slow_slot_is_not_down_trained(tmp_path: Path) -> None:
    ports = [root_port("a", gen=4, width=8), root_port("b")]
    tree = build_host_tree(tmp_path, describe(ports, [{"port": "a"}, {"port": "b"}]))
    first = path_in(tree).hops[0]
    assert (first.max_gen, first.max_width) == (4, 8)


@pytest.mark.parametrize("payload", [128, 512])
def test_the_least_payload_of_the_path(tmp_path: Path, payload: int) -> None:
    description = describe([root_port("a"), root_port("b")], [{"port": "a"}, {"port": "b"}])
    tree = build_host_tree(tmp_path, description, payload_bytes=payload)
    assert path_in(tree).payload_bytes == payload


def gpu(bdf: str, *links: NvLink) -> NvmlDevice:
    unknown = Link(None, None)
    return NvmlDevice(
        index=0,
        uuid="GPU-x",
        bdf=bdf,
        name="GPU",
        compute_capability=(8, 6),
        memory_bytes=None,
        bar1_bytes=None,
        link=unknown,
        max_link=unknown,
        display_attached=False,
        display_active=False,
        compute_mode="default",
        mig=False,
        processes=(),
        nvlinks=links,
        replay_count=None,
    )


def test_nvlinks_that_end_at_the_other_gpu_count() -> None:
    first = gpu(
        "0000:01:00.0",
        NvLink(0, True, "0000:02:00.0", 14_000_000_000),
        NvLink(1, True, "0000:02:00.0", 14_000_000_000),
        NvLink(2, False, None, None),
        NvLink(3, True, "0000:03:00.0", 14_000_000_000),
    )
    assert nvlinks_between(first, gpu("0000:02:00.0")) == (2, 28_000_000_000)
    assert nvlinks_between(first, gpu("0000:09:00.0")) == (0, None)


def test_through_switches_the_fewer_links_count() -> None:
    def switched(bdf: str, count: int) -> NvmlDevice:
        link = NvLink(0, True, "0000:0f:00.0", 25_000_000_000, remote_is_switch=True)
        return gpu(bdf, *(replace(link, index=index) for index in range(count)))

    assert nvlinks_between(switched("0000:01:00.0", 18), switched("0000:02:00.0", 12)) == (
        12,
        300_000_000_000,
    )
