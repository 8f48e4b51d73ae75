# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One run at a time: leases, renewals, take-overs, and a race that has exactly one winner."""

from __future__ import annotations

import json
import multiprocessing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest
from ansible_collections.gpufleet.p2p.plugins.module_utils._host import lock
from ansible_collections.gpufleet.p2p.plugins.module_utils._host.lock import (
    LOCK_PATH,
    HostLocked,
    LockBusy,
    LockRecord,
    LockRequest,
    held,
    hold,
    parse_record,
    plan_hold,
    plan_release,
    release,
)
from hypothesis import given
from hypothesis import strategies as st

NOW = datetime(2026, 11, 23, 9, 30, tzinfo=UTC)
ADA = LockRequest("run-a", "ada@one pid 1", lease_seconds=600)
BOB = LockRequest("run-b", "bob@two pid 2", lease_seconds=600)


NO_PURPOSE = (
    b'{"schema": 1, "run": "run-a", "holder": "ada", "since": "2026-11-23T09:30:00+00:00",'
    b' "renewed": "2026-11-23T09:30:00+00:00", "lease_seconds": 600, "purposes": []}'
)


def held_by(request: LockRequest, at: datetime = NOW) -> bytes:
    """Return the lock file that ``request`` wrote at that time."""
    purposes = (request.purpose,)
    return data_of(LockRecord(request.run, request.holder, at, at, request.lease_seconds, purposes))


def data_of(record: LockRecord) -> bytes:
    """Return the file that holds the record."""
    return json.dumps(record.as_dict()).encode()


def test_free_host_is_acquired() -> None:
    outcome = plan_hold(None, ADA, NOW)
    assert outcome.action == "acquired"
    assert outcome.record == LockRecord("run-a", "ada@one pid 1", NOW, NOW, 600, ("change",))
    assert outcome.previous is None


def test_same_run_renews_and_keeps_since() -> None:
    later = NOW + timedelta(seconds=500)
    outcome = plan_hold(held_by(ADA), ADA, later)
    assert outcome.action == "renewed"
    assert outcome.record is not None
    assert (outcome.record.since, outcome.record.renewed) == (NOW, later)
    assert outcome.record.expires == later + timedelta(seconds=600)


def test_same_run_renews_even_after_its_lease_ran_out() -> None:
    assert plan_hold(held_by(ADA), ADA, NOW + timedelta(days=1)).action == "renewed"


def test_run_keeps_the_host_until_its_last_purpose_is_released() -> None:
    """Two hosts of one run have drivers built on one builder; the first to finish is not alone."""
    one, two = (replace(ADA, purpose=f"build {kernel}") for kernel in ("6.1.0", "6.12.0"))
    both = plan_hold(held_by(one), two, NOW)
    assert both.action == "renewed"
    assert both.record is not None
    assert both.record.purposes == ("build 6.1.0", "build 6.12.0")
    left = plan_release(data_of(both.record), one)
    assert left.action == "kept"
    assert left.record == replace(both.record, purposes=("build 6.12.0",))
    with pytest.raises(HostLocked):
        plan_hold(data_of(left.record), BOB, NOW)
    assert plan_release(data_of(left.record), two).action == "released"


def test_purpose_that_is_not_held_releases_nothing() -> None:
    built = replace(ADA, purpose="build 6.1.0")
    outcome = plan_release(held_by(built), ADA)
    assert outcome.action == "kept"
    assert outcome.record == outcome.previous


def test_purpose_with_a_shorter_lease_does_not_shorten_another() -> None:
    brief = replace(ADA, purpose="look", lease_seconds=5)
    both = plan_hold(held_by(ADA), brief, NOW)
    assert both.record is not None
    assert both.record.lease_seconds == ADA.lease_seconds
    alone = plan_hold(held_by(ADA), replace(ADA, lease_seconds=5), NOW)
    assert alone.record is not None
    assert alone.record.lease_seconds == 5


