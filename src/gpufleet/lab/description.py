# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a lab machine is made of: the JSON host description, read and checked."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from .kind import GuestKind, parse_kind
from .section import IDENTIFIER, Section, invalid

SCHEMA = 1
CPU_VENDORS = ("intel", "amd")
PORT_KINDS = ("root_port", "switch")
GENERATIONS = (1, 2, 3, 4, 5, 6)
WIDTHS = (1, 2, 4, 8, 16)
COMPUTE_MODES = ("default", "prohibited", "exclusive_process")
NVLINK_PORTS_AT_MOST = 18
ERRORS_PER_TRANSFER_AT_MOST = 16
# QEMU's x3130 and xio3130 answer 2.5 GT/s x1 in LnkCap and LnkSta, whatever is behind them.
SWITCH_GENERATION = 1
SWITCH_WIDTH = 1

_NAME = re.compile(r"[a-z][a-z0-9-]{0,30}")
_UUID = re.compile(r"GPU-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_DRIVER_VERSION = re.compile(r"\d+(\.\d+){1,2}")
_MEMORY_MIB = range(512, 65537)
# Published figures across sockets are 68 to 88 % of the link's ceiling.
_SOCKET_SHARE = 0.8


@dataclass(frozen=True)
class Driver:
    """The simulated driver: NVIDIA version, and CUDA version as 1000 * major + 10 * minor."""

    version: str
    cuda: int


@dataclass(frozen=True)
class Port:
    """A root port, or a switch with its downstream ports; gen and width are its link's.

    ``peer_share`` is how much of a link's rate GPUs behind a switch get to each other and to
    others: a server's switch carries all, a chipset less.
    """

    id: str
    kind: str
    gen: int
    width: int
    numa_node: int
    acs: bool
    parent: str | None
    downstream: tuple[str, ...]
    peer_share: float


@dataclass(frozen=True)
class NvLink:
    """NVLink bridges from one GPU to the GPU of index ``peer``."""

    peer: int
    links: int
    bytes_per_second_per_link: int


@dataclass(frozen=True)
class Errors:
    """How many errors of each kind a GPU counts for every transfer it takes part in."""

    pcie_replays: int = 0
    ecc_corrected: int = 0
    ecc_uncorrected: int = 0


@dataclass(frozen=True)
class Gpu:
    """One GPU behind the port of that id; sizes in bytes.

    ``nvlink_ports`` are the card's; those beyond its links are inactive.
    """

    name: str
    uuid: str
    port: str
    compute_capability: tuple[int, int]
    memory_bytes: int
    bar1_bytes: int
    gen: int
    width: int
    numa_node: int
    display: bool
    nvlink: tuple[NvLink, ...]
    nvlink_ports: int
    ecc: bool
    compute_mode: str
    errors_per_transfer: Errors


@dataclass(frozen=True)
class Latency:
    """Microseconds of a small copy between two GPUs, peer access off and on."""

    off: float
    on: float


@dataclass(frozen=True)
class HostDescription:
    """One lab machine, as lab/hosts/*.json spells it; GPUs are in bus order.

    ``socket_share`` is how much of a link's rate GPUs of different NUMA nodes get to each other.
    ``confidential_compute`` is None where the driver does not know of it. ``watchdog`` is an
    i6300ESB, which resets the machine when nothing feeds it any more.
    """

    name: str
    cpu_vendor: str
    memory_mib: int
    driver: Driver
    ports: tuple[Port, ...]
    gpus: tuple[Gpu, ...]
    link_payload_bytes: int
    simulated_free_bytes: int
    socket_share: float
    latency_us: Latency
    confidential_compute: bool | None
    kind: GuestKind = field(default_factory=GuestKind)
    watchdog: bool = False

    def as_emulated(self, fastest_generation: int) -> HostDescription:
        """Return the machine that QEMU can really show, for a root port of at most that gen.

        Ports come down to the emulator's fastest link, switches to 2.5 GT/s x1, and each GPU
        to the link of the port above it: the simulated driver and the guest's config space
        then tell of the same links.
        """
        ports = tuple(_emulated_port(port, fastest_generation) for port in self.ports)
        links = port_links(ports)
        gpus = tuple(
            replace(
                gpu,
                gen=min(gpu.gen, links[gpu.port][0]),
                width=min(gpu.width, links[gpu.port][1]),
            )
            for gpu in self.gpus
        )
        return replace(self, ports=ports, gpus=gpus)

    def as_json(self) -> str:
        """Return the JSON text that ``parse_description`` reads back to an equal value."""
        document = {"schema": SCHEMA, **asdict(self)}
        del document["kind"]
        document.update(self.kind.as_data())
        if not self.watchdog:
            del document["watchdog"]
        for port in document["ports"]:
            if port["parent"] is None:
                del port["parent"], port["downstream"], port["peer_share"]
        if self.confidential_compute is None:
            del document["confidential_compute"]
        return json.dumps(document, indent=2) + "\n"


def port_links(ports: Sequence[Port]) -> dict[str, tuple[int, int]]:
    """Return (gen, width) by the id of every port that a GPU can sit behind."""
    links: dict[str, tuple[int, int]] = {}
    for port in ports:
        for identifier in port.downstream or (port.id,):
            links[identifier] = (port.gen, port.width)
    return links


def read_description(path: Path) -> HostDescription:
    """Return the description in a JSON file.

    Raises:
        DescriptionInvalid: the file is unreadable, is not JSON or describes no machine.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise invalid(str(path), f"{error.strerror}", "a readable file", "name another") from error
    return parse_description(text, source=str(path))


def parse_description(text: str, *, source: str = "description") -> HostDescription:
    """Return the description that a JSON text spells.

    Args:
        text: JSON of schema 1.
        source: what errors call the text.

    Raises:
        DescriptionInvalid: naming the key, what it holds and what it should hold.
    """
    try:
        data = json.loads(text)
    except ValueError as error:
        raise invalid(source, str(error), "JSON text", "mend the syntax") from error
    document = Section(data, source)
    document.one_of("schema", (SCHEMA,))
    name = document.matching("name", _NAME)
    driver = document.section("driver")
    latency = document.section("latency_us")
    host = HostDescription(
        name=name,
        cpu_vendor=document.one_of("cpu_vendor", CPU_VENDORS),
        memory_mib=document.integer("memory_mib", _MEMORY_MIB.start, _MEMORY_MIB.stop - 1),
        driver=Driver(driver.matching("version", _DRIVER_VERSION), driver.integer("cuda", 1000)),
        ports=tuple(_parse_port(port) for port in document.sections("ports")),
        gpus=tuple(_parse_gpu(gpu) for gpu in document.sections("gpus")),
        link_payload_bytes=document.one_of("link_payload_bytes", (128, 256, 512, 1024, 2048, 4096)),
        simulated_free_bytes=document.integer("simulated_free_bytes", 1 << 20),
        socket_share=document.share("socket_share", default=_SOCKET_SHARE),
        latency_us=Latency(latency.number("off"), latency.number("on")),
        confidential_compute=document.boolean("confidential_compute", default=False)
        if document.has("confidential_compute")
        else None,
        kind=parse_kind(document, source),
        watchdog=document.boolean("watchdog", default=False),
    )
    document.close()
    driver.close()
    latency.close()
    _check_topology(host, source)
    return host


def _emulated_port(port: Port, fastest_generation: int) -> Port:
    if port.kind == "switch":
        return replace(port, gen=SWITCH_GENERATION, width=SWITCH_WIDTH)
    return replace(port, gen=min(port.gen, fastest_generation))


def _parse_port(section: Section) -> Port:
    kind = section.one_of("kind", PORT_KINDS)
    is_switch = kind == "switch"
    port = Port(
        id=section.matching("id", IDENTIFIER),
        kind=kind,
        gen=section.one_of("gen", GENERATIONS),
        width=section.one_of("width", WIDTHS),
        numa_node=section.integer("numa_node", 0, default=0),
        acs=section.boolean("acs", default=True),
        parent=section.matching("parent", IDENTIFIER) if is_switch else None,
        downstream=section.identifiers("downstream") if is_switch else (),
        peer_share=section.share("peer_share", default=1.0) if is_switch else 1.0,
    )
    section.close()
    return port


def _parse_gpu(section: Section) -> Gpu:
    capability = section.integers("compute_capability", 2)
    nvlink = tuple(
        _parse_nvlink(bridge) for bridge in section.sections("nvlink", may_be_empty=True)
    )
    links = sum(bridge.links for bridge in nvlink)
    gpu = Gpu(
        name=section.text("name"),
        uuid=section.matching("uuid", _UUID),
        port=section.matching("port", IDENTIFIER),
        compute_capability=(capability[0], capability[1]),
        memory_bytes=section.integer("memory_bytes", 1 << 20),
        bar1_bytes=section.integer("bar1_bytes", 1 << 20),
        gen=section.one_of("gen", GENERATIONS),
        width=section.one_of("width", WIDTHS),
        numa_node=section.integer("numa_node", 0, default=0),
        display=section.boolean("display", default=False),
        nvlink=nvlink,
        nvlink_ports=section.integer("nvlink_ports", links, NVLINK_PORTS_AT_MOST, default=links),
        ecc=section.boolean("ecc", default=False),
        compute_mode=section.one_of("compute_mode", COMPUTE_MODES, default=COMPUTE_MODES[0]),
        errors_per_transfer=_parse_errors(section.section("errors_per_transfer"))
        if section.has("errors_per_transfer")
        else Errors(),
    )
    section.close()
    return gpu


def _parse_errors(section: Section) -> Errors:
    most = ERRORS_PER_TRANSFER_AT_MOST
    errors = Errors(
        pcie_replays=section.integer("pcie_replays", 0, most, default=0),
        ecc_corrected=section.integer("ecc_corrected", 0, most, default=0),
        ecc_uncorrected=section.integer("ecc_uncorrected", 0, most, default=0),
    )
    section.close()
    return errors


def _parse_nvlink(section: Section) -> NvLink:
    nvlink = NvLink(
        section.integer("peer", 0),
        section.integer("links", 1, 18),
        section.integer("bytes_per_second_per_link", 1),
    )
    section.close()
    return nvlink


def _check_topology(host: HostDescription, source: str) -> None:
    roots = {port.id for port in host.ports if port.kind == "root_port"}
    seats = list(port_links(host.ports))
    identifiers = [port.id for port in host.ports]
    names = identifiers + [name for port in host.ports for name in port.downstream]
    _refuse_repeats(source, "port ids", names)
    taken: list[str] = []
    for port in host.ports:
        if port.parent is None:
            continue
        if port.parent not in roots:
            raise invalid(
                f"{source}: ports.{port.id}.parent",
                port.parent,
                f"a root port's id: {', '.join(sorted(roots))}",
                "put each switch behind a root port",
            )
        taken.append(port.parent)
    for index, gpu in enumerate(host.gpus):
        where = f"{source}: gpus[{index}]"
        if gpu.port not in seats:
            raise invalid(
                f"{where}.port", gpu.port, f"one of {', '.join(seats)}", "name a described port"
            )
        if gpu.bar1_bytes & (gpu.bar1_bytes - 1):
            raise invalid(
                f"{where}.bar1_bytes",
                str(gpu.bar1_bytes),
                "a power of two, as PCI sizes every BAR",
                f"use {1 << gpu.bar1_bytes.bit_length()} or {1 << gpu.bar1_bytes.bit_length() - 1}",
            )
        for bridge in gpu.nvlink:
            if bridge.peer == index or bridge.peer >= len(host.gpus):
                raise invalid(
                    f"{where}.nvlink.peer",
                    str(bridge.peer),
                    f"another GPU's index below {len(host.gpus)}",
                    "count GPUs from 0 in bus order",
                )
        taken.append(gpu.port)
    _refuse_repeats(source, "occupied ports (a port carries one device)", taken)
    _refuse_repeats(source, "GPU uuids", [gpu.uuid for gpu in host.gpus])
    order = {seat: index for index, seat in enumerate(bus_order(host.ports))}
    if sorted(taken_by_gpus := [order[gpu.port] for gpu in host.gpus]) != taken_by_gpus:
        raise invalid(
            f"{source}: gpus",
            ", ".join(gpu.port for gpu in host.gpus),
            "GPUs in the order of their ports, which is bus order",
            "list each GPU in the order in which its port is listed",
        )


def bus_order(ports: Sequence[Port]) -> list[str]:
    """Return the ids of the ports that carry devices, in the order firmware numbers buses.

    Root ports are numbered as listed; a switch's downstream ports come where its root port is.
    """
    behind = {port.parent: port.downstream for port in ports if port.parent is not None}
    return [
        seat
        for port in ports
        if port.kind == "root_port"
        for seat in behind.get(port.id, (port.id,))
    ]


def _refuse_repeats(source: str, what: str, values: Sequence[str]) -> None:
    repeated = sorted({value for value in values if values.count(value) > 1})
    if repeated:
        raise invalid(
            f"{source}: {what}", f"{', '.join(repeated)} twice", "each once", "rename or move one"
        )
