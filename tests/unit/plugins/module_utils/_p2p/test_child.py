# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A child is ended within its limit whatever it does, and what it said is kept."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.gpufleet.p2p.plugins.module_utils._p2p import child as child_module
from ansible_collections.gpufleet.p2p.plugins.module_utils._p2p.child import (
    Child,
    ChildEnd,
    child_environment,
    listen,
)
from ansible_collections.gpufleet.p2p.plugins.module_utils._p2p.conversation import leave
from ansible_collections.gpufleet.p2p.plugins.module_utils._p2p.protocol import Job, Measurement

JOB = Job(
    addresses=("0000:01:00.0", "0000:02:00.0"),
    directions=((0, 1), (1, 0)),
    payload_bytes=1 << 20,
    copy_bytes=1 << 20,
    limit_seconds=1.0,
    quick=True,
    seed=1,
)
STEP = '{"event": "step", "from": 0, "to": 1, "name": "copy_write"}'
WAITING = '{"event": "waiting", "from": 0, "to": 1}'
FINISHED = '{"event": "finished", "from": 1, "to": 0}'


def run(script: str, limit: float = 20.0) -> tuple[ChildEnd, list[dict[str, Any]]]:
    events: list[dict[str, Any]] = []
    with started(script, events) as child:
        listen([child], limit)
        return child.end(), events


def started(script: str, events: list[dict[str, Any]]) -> Child:
    return Child(
        [sys.executable, "-c", script],
        JOB.to_json(),
        on_event=lambda event: events.append(dict(event)),
        environment=child_environment(os.environ),
    )


