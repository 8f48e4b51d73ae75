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

from .report_evidence import (
    Gate,
    GpuRow,
    PairRow,
    gates_of,
    gpu_rows,
    gpus_of,
    identity_of,
    pair_rows,
)
from .report_matrix import CHECKS, MatrixGroup, Picture, matrix_groups, picture
from .report_together import Note, Together, notes_of, together_of
from .report_values import (
    MISSING,
    OUTCOMES,
    VERDICT_TONES,
    branch,
    build_line,
    figure,
    groups_of,
    items,
    left_drained,
    outcome_of,
    pair_counts,
    pair_figures,
    reboots_of,
    text,
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
class Group:
    """GPUs that all reach each other; ``devices`` is ready for CUDA_VISIBLE_DEVICES."""

    devices: str
    names: str


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
    together: tuple[Together, ...]
    notes: tuple[Note, ...]
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
    drained = left_drained(record)
    if drained:
        facts = tuple((name, drained[name]) for name in ("read", "want"))
        found.append(Trouble(drained["code"], facts, drained["remedy"]))
    for gate in items(record, "gates"):
        if gate.get("passed") is False and gate.get("name") != failure.get("code"):
            facts = tuple((name, text(gate.get(name))) for name in ("read", "want"))
            found.append(Trouble(text(gate.get("name")), facts, text(gate.get("remedy"))))
    for cause in items(branch(record, "verify"), "causes"):
        facts = (("evidence", text(cause.get("evidence"))),)
        found.append(Trouble(text(cause.get("code")), facts, text(cause.get("remedy"))))
    return tuple(found)


def _groups(record: dict[str, Any]) -> tuple[Group, ...]:
    names = {row.index: row.name for row in gpu_rows(record)}
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
        str(len(gpus_of(record))),
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
    gates = gates_of(record)
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
        together=together_of(verify),
        notes=notes_of(verify),
        pairs=pair_rows(record),
        gpus=gpu_rows(record),
        gates=gates,
        gates_failed=sum(not gate.passed for gate in gates),
        identity=identity_of(record),
        overview=_overview(record),
    )


def _tiles(records: Sequence[dict[str, Any]]) -> tuple[Tile, ...]:
    counts = dict.fromkeys(VERDICT_TONES, 0)
    rates: list[float] = []
    latencies: list[float] = []
    gpus = 0
    for record in records:
        gpus += len(gpus_of(record))
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
