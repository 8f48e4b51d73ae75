# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The tables below a host's matrices: gates, GPUs, what is in force, and every ordered pair."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .report_matrix import CHECKS
from .report_values import (
    MISSING,
    VERDICT_TONES,
    VERDICT_WORDS,
    branch,
    figure,
    items,
    link,
    mebibytes,
    number,
    percent,
    reboots_of,
    short_gpu_name,
    text,
    whole,
)


@dataclass(frozen=True)
class Gate:
    """One preflight gate."""

    name: str
    passed: bool
    read: str
    want: str
    remedy: str


@dataclass(frozen=True)
class PairRow:
    """One ordered pair in full."""

    title: str
    path: str
    verdict: str
    tone: str
    reasons: str
    detail: str
    checks: tuple[str, ...]
    ceiling: str
    fraction: str
    chase: str
    ping_pong: str


@dataclass(frozen=True)
class GpuRow:
    """One GPU as found."""

    index: int
    name: str
    bdf: str
    memory: str
    bar1: str
    link: str
    group: str
    numa: str
    notes: str


def gates_of(record: dict[str, Any]) -> tuple[Gate, ...]:
    """Return the gates as they were evaluated."""
    return tuple(
        Gate(
            text(gate.get("name")),
            gate.get("passed") is True,
            text(gate.get("read")),
            text(gate.get("want")),
            text(gate.get("remedy")) if gate.get("passed") is not True else "",
        )
        for gate in items(record, "gates")
    )


def gpus_of(record: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the GPUs as verification saw them, else as the facts did."""
    return items(branch(record, "verify"), "gpus") or items(branch(record, "facts"), "gpus")


def gpu_rows(record: dict[str, Any]) -> tuple[GpuRow, ...]:
    """Return one row for each GPU."""
    groups = branch(record, "verify", "iommu", "gpu_groups")
    from_facts = {text(gpu.get("bdf")): gpu for gpu in items(branch(record, "facts"), "gpus")}
    rows = []
    for position, gpu in enumerate(gpus_of(record)):
        bdf = text(gpu.get("bdf"))
        group = groups.get(bdf) or branch(from_facts.get(bdf), "iommu_group").get("type")
        notes = []
        if gpu.get("display") is True:
            notes.append("display attached")
        if gpu.get("processes"):
            notes.append(f"{len(gpu['processes'])} processes")
        index, numa = whole(gpu.get("index")), whole(gpu.get("numa_node"))
        rows.append(
            GpuRow(
                position if index is None else index,
                short_gpu_name(gpu.get("name")),
                bdf,
                mebibytes(gpu.get("memory_bytes")),
                mebibytes(gpu.get("bar1_bytes")),
                link(gpu.get("link")),
                text(group or "none"),
                text(numa),
                ", ".join(notes) or MISSING,
            )
        )
    return tuple(rows)


def pair_rows(record: dict[str, Any]) -> tuple[PairRow, ...]:
    """Return one row for each ordered pair that was looked at."""
    rows = []
    for pair in items(branch(record, "verify"), "pairs"):
        verdict = str(pair.get("verdict"))
        correctness, bandwidth = branch(pair, "correctness"), branch(pair, "bandwidth")
        offset = whole(correctness.get("first_bad_offset"))
        detail = text(pair.get("detail")) if pair.get("detail") else ""
        if offset is not None:
            place = f"first wrong byte at offset {offset:#x}"
            detail = f"{detail}; {place}" if detail else place
        rows.append(
            PairRow(
                f"{text(pair.get('from'))} \N{RIGHTWARDS ARROW} {text(pair.get('to'))}",
                text(pair.get("path")),
                VERDICT_WORDS.get(verdict, MISSING),
                VERDICT_TONES.get(verdict, "idle"),
                text(pair.get("reasons") or []),
                detail,
                tuple(text(correctness.get(name)).replace("_", " ") for name in CHECKS),
                figure(number(bandwidth.get("ceiling"))),
                percent(number(bandwidth.get("fraction"))),
                figure(number(branch(pair, "latency").get("pointer_chase"))),
                figure(number(branch(pair, "latency").get("ping_pong"))),
            )
        )
    return tuple(rows)


def _watchdog(facts: dict[str, Any]) -> str | None:
    if "watchdog" not in facts:
        return None
    return text(branch(facts, "watchdog").get("in_trial") or "none: a boot that hangs stays so")


def identity_of(record: dict[str, Any]) -> tuple[tuple[str, str, str], ...]:
    """Return (what, value, tone) of what is configured and what is in force."""
    facts, verify = branch(record, "facts"), branch(record, "verify")
    driver, installed = branch(facts, "driver"), branch(facts, "driver", "installed")
    running = branch(verify, "driver")
    build_id = running.get("build_id") or driver.get("build_id")
    reboot = branch(record, "reboot")
    expected = branch(record, "driver").get("build_id")
    rows: list[tuple[str, Any, str]] = [
        ("driver in force", running.get("version") or driver.get("version"), ""),
        ("build-id of the running module", build_id, ""),
        ("build-id of the installed module", installed.get("build_id"), ""),
    ]
    if expected:
        same = "same as running" if expected == build_id else "not what is running"
        tone = "good" if expected == build_id else "bad"
        rows.append(("build-id of this fleet's build", f"{text(expected)} ({same})", tone))
    rows += [
        ("installed file", installed.get("path"), ""),
        ("signed by", installed.get("signer"), ""),
        ("userspace", driver.get("userspace_version"), ""),
        ("kernel", verify.get("kernel") or branch(facts, "kernel").get("release"), ""),
        (
            "kernel command line",
            verify.get("cmdline") or branch(facts, "kernel").get("cmdline"),
            "",
        ),
        ("boot loader", branch(facts, "boot_loader").get("name"), ""),
        ("watchdog in a trial boot", _watchdog(facts), ""),
        ("Secure Boot", branch(facts, "secure_boot").get("state"), ""),
        ("processor", branch(facts, "cpu").get("model"), ""),
        ("work on the host", branch(record, "drain").get("read"), ""),
        ("reboots in this run", str(reboots_of(record)), ""),
        ("boot ids", reboot.get("boot_ids"), ""),
    ]
    return tuple((name, text(value), tone) for name, value, tone in rows if value not in (None, []))