def is_running(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def test_a_job_survives_the_way_to_the_child() -> None:
    assert Job.from_json(JOB.to_json()) == JOB


def test_events_are_passed_on_and_noise_is_not() -> None:
    end, events = run(f"print('NVRM: noise'); print('''{STEP}'''); print('''{FINISHED}''')")
    assert [event["event"] for event in events] == ["step", "finished"]
    assert (end.finished, end.timed_out, end.status) == (True, False, 0)


def test_the_child_gets_its_job() -> None:
    echo = "sys.stdin.readline().replace('{', '{\"event\": \"echo\", ', 1)"
    _, events = run(f"import sys; print({echo})")
    assert events[0]["addresses"] == list(JOB.addresses)


def test_a_hang_is_ended_at_the_limit_with_all_that_was_started(tmp_path: Path) -> None:
    marker = tmp_path / "grandchild"
    script = (
        "import subprocess, sys, time\n"
        "grandchild = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        f"open({str(marker)!r}, 'w').write(str(grandchild.pid))\n"
        f"print('''{STEP}''', flush=True)\n"
        "time.sleep(600)\n"
    )
    begin = time.monotonic()
    end, events = run(script, limit=1.5)
    assert time.monotonic() - begin < 8
    assert (end.timed_out, end.finished, end.unkillable) == (True, False, False)
    assert [event["event"] for event in events] == ["step"]
    assert not is_running(end.pid)
    grandchild = int(marker.read_text())
    deadline = time.monotonic() + 5
    while is_running(grandchild) and time.monotonic() < deadline:
        # An orphan is reaped by init, or stays a zombie where there is none.
        if "Z" in Path(f"/proc/{grandchild}/stat").read_text().rsplit(")", 1)[1][:3]:
            break
        time.sleep(0.05)
    else:
        assert not is_running(grandchild)


def test_a_death_is_a_result() -> None:
    end, _ = run("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)")
    assert (end.finished, end.timed_out, end.status) == (False, False, -11)


def test_last_words_are_kept() -> None:
    end, _ = run("raise RuntimeError('out of luck')")
    assert end.said.endswith("RuntimeError: out of luck")


def test_the_environment_is_fit_for_measuring(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    environment = child_environment(os.environ)
    assert "CUDA_VISIBLE_DEVICES" not in environment
    assert environment["CUDA_DEVICE_ORDER"] == "PCI_BUS_ID"
    assert environment["CUDA_CACHE_DISABLE"] == "1"
    assert sys.path[-1] in environment["PYTHONPATH"].split(os.pathsep)


def test_a_measurement_collects_what_it_is_told() -> None:
    measurement = Measurement()
    for event in (
        {"event": "capability", "cuda": True},
        {"event": "step", "name": "sm_write"},
        {"event": "rate", "name": "on_uni", "value": 27.4, "spread": 0.004},
        {"event": "trouble", "code": "cuda_error", "detail": "cuLaunchKernel returned 700"},
    ):
        measurement.take(event)
    assert (measurement.cuda_capability, measurement.step) == (True, "sm_write")
    assert measurement.rates == {"on_uni": 27.4}
    assert measurement.spreads == {"on_uni": 0.004}
    assert (measurement.trouble, measurement.is_right) == ("cuda_error", False)


def test_a_child_that_waits_goes_on_with_its_line() -> None:
    script = (
        "import sys; sys.stdin.readline()\n"
        f"print({WAITING!r}, flush=True)\n"
        "line = sys.stdin.readline().strip()\n"
        'print(\'{"event": "echo", "line": %s}\' % line)\n'
    )
    events: list[dict[str, Any]] = []
    with started(script, events) as child:
        listen([child], 20.0)
        assert (child.waiting, events) == (True, [])
        child.go_on("[[0, 1]]")
        listen([child], 20.0)
        assert (child.waiting, events) == (False, [{"event": "echo", "line": [[0, 1]]}])


def test_one_child_that_hangs_does_not_hold_up_another() -> None:
    events: list[dict[str, Any]] = []
    with (
        started("import time; time.sleep(600)", []) as hanging,
        started(f"print({FINISHED!r})", events) as finishing,
    ):
        listen([hanging, finishing], 1.5)
        assert (hanging.end().timed_out, finishing.end().finished) == (True, True)
    assert len(events) == 1


def test_leaving_the_block_ends_a_child_that_waits() -> None:
    script = f"print({WAITING!r}, flush=True); import time; time.sleep(600)"
    with pytest.raises(KeyboardInterrupt), started(script, []) as child:
        listen([child], 20.0)
        assert is_running(child.pid)
        raise KeyboardInterrupt
    assert not is_running(child.pid)


@pytest.fixture(name="spared")
def _spared(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """Return the processes that SIGKILL does not end for now, as in state D; they go afterwards."""
    spared: list[int] = []
    kill_group = os.killpg

    def kill_but(group: int, number: int) -> None:
        if number == 0:
            kill_group(group, 0)
        elif group not in spared:
            os.kill(group, number)

    monkeypatch.setattr(child_module.os, "killpg", kill_but)
    monkeypatch.setattr(child_module, "_KILL_WAIT_SECONDS", 0.5)
    yield spared
    for pid in spared:
        os.kill(pid, signal.SIGKILL)


def test_a_child_that_cannot_be_killed_is_reported_and_not_waited_for(spared: list[int]) -> None:
    with started("import time; time.sleep(600)", []) as child:
        spared.append(child.pid)
        begin = time.monotonic()
        listen([child], 0.5)
        end = child.end()
    assert time.monotonic() - begin < 5
    assert (end.unkillable, end.timed_out, end.status) == (True, True, None)
    assert end.pid == child.pid


def test_a_process_that_a_child_leaves_behind_is_reported(spared: list[int]) -> None:
    script = (
        "import subprocess, sys\n"
        "grandchild = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'],\n"
        "    stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)\n"
        'print(\'{"event": "started", "pid": %d}\' % grandchild.pid)\n'
        f"print({FINISHED!r})\n"
    )
    end, events = run(script)
    spared.append(events[0]["pid"])
    assert (end.finished, end.unkillable, end.pid) == (True, True, spared[0])


def test_what_a_child_started_may_end_a_little_later() -> None:
    script = (
        "import subprocess, sys\n"
        "grandchild = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'],\n"
        "    stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)\n"
        f"print({FINISHED!r})\n"
    )
    end, _events = run(script)
    assert (end.finished, end.unkillable) == (True, False)


def test_a_child_leaves_without_an_orderly_end() -> None:
    script = (
        f"import atexit\nfrom {leave.__module__} import leave\n"
        f"atexit.register(print, {STEP!r})\n"
        f"print({FINISHED!r}, flush=True)\n"
        "leave()\n"
    )
    end, events = run(script)
    assert (end.finished, end.status) == (True, 0)
    assert [event["event"] for event in events] == ["finished"]
