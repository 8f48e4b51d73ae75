# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Units by control group, and units stopped for a while, by a systemctl that notes its calls."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.gpufleet.p2p.plugins.module_utils._host.services import (
    ServiceRefused,
    active,
    stopped,
    unit_name,
    unit_of,
)

_SYSTEMCTL = """\
#!/bin/sh
state={folder}/$3
case $1 in
  is-active) test -e $state; exit ;;
  *) echo $1 $3 >> {folder}/calls ;;
esac
test -e $state.$1-fails && {{ echo "Job for $3 failed" >&2; exit 1; }}
case $1 in stop) rm $state ;; start) : > $state ;; esac
"""


class Systemd:
    """A host whose systemctl is a script."""

    def __init__(self, root: Path, *running: str) -> None:
        self.root = root
        (root / "run/systemd/system").mkdir(parents=True)
        for unit in running:
            (root / unit).touch()

    def fails(self, verb: str, unit: str) -> None:
        (self.root / f"{unit}.{verb}-fails").touch()

    def calls(self) -> list[str]:
        path = self.root / "calls"
        return path.read_text().splitlines() if path.exists() else []


@pytest.fixture
def systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Systemd:
    tools = tmp_path / "bin"
    tools.mkdir()
    (tools / "systemctl").write_text(_SYSTEMCTL.format(folder=tmp_path))
    (tools / "systemctl").chmod(0o755)
    monkeypatch.setenv("PATH", str(tools), prepend=":")
    return Systemd(tmp_path, "one.service", "two.service")


@pytest.mark.parametrize(
    ("cgroup", "unit"),
    [
        ("0::/system.slice/nvidia-persistenced.service\n", "nvidia-persistenced.service"),
        ("0::/system.slice/system-gpu.slice/gpu@0.service/worker\n", "gpu@0.service"),
        (
            "0::/user.slice/user-1000.slice/user@1000.service/app.slice/x.service\n",
            "user@1000.service",
        ),
        ("0::/user.slice/user-0.slice/session-3.scope\n", "session-3.scope"),
        ("12:pids:/a.service\n1:name=systemd:/system.slice/ollama.service\n", "ollama.service"),
        ("12:pids:/system.slice/ollama.service\n", None),
        ("0::/\n", None),
        ("0::/init.slice\n", None),
        ("0::/kubepods/pod1\n", None),
        ("nonsense\n", None),
        (None, None),
    ],
)
def test_unit_of_a_process(tmp_path: Path, cgroup: str | None, unit: str | None) -> None:
    (tmp_path / "proc/7").mkdir(parents=True)
    if cgroup is not None:
        (tmp_path / "proc/7/cgroup").write_text(cgroup)
    assert unit_of(tmp_path, 7) == unit


def test_names_are_completed_as_systemctl_does() -> None:
    assert unit_name("ollama") == "ollama.service"
    assert unit_name("com.example.app") == "com.example.app.service"
    assert unit_name("docker-1.scope") == "docker-1.scope"


def test_what_runs_is_stopped_in_order_and_started_in_reverse(systemd: Systemd) -> None:
    with stopped(["one.service", "idle.service", "two.service"], systemd.root) as units:
        assert units == ("one.service", "two.service")
        assert active(units, systemd.root) == ()
    assert active(["one.service", "two.service"], systemd.root) == ("one.service", "two.service")
    assert systemd.calls() == [
        "stop one.service",
        "stop two.service",
        "start two.service",
        "start one.service",
    ]


def test_units_are_started_again_after_an_error(systemd: Systemd) -> None:
    with pytest.raises(KeyError), stopped(["one.service"], systemd.root):
        raise KeyError
    assert systemd.calls() == ["stop one.service", "start one.service"]


def test_one_that_does_not_stop_leaves_the_others_running(systemd: Systemd) -> None:
    systemd.fails("stop", "two.service")
    units = ["one.service", "two.service"]
    with pytest.raises(ServiceRefused) as error, stopped(units, systemd.root):
        pytest.fail("went on")
    assert error.value.code == "service_not_stopped"
    assert "Job for two.service failed" in error.value.read
    assert active(units, systemd.root) == ("one.service", "two.service")


def test_one_that_does_not_start_again_is_named_after_all_were_tried(systemd: Systemd) -> None:
    systemd.fails("start", "two.service")
    units = ["one.service", "two.service"]
    with pytest.raises(ServiceRefused) as error, stopped(units, systemd.root):
        pass
    assert error.value.code == "service_not_started"
    assert active(units, systemd.root) == ("one.service",)


def test_without_systemd_nothing_is_called(systemd: Systemd) -> None:
    (systemd.root / "run/systemd/system").rmdir()
    with stopped(["one.service"], systemd.root) as units:
        assert units == ()
    assert systemd.calls() == []
