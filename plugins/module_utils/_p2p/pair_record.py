# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One ordered pair in the result of p2p_verify: its path, checks, rates, latency and verdict.

Units: bandwidth in GB/s with GB = 1e9 bytes, latency in microseconds, sizes and offsets in bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .decode import Reader, malformed

PASS = "pass"
WARN = "warn"
FAIL = "fail"
NOT_APPLICABLE = "not_applicable"
PAIR_VERDICTS = (PASS, WARN, FAIL, NOT_APPLICABLE)

PASSED = "passed"
FAILED = "failed"
NOT_RUN = "not_run"
CHECK_STATES = (PASSED, FAILED, NOT_RUN)
COPIES = ("copy_write", "copy_read", "sm_write", "sm_read")
CHECKS = (*COPIES, "ping_pong", "ipc")
# Of moving data, as Bandwidth names them.
DIRECT_WAYS = ("on", "copy_read", "sm_write", "sm_read")
WAYS = ("off", *DIRECT_WAYS)


@dataclass(frozen=True)
class Hop:
    """One PCIe link of a pair's path, named by the device at its lower end.

    ``gen`` and ``width`` are as trained under load (None where unreadable); ``redirect`` are the
    ACS bits of the port above that send peer traffic through the root: RR, CR, EC.
    """

    bdf: str
    gen: int | None
    width: int | None
    max_gen: int | None
    max_width: int | None
    redirect: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return {
            "bdf": self.bdf,
            "gen": self.gen,
            "width": self.width,
            "max_gen": self.max_gen,
            "max_width": self.max_width,
            "redirect": list(self.redirect),
        }

    @classmethod
    def read(cls, reader: Reader) -> Hop:
        return cls(
            reader.text("bdf"),
            reader.optional("gen", reader.integer),
            reader.optional("width", reader.integer),
            reader.optional("max_gen", reader.integer),
            reader.optional("max_width", reader.integer),
            reader.texts("redirect"),
        )


@dataclass(frozen=True)
class Capability:
    """What the driver claims, which proves nothing.

    ``cuda`` is cuDeviceCanAccessPeer; the NVML words are OK, CNS, GNS, TNS, DR, NS, U or None.
    """

    cuda: bool | None
    nvml_read: str | None
    nvml_write: str | None

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return {"cuda": self.cuda, "nvml_read": self.nvml_read, "nvml_write": self.nvml_write}

    @classmethod
    def read(cls, reader: Reader) -> Capability:
        return cls(
            reader.optional("cuda", reader.flag),
            reader.optional("nvml_read", reader.text),
            reader.optional("nvml_write", reader.text),
        )


@dataclass(frozen=True)
class Correctness:
    """The six checks of one ordered pair, judged by the owner of the memory.

    copy_* by copy engine, sm_* by kernels; write: the initiator is the source GPU; read: the
    initiator is the destination. ``ipc``: a process on the source GPU writes to memory that a
    process on the destination exported, and both compare. ``first_bad_offset`` is the byte
    offset of the first wrong byte of the first failed check, ``pattern_bytes`` the longest
    pattern that was moved in one piece.
    """

    copy_write: str = NOT_RUN
    copy_read: str = NOT_RUN
    sm_write: str = NOT_RUN
    sm_read: str = NOT_RUN
    ping_pong: str = NOT_RUN
    first_bad_offset: int | None = None
    ipc: str = NOT_RUN
    pattern_bytes: int | None = None

    @classmethod
    def of(
        cls,
        states: Mapping[str, str],
        first_bad_offset: int | None = None,
        pattern_bytes: int | None = None,
    ) -> Correctness:
        """Return the Correctness of states by check name; a check not named was not run."""
        given = {name: states.get(name, NOT_RUN) for name in CHECKS}
        return cls(
            copy_write=given["copy_write"],
            copy_read=given["copy_read"],
            sm_write=given["sm_write"],
            sm_read=given["sm_read"],
            ping_pong=given["ping_pong"],
            first_bad_offset=first_bad_offset,
            ipc=given["ipc"],
            pattern_bytes=pattern_bytes,
        )

    @property
    def any_failed(self) -> bool:
        """Whether a check that ran found wrong data."""
        return FAILED in self.states().values()

    def states(self) -> dict[str, str]:
        """Return check name to passed, failed or not_run, in the order they are run."""
        return {name: getattr(self, name) for name in CHECKS}

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return {
            **self.states(),
            "first_bad_offset": self.first_bad_offset,
            "pattern_bytes": self.pattern_bytes,
        }

    @classmethod
    def read(cls, reader: Reader) -> Correctness:
        # Records written before there was a check of IPC have all but that and the length.
        told = [name for name in CHECKS if name != "ipc" or reader.has(name)]
        return cls.of(
            {name: reader.choice(name, CHECK_STATES) for name in told},
            reader.optional("first_bad_offset", reader.integer),
            reader.optional("pattern_bytes", reader.integer)
            if reader.has("pattern_bytes")
            else None,
        )


