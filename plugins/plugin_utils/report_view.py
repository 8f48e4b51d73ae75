# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the page shows, as plain values: the template only places them.

The view is a function of the records alone, so the same records give the same page.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from .report_matrix import CHECKS, MatrixGroup, Picture, matrix_groups, picture
from .report_values import (
    MISSING,
    OUTCOMES,
    VERDICT_TONES,
    VERDICT_WORDS,
    branch,
    build_line,
    figure,
    groups_of,
    items,
    link,
    mebibytes,
    number,
    outcome_of,
    pair_counts,
    pair_figures,
    percent,
    reboots_of,
    short_gpu_name,
    text,
    whole,
)

UTC_TIME = re.compile(
    r"(?P<day>\d{4}-\d\d-\d\d)[T ](?P<time>\d\d:\d\d)(:\d\d(\.\d+)?)?(Z|\+00:00)$"
)
VERDICT_SENTENCES = {
    "pass": "every pair that can reach its peer does",
    "warn": "data is right, but something is slower than it should be",
}


@dataclass(frozen=True)
class Tile:
    """One headline figure."""

    figure: str
    label: str
    tone: str = ""


@dataclass(frozen=True)
class Trouble:
    """Something an operator should act on: a failure, a failed gate or a cause."""

    code: str
    facts: tuple[tuple[str, str], ...]
    remedy: str


@dataclass(frozen=True)
class Gate:
    """One preflight gate."""

    name: str
    passed: bool
    read: str
    want: str
    remedy: str


@dataclass(frozen=True)
class Group:
    """GPUs that all reach each other; ``devices`` is ready for CUDA_VISIBLE_DEVICES."""

    devices: str
    names: str


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


@dataclass(frozen=True)
class HostView:
    """One host's section; ``anchor`` is unique on the page."""

    anchor: str
    name: str
    outcome: str
    tone: str
    sentence: str
    period: str
    troubles: tuple[Trouble, ...]
    groups: tuple[Group, ...]
    picture: Picture | None
    matrices: tuple[MatrixGroup, ...]
    pairs: tuple[PairRow, ...]
    gpus: tuple[GpuRow, ...]
    gates: tuple[Gate, ...]
    gates_failed: int
    identity: tuple[tuple[str, str, str], ...]
    overview: tuple[str, ...]


@dataclass(frozen=True)
class PageView:
    """The whole page."""

    title: str
    sentence: str
    tone: str
    period: str
    tiles: tuple[Tile, ...]
    build_line: str
    reboot_line: str
    hosts: tuple[HostView, ...]
    checks: tuple[str, ...]


def _troubles(record: dict[str, Any]) -> tuple[Trouble, ...]:
    found = []
    failure = branch(record, "failure")
    if failure:
        facts = tuple((name, text(failure.get(name))) for name in ("read", "want"))
        found.append(Trouble(text(failure.get("code")), facts, text(failure.get("remedy"))))
    for gate in items(record, "gates"):
        if gate.get("passed") is False and gate.get("name") != failure.get("code"):
            facts = tuple((name, text(gate.get(name))) for name in ("read", "want"))
            found.append(Trouble(text(gate.get("name")), facts, text(gate.get("remedy"))))
    for cause in items(branch(record, "verify"), "causes"):
        facts = (("evidence", text(cause.get("evidence"))),)
        found.append(Trouble(text(cause.get("code")), facts, text(cause.get("remedy"))))
    return tuple(found)


def _gates(record: dict[str, Any]) -> tuple[Gate, ...]:
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