def test_dead_run_leaves_none_of_its_purposes() -> None:
    dead = plan_hold(held_by(ADA), replace(ADA, purpose="build 6.1.0"), NOW).record
    assert dead is not None
    succeeding = LockRequest("run-b", "bob", supersedes="run-a")
    taken = plan_hold(data_of(dead), succeeding, NOW).record
    assert taken is not None
    assert (taken.run, taken.purposes) == ("run-b", (succeeding.purpose,))
    assert plan_release(data_of(dead), succeeding).action == "released"


def test_other_run_is_told_who_holds_since_when() -> None:
    with pytest.raises(HostLocked) as caught:
        plan_hold(held_by(ADA), BOB, NOW + timedelta(seconds=100))
    told = caught.value.as_dict()
    assert told["code"] == "host_locked"
    assert "ada@one pid 1" in told["read"]
    assert NOW.isoformat() in told["read"]
    assert "500 s" in told["read"]
    assert "p2p_break_lock=true" in told["remedy"]
    assert (told["run"], told["holder"], told["since"]) == (
        "run-a",
        "ada@one pid 1",
        NOW.isoformat(),
    )


@pytest.mark.parametrize(("seconds", "taken"), [(599, False), (600, True), (10**6, True)])
def test_lease_runs_out(seconds: int, taken: bool) -> None:
    now = NOW + timedelta(seconds=seconds)
    if taken:
        outcome = plan_hold(held_by(ADA), BOB, now)
        assert outcome.action == "taken_over"
        assert outcome.previous is not None
        assert outcome.previous.run == "run-a"
        assert outcome.record is not None
        assert outcome.record.since == now
    else:
        with pytest.raises(HostLocked):
            plan_hold(held_by(ADA), BOB, now)


def test_clock_set_back_keeps_the_lock() -> None:
    with pytest.raises(HostLocked):
        plan_hold(held_by(ADA), BOB, NOW - timedelta(days=365))


def test_broken_on_demand() -> None:
    request = LockRequest("run-b", "bob", break_lock=True)
    assert plan_hold(held_by(ADA), request, NOW).action == "broken"


def test_dead_run_is_superseded_by_name_only() -> None:
    of_dead = LockRequest("run-b", "bob", supersedes="run-a")
    assert plan_hold(held_by(ADA), of_dead, NOW).action == "taken_over"
    of_another = LockRequest("run-b", "bob", supersedes="run-z")
    with pytest.raises(HostLocked):
        plan_hold(held_by(ADA), of_another, NOW)


@pytest.mark.parametrize(
    "data", [b"", b"{}", b"[]", b"null", b'{"schema": 2}', b"\xff", b"{", NO_PURPOSE]
)
def test_unreadable_lock_stops_until_broken(data: bytes) -> None:
    with pytest.raises(HostLocked, match="no lock of this release"):
        plan_hold(data, BOB, NOW)
    assert plan_release(data, BOB).action == "held_by_other"
    breaking = LockRequest("run-b", "bob", break_lock=True)
    assert plan_hold(data, breaking, NOW).action == "broken"
    assert plan_release(data, breaking).action == "broken"


@given(st.binary(max_size=300))
def test_any_bytes_are_a_lock_or_none(data: bytes) -> None:
    parse_record(data)


@given(
    st.text(),
    st.integers(1, 10**6),
    st.datetimes(timezones=st.just(UTC)),
    st.lists(st.text(), min_size=1),
)
def test_record_survives_the_file(
    name: str, lease: int, moment: datetime, purposes: list[str]
) -> None:
    record = LockRecord(name, name[::-1], moment, moment, lease, tuple(purposes))
    assert parse_record(data_of(record)) == record


def test_hold_and_release_leave_no_trace(tmp_path: Path) -> None:
    assert hold(tmp_path, ADA).action == "acquired"
    assert hold(tmp_path, ADA).action == "renewed"
    assert [entry.name for entry in (tmp_path / LOCK_PATH).parent.iterdir()] == ["lock.json"]
    assert release(tmp_path, ADA).action == "released"
    assert not (tmp_path / LOCK_PATH).parent.exists()
    assert release(tmp_path, ADA).action == "free"


