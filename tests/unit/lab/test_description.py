# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Host descriptions: every shipped one holds, every mistake is named."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from gpufleet.lab import DescriptionInvalid
from gpufleet.lab.description import bus_order, parse_description
from gpufleet.lab.kind import GuestKind

HOSTS = Path(__file__).parents[3] / "lab" / "hosts"


def document(name: str = "alpha") -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((HOSTS / f"{name}.json").read_text())
    return loaded


@pytest.mark.parametrize("path", sorted(HOSTS.glob("*.json")), ids=lambda path: path.stem)
def test_shipped_descriptions_hold_and_survive_a_round_trip(path: Path) -> None:
    host = parse_description(path.read_text())
    assert parse_description(host.as_json()) == host
    emulated = host.as_emulated(4)
    assert parse_description(emulated.as_json()) == emulated


def test_alpha_is_intel_and_beta_amd() -> None:
    vendors = [
        parse_description(json.dumps(document(name))).cpu_vendor for name in ("alpha", "beta")
    ]
    assert vendors == ["intel", "amd"]


def test_the_reference_rig_has_its_seven_gpus_in_bus_order() -> None:
    host = parse_description(json.dumps(document("seven_gpu_rig")))
    assert [gpu.name.rpartition(" ")[2] for gpu in host.gpus] == [
        *("5090", "5090", "4090", "4090", "3090", "3090", "A6000")
    ]
    seats = bus_order(host.ports)
    assert [seats.index(gpu.port) for gpu in host.gpus] == list(range(7))


def test_emulation_brings_links_down_to_what_the_guest_will_read() -> None:
    host = parse_description(json.dumps(document("seven_gpu_rig"))).as_emulated(4)
    links = [(gpu.gen, gpu.width) for gpu in host.gpus]
    assert links == [(4, 8)] * 4 + [(1, 1)] * 3


def test_emulation_that_can_show_everything_changes_nothing() -> None:
    host = parse_description(json.dumps(document("alpha")))
    assert host.as_emulated(5) == host


def changed(path: tuple[str | int, ...], value: object) -> dict[str, Any]:
    data = copy.deepcopy(document("seven_gpu_rig"))
    place: Any = data
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return data


@pytest.mark.parametrize(
    ("path", "value", "named"),
    [
        (("schema",), 2, "schema"),
        (("name",), "Alpha!", "name"),
        (("cpu_vendor",), "arm", "cpu_vendor"),
        (("memory_mib",), 64, "memory_mib"),
        (("memory_mib",), True, "memory_mib"),
        (("driver", "version"), "new", "driver: version"),
        (("driver", "build"), 1, "build"),
        (("ports",), [], "ports"),
        (("ports", 0, "gen"), 9, "ports[0]: gen"),
        (("ports", 0, "acs"), "yes", "acs"),
        (("ports", 0, "lanes"), 16, "lanes"),
        (("ports", 1, "id"), "rp0", "rp0 twice"),
        (("ports", 5, "parent"), "rp9", "ports.sw0.parent"),
        (("ports", 5, "downstream"), [], "downstream"),
        (("gpus", 0, "port"), "rp7", "gpus[0].port"),
        (("gpus", 1, "port"), "rp0", "rp0 twice"),
        (("gpus", 0, "port"), "rp4", "rp4 twice"),
        (("gpus", 0, "bar1_bytes"), 34190917632, "bar1_bytes"),
        (("gpus", 0, "uuid"), "GPU-1", "uuid"),
        (("gpus", 0, "compute_capability"), [12], "compute_capability"),
        (("gpus", 1, "uuid"), "GPU-5e7e0000-0000-4000-8000-000000000000", "uuids"),
        (
            ("gpus", 0, "nvlink"),
            [{"peer": 7, "links": 1, "bytes_per_second_per_link": 1}],
            "nvlink.peer",
        ),
        (("latency_us", "on"), 0, "latency_us: on"),
        (("socket_share",), 0, "socket_share"),
        (("release",), "buster", "release"),
        (("boot_loader",), "systemd-boot", "boot_loader"),
        (("watchdog",), 1, "watchdog"),
        (("ports", 5, "peer_share"), 1.5, "ports[5]: peer_share"),
        (("ports", 0, "peer_share"), 0.5, "peer_share"),
    ],
)
def test_a_mistake_is_named_with_what_is_wanted(
    path: tuple[str | int, ...], value: object, named: str
) -> None:
    with pytest.raises(DescriptionInvalid) as caught:
        parse_description(json.dumps(changed(path, value)))
    assert named in caught.value.read
    assert caught.value.want
    assert caught.value.remedy


def test_what_is_not_said_is_not_written_back() -> None:
    written = json.loads(parse_description(json.dumps(document())).as_json())
    assert {"kind", "release", "firmware", "boot_loader", "watchdog"} & set(written) == set()


def test_a_kind_and_a_watchdog_are_kept() -> None:
    asked = {"release": "trixie", "firmware": "efi", "watchdog": True}
    host = parse_description(json.dumps({**document(), **asked}))
    assert host.kind == GuestKind("trixie", "efi")
    assert asked.items() <= json.loads(host.as_json()).items()


def test_gpus_out_of_bus_order_are_refused() -> None:
    data = document("alpha")
    data["gpus"].reverse()
    with pytest.raises(DescriptionInvalid, match="bus order"):
        parse_description(json.dumps(data))


@pytest.mark.parametrize("text", ["", "[]", "{", '"alpha"', "null"])
def test_what_is_no_object_is_refused(text: str) -> None:
    with pytest.raises(DescriptionInvalid):
        parse_description(text)