@dataclass(frozen=True)
class Rates:
    """Bandwidth in GB/s (1e9 bytes per second): one direction, and both at once summed.

    ``uni_spread`` and ``bidi_spread`` say how sure these are: half the width of the 95 %
    confidence interval, as a share of the figure; None where it was not measured.
    """

    uni: float | None = None
    bidi: float | None = None
    uni_spread: float | None = None
    bidi_spread: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return {
            "uni": self.uni,
            "bidi": self.bidi,
            "uni_spread": self.uni_spread,
            "bidi_spread": self.bidi_spread,
        }

    @classmethod
    def read(cls, reader: Reader) -> Rates:
        rates = cls(
            reader.optional("uni", reader.amount),
            reader.optional("bidi", reader.amount),
            reader.optional("uni_spread", reader.amount),
            reader.optional("bidi_spread", reader.amount),
        )
        figures = rates.to_dict()
        for name in ("uni", "bidi"):
            spread = figures[f"{name}_spread"]
            if spread is not None and figures[name] is None:
                raise malformed(reader.at(f"{name}_spread"), spread, f"null, as {name} is")
        return rates


@dataclass(frozen=True)
class Bandwidth:
    """Bandwidth of one ordered pair in GB/s, by who moves the data.

    Attributes:
        off: staged by ourselves through pinned host memory.
        on: written directly by the source's copy engine, with peer access enabled.
        copy_read: read directly by the destination's copy engine.
        sm_write: written directly by a kernel on the source.
        sm_read: read directly by a kernel on the destination.
        ceiling: of the slowest hop of the path in one direction; None where no link is readable.
        fraction: on.uni / ceiling.
        payload_bytes: PCIe maximum payload the ceiling was computed with; None over NVLink.
        payload_assumed: True where it could not be read and 256 was assumed.
    """

    off: Rates = Rates()
    on: Rates = Rates()
    copy_read: Rates = Rates()
    sm_write: Rates = Rates()
    sm_read: Rates = Rates()
    ceiling: float | None = None
    fraction: float | None = None
    payload_bytes: int | None = None
    payload_assumed: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return {
            "unit": "GB/s",
            **{way: getattr(self, way).to_dict() for way in WAYS},
            "ceiling": self.ceiling,
            "fraction": self.fraction,
            "payload_bytes": self.payload_bytes,
            "payload_assumed": self.payload_assumed,
        }

    @classmethod
    def read(cls, reader: Reader) -> Bandwidth:
        reader.choice("unit", ("GB/s",))
        return cls(
            off=Rates.read(reader.child("off")),
            on=Rates.read(reader.child("on")),
            copy_read=Rates.read(reader.child("copy_read")),
            sm_write=Rates.read(reader.child("sm_write")),
            sm_read=Rates.read(reader.child("sm_read")),
            ceiling=reader.optional("ceiling", reader.number),
            fraction=reader.optional("fraction", reader.number),
            payload_bytes=reader.optional("payload_bytes", reader.integer),
            payload_assumed=reader.flag("payload_assumed"),
        )