def _gpus_of(record: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the GPUs as verification saw them, else as the facts did."""
    return items(branch(record, "verify"), "gpus") or items(branch(record, "facts"), "gpus")


def _gpu_rows(record: dict[str, Any]) -> tuple[GpuRow, ...]:
    groups = branch(record, "verify", "iommu", "gpu_groups")
    from_facts = {text(gpu.get("bdf")): gpu for gpu in items(branch(record, "facts"), "gpus")}
    rows = []
    for position, gpu in enumerate(_gpus_of(record)):
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


def _groups(record: dict[str, Any]) -> tuple[Group, ...]:
    names = {row.index: row.name for row in _gpu_rows(record)}
    groups = []
    for members in groups_of(record):
        counted: dict[str, int] = {}
        for member in members:
            name = names.get(member, "GPU")
            counted[name] = counted.get(name, 0) + 1
        words = " + ".join(
            f"{count} \N{MULTIPLICATION SIGN} {name}" for name, count in counted.items()
        )
        groups.append(Group(",".join(str(member) for member in members), words))
    return tuple(groups)


def _pair_rows(record: dict[str, Any]) -> tuple[PairRow, ...]:
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


def _identity(record: dict[str, Any]) -> tuple[tuple[str, str, str], ...]:
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
        ("Secure Boot", branch(facts, "secure_boot").get("state"), ""),
        ("processor", branch(facts, "cpu").get("model"), ""),
        ("reboots in this run", str(reboots_of(record)), ""),
        ("boot ids", reboot.get("boot_ids"), ""),
    ]
    return tuple((name, text(value), tone) for name, value, tone in rows if value not in (None, []))


def _middle(values: Sequence[float]) -> float | None:
    return median(values) if values else None


def _overview(record: dict[str, Any]) -> tuple[str, ...]:
    """Return the host's cells of the fleet table, after name and outcome."""
    counts = pair_counts(record)
    judged = any(counts.values())
    off, on = (_middle(pair_figures(record, "bandwidth", arm, "uni")) for arm in ("off", "on"))
    latency = _middle(pair_figures(record, "latency", "on"))
    gain = f"{on / off:.1f}\N{MULTIPLICATION SIGN}" if on and off else MISSING
    return (
        str(len(_gpus_of(record))),
        f"{counts['pass']} / {counts['warn']} / {counts['fail']}" if judged else MISSING,
        " ".join(f"[{group.devices}]" for group in _groups(record)) or MISSING,
        figure(off),
        figure(on),
        gain,
        figure(latency),
        str(reboots_of(record)),
    )


def _period(started: Any, finished: Any) -> str:
    """Return when the run was, to the minute; what is not ISO 8601 in UTC is shown as it is."""
    if not started:
        return ""
    begin, end = (UTC_TIME.match(str(moment)) for moment in (started, finished))
    if begin and end:
        same_day = begin["day"] == end["day"]
        until = end["time"] if same_day else f"{end['day']} {end['time']}"
        return f"{begin['day']} {begin['time']} to {until} UTC"
    return f"{started} to {finished}" if finished else str(started)


def _host_sentence(record: dict[str, Any]) -> str:
    outcome, counts = outcome_of(record), pair_counts(record)
    failure = branch(record, "failure")
    if outcome == "unreachable":
        return "The host could not be reached; nothing is known of its state."
    if outcome == "not_reached":
        return "The run has not come to this host; nothing was changed on it."
    if outcome == "ready":
        return "Every gate passed; nothing was changed or measured."
    if outcome == "refused":
        return "A gate stopped this host before anything was changed."
    total = sum(counts.values())
    if not total:
        return f"Stopped by {text(failure.get('code'))}." if failure else "Nothing was verified."
    verdict = str(branch(record, "verify").get("verdict"))
    reached = counts["pass"] + counts["warn"]
    told = VERDICT_SENTENCES.get(verdict, "")
    return f"{reached} of {total} ordered pairs verified{'; ' if told else ''}{told}."


def host_view(record: dict[str, Any], position: int) -> HostView:
    """Return one host's section; ``position`` makes its anchor unique."""
    outcome = outcome_of(record)
    words, tone = OUTCOMES[outcome]
    verify = branch(record, "verify")
    if outcome == "verified" and verify.get("verdict") == "warn":
        words, tone = "verified, with warnings", "warn"
    gates = _gates(record)
    return HostView(
        anchor=f"host-{position}",
        name=text(record.get("host")),
        outcome=words,
        tone=tone,
        sentence=_host_sentence(record),
        period=_period(record.get("started"), record.get("finished")),
        troubles=_troubles(record),
        groups=_groups(record),
        picture=picture(verify),
        matrices=matrix_groups(verify),
        pairs=_pair_rows(record),
        gpus=_gpu_rows(record),
        gates=gates,
        gates_failed=sum(not gate.passed for gate in gates),
        identity=_identity(record),
        overview=_overview(record),
    )


def _tiles(records: Sequence[dict[str, Any]]) -> tuple[Tile, ...]:
    counts = dict.fromkeys(VERDICT_TONES, 0)
    rates: list[float] = []
    latencies: list[float] = []
    gpus = 0
    for record in records:
        gpus += len(_gpus_of(record))
        rates += pair_figures(record, "bandwidth", "on", "uni")
        latencies += pair_figures(record, "latency", "on")
        for verdict, count in pair_counts(record).items():
            counts[verdict] += count
    outcomes = [outcome_of(record) for record in records]
    # A preflight or a rollback verifies nothing; its headline counts what it was run for.
    best = next((name for name in ("verified", "ready", "done") if name in outcomes), "verified")
    good, label = outcomes.count(best), f"hosts {best}"
    reached = counts["pass"] + counts["warn"]
    total = sum(counts.values())
    return (
        Tile(f"{good}/{len(records)}", label, "good" if good == len(records) else "bad"),
        Tile(str(gpus), "GPUs"),
        Tile(f"{reached}/{total}" if total else MISSING, "ordered pairs reach their peer"),
        Tile(figure(max(rates, default=None)), "GB/s one way, fastest pair"),
        Tile(figure(min(latencies, default=None)), "\N{MICRO SIGN}s, quickest pair"),
    )


def _headline(outcomes: Sequence[str]) -> tuple[str, str]:
    """Return the page's sentence and its tone."""
    if not outcomes:
        return "No host was run", "idle"
    subject = "The host is" if len(outcomes) == 1 else "Every host is"
    for outcome, words, tone in (
        ("verified", "verified", "good"),
        ("ready", "ready: every gate passed", "good"),
        ("done", "done; nothing was verified", "idle"),
    ):
        if all(found == outcome for found in outcomes):
            return f"{subject} {words}", tone
    left = sum(outcome not in ("verified", "ready", "done") for outcome in outcomes)
    if not left:
        return "Some hosts are verified, the others were not measured", "idle"
    if len(outcomes) == 1:
        return "The host needs attention", "bad"
    return f"{left} of {len(outcomes)} hosts {'needs' if left == 1 else 'need'} attention", "bad"


def page_view(records: Sequence[dict[str, Any]]) -> PageView:
    """Return the page of ``records`` (plain data, in the order they are to be shown)."""
    hosts = tuple(host_view(record, position) for position, record in enumerate(records, 1))
    sentence, tone = _headline([outcome_of(record) for record in records])
    if tone == "good" and any(host.tone == "warn" for host in hosts):
        tone = "warn"
    times = sorted(
        str(record[name])
        for record in records
        for name in ("started", "finished")
        if record.get(name)
    )
    reboots = [reboots_of(record) for record in records]
    most = max(reboots, default=0)
    reboot_line = f"reboots: {sum(reboots)}, at most {most} per host"
    return PageView(
        title="Peer-to-peer report",
        sentence=sentence,
        tone=tone,
        period=_period(times[0], times[-1]) if times else "",
        tiles=_tiles(records),
        build_line=build_line(records),
        reboot_line=reboot_line,
        hosts=hosts,
        checks=tuple(name.replace("_", " ") for name in CHECKS),
    )