def test_released_purpose_leaves_the_file_to_the_others(tmp_path: Path) -> None:
    build = replace(ADA, purpose="build 6.1.0")
    hold(tmp_path, ADA)
    hold(tmp_path, build)
    assert release(tmp_path, ADA, dry_run=True).action == "kept"
    assert release(tmp_path, ADA).action == "kept"
    with pytest.raises(HostLocked):
        hold(tmp_path, BOB)
    assert release(tmp_path, ADA).action == "kept"
    assert release(tmp_path, build).action == "released"
    assert hold(tmp_path, BOB).action == "acquired"


def test_release_spares_the_other_state_of_gpufleet(tmp_path: Path) -> None:
    hold(tmp_path, ADA)
    other = (tmp_path / LOCK_PATH).parent / "boot"
    other.mkdir()
    release(tmp_path, ADA)
    assert other.is_dir()


def test_release_spares_another_runs_lock(tmp_path: Path) -> None:
    hold(tmp_path, ADA)
    assert release(tmp_path, BOB).action == "held_by_other"
    assert (tmp_path / LOCK_PATH).exists()
    assert release(tmp_path, LockRequest("run-b", "bob", break_lock=True)).action == "broken"
    assert not (tmp_path / LOCK_PATH).exists()


def test_dry_run_tells_and_writes_nothing(tmp_path: Path) -> None:
    outcome = hold(tmp_path, ADA, dry_run=True)
    assert outcome.record is not None
    assert outcome.record.holder == ADA.holder
    assert list(tmp_path.iterdir()) == []
    hold(tmp_path, ADA)
    with pytest.raises(HostLocked):
        hold(tmp_path, BOB, dry_run=True)
    assert release(tmp_path, ADA, dry_run=True).action == "released"
    assert (tmp_path / LOCK_PATH).exists()


def test_guarded_directory_is_not_waited_for_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock, "_GUARD_WAIT_SECONDS", 0.05)
    monkeypatch.setattr(lock, "_try_flock", lambda _descriptor: False)
    with pytest.raises(LockBusy):
        hold(tmp_path, ADA)


def _race(root: str, number: int, start: Barrier, winners: str) -> None:
    request = LockRequest(f"run-{number}", f"runner {number}")
    start.wait()
    try:
        hold(Path(root), request)
    except HostLocked:
        return
    Path(winners, str(number)).touch()


def _take_turns(root: str, number: int, start: Barrier, log: str) -> None:
    request = LockRequest(f"run-{number}", f"runner {number}")
    start.wait()
    done = 0
    while done < 10:
        try:
            hold(Path(root), request)
        except HostLocked:
            continue
        # Exclusive creation fails if two hold the lock at once.
        with Path(log, "inside").open("x"):
            pass
        Path(log, "inside").unlink()
        release(Path(root), request)
        done += 1


@pytest.mark.parametrize("target", [_race, _take_turns])
def test_of_many_processes_one_holds(tmp_path: Path, target: object) -> None:
    context = multiprocessing.get_context("fork")
    count = 8 if target is _race else 4
    start = context.Barrier(count)
    root, log = tmp_path / "root", tmp_path / "log"
    root.mkdir()
    log.mkdir()
    processes = [
        context.Process(target=target, args=(str(root), number, start, str(log)))
        for number in range(count)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(timeout=60)
    assert [process.exitcode for process in processes] == [0] * count
    left = [entry.name for entry in log.iterdir()]
    if target is _race:
        assert len(left) == 1
        data = json.loads((root / LOCK_PATH).read_bytes())
        assert data["run"] == f"run-{left[0]}"
    else:
        # The directory went with each release and the runs still never met.
        assert left == []
        assert not (root / LOCK_PATH).parent.exists()


def test_a_host_is_held_while_a_block_runs_and_let_go_where_it_fails(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="inside"), held(tmp_path, ADA) as outcome:
        assert outcome.action == "acquired"
        with pytest.raises(HostLocked):
            hold(tmp_path, BOB)
        raise ValueError("inside")
    assert not (tmp_path / LOCK_PATH).exists()


def test_what_the_run_holds_the_host_for_besides_stays(tmp_path: Path) -> None:
    hold(tmp_path, ADA)
    with held(tmp_path, replace(ADA, purpose="verify")):
        pass
    record = parse_record((tmp_path / LOCK_PATH).read_bytes())
    assert record is not None
    assert record.purposes == ("change",)