@dataclass(frozen=True)
class Latency:
    """Latency of one ordered pair in microseconds.

    ``off`` and ``on`` are queued 16-byte copies (comparable with p2pBandwidthLatencyTest);
    ``pointer_chase`` is one dependent load from peer memory; ``ping_pong`` one round trip of a
    flag and 256 bytes between two resident kernels.
    """

    off: float | None = None
    on: float | None = None
    pointer_chase: float | None = None
    ping_pong: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return {
            "unit": "us",
            "off": self.off,
            "on": self.on,
            "pointer_chase": self.pointer_chase,
            "ping_pong": self.ping_pong,
        }

    @classmethod
    def read(cls, reader: Reader) -> Latency:
        reader.choice("unit", ("us",))
        return cls(
            reader.optional("off", reader.number),
            reader.optional("on", reader.number),
            reader.optional("pointer_chase", reader.number),
            reader.optional("ping_pong", reader.number),
        )


@dataclass(frozen=True)
class NcclUse:
    """Whether NCCL would let the pair talk directly, by its own rules, and by which of them.

    ``would_use`` is None where that hangs on what could not be read.
    """

    would_use: bool | None = None
    why: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return {"would_use": self.would_use, "why": self.why}

    @classmethod
    def read(cls, reader: Reader) -> NcclUse:
        return cls(reader.optional("would_use", reader.flag), reader.text("why"))


@dataclass(frozen=True)
class Pair:
    """One ordered pair: data moves from GPU ``source`` to GPU ``target`` (indices of gpus).

    In JSON the two are ``from`` and ``to``. ``path`` is PIX, PXB, PHB, NODE, SYS, or NV# with the
    number of NVLinks; ``reasons`` are codes of docs/verification.md, the gravest first; ``detail``
    says in one line what was seen, empty where nothing was wrong. ``nccl`` is apart from all that:
    NCCL goes by the path and the driver's claims.
    """

    source: int
    target: int
    path: str
    hops: tuple[Hop, ...]
    capability: Capability
    correctness: Correctness
    bandwidth: Bandwidth
    latency: Latency
    verdict: str
    reasons: tuple[str, ...]
    detail: str = ""
    nccl: NcclUse = NcclUse()

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return {
            "from": self.source,
            "to": self.target,
            "path": self.path,
            "hops": [hop.to_dict() for hop in self.hops],
            "capability": self.capability.to_dict(),
            "correctness": self.correctness.to_dict(),
            "bandwidth": self.bandwidth.to_dict(),
            "latency": self.latency.to_dict(),
            "verdict": self.verdict,
            "reasons": list(self.reasons),
            "detail": self.detail,
            "nccl": self.nccl.to_dict(),
        }

    @classmethod
    def from_dict(cls, data: object) -> Pair:
        """Return the Pair in ``data``; raises MalformedResult."""
        return cls.read(Reader(data, "pair"))

    @classmethod
    def read(cls, reader: Reader) -> Pair:
        return cls(
            source=reader.integer("from"),
            target=reader.integer("to"),
            path=reader.text("path"),
            hops=tuple(Hop.read(item) for item in reader.children("hops")),
            capability=Capability.read(reader.child("capability")),
            correctness=Correctness.read(reader.child("correctness")),
            bandwidth=Bandwidth.read(reader.child("bandwidth")),
            latency=Latency.read(reader.child("latency")),
            verdict=reader.choice("verdict", PAIR_VERDICTS),
            reasons=reader.texts("reasons"),
            detail=reader.text("detail"),
            nccl=NcclUse.read(reader.child("nccl")) if reader.has("nccl") else NcclUse(),
        )
