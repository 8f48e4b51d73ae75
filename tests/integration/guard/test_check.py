# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The timer's look, made by the packed program against the simulated driver's libraries.

The control is what people look at today: the driver's own claim of the capability, which stays
"ok" through all of it.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pynvml
import pytest
from ansible_collections.gpufleet.p2p.plugins.module_utils._guard.comparison import read_state
from ansible_collections.gpufleet.p2p.plugins.module_utils._guard.places import (
    ALARM,
    MOTD,
    RECORD,
    SETTINGS,
    Settings,
    below,
)
from ansible_collections.gpufleet.p2p.plugins.module_utils._guard.record import record_of
from ansible_collections.gpufleet.p2p.plugins.module_utils._host.lock import LOCK_PATH
from ansible_collections.gpufleet.p2p.plugins.module_utils._p2p.result import Result
from ansible_collections.gpufleet.p2p.plugins.plugin_utils.guard_program import guard_program
from support.host_tree import HostTree, build_host_tree, load_description
from support.simulated_gpus import GPU_MATCH, build_libraries, environment_for, verify_in

_CHECK = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from gpufleet_host._guard.program import main
raise SystemExit(main(["check"], Path(sys.argv[2])))
"""


class Guarded:
    """A verified host that the program looks at."""

    def __init__(self, tree: HostTree, libraries: Path, program: Path) -> None:
        self.tree = tree
        self.libraries = libraries
        self.program = program
        self.metrics = tree.root / "metrics"

    def verify(self, fault: str = "none") -> Result:
        """Verify the host as verify.yml does."""
        return verify_in(environment_for(self.libraries, self.tree, fault), self.tree)

    def check(self, fault: str = "none") -> int:
        """Let the program look; return its exit status."""
        environment = environment_for(self.libraries, self.tree, fault)
        del environment["PYTHONPATH"]
        words = [sys.executable, "-c", _CHECK, str(self.program), str(self.tree.root)]
        done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
        assert "Traceback" not in done.stderr, done.stderr
        return done.returncode

    def codes(self) -> list[str]:
        """Return what the alarm says."""
        alarm = json.loads(below(self.tree.root, ALARM).read_text())
        return [finding["code"] for finding in alarm["comparison"]]

    def outcome(self) -> str:
        """Return how the trial of copies ended, from the metrics."""
        text = (self.metrics / "gpufleet-guard.prom").read_text()
        match = re.search(r'quick_check_info\{outcome="(\w+)"\} 1', text)
        assert match is not None, text
        return match[1]


@pytest.fixture(scope="module")
def libraries(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_libraries(tmp_path_factory.mktemp("simulated-driver"))


@pytest.fixture
def guarded(tmp_path: Path, libraries: Path) -> Guarded:
    root = tmp_path / "host"
    tree = build_host_tree(root, load_description("alpha"))
    program = tmp_path / "gpufleet-guard"
    program.write_bytes(guard_program(Path(pynvml.__file__)))
    host = Guarded(tree, libraries, program)
    host.metrics.mkdir()
    settings = Settings(gpu_match=(GPU_MATCH,), metrics_directory="/metrics")
    record = record_of(host.verify().to_dict(), read_state(root, settings.gpu_match), time.time())
    for path, content in ((SETTINGS, settings.as_json()), (RECORD, record.as_json())):
        below(root, path).parent.mkdir(parents=True, exist_ok=True)
        below(root, path).write_bytes(content)
    return host


def occupy(host: Guarded) -> None:
    process = host.tree.root / "proc/4711"
    (process / "fd").mkdir(parents=True)
    (process / "comm").write_text("python3\n")
    (process / "fd/7").symlink_to("/dev/nvidia0")


def lock(host: Guarded) -> None:
    now = datetime.now(UTC).isoformat()
    record = {"schema": 1, "run": "r", "holder": "h", "since": now, "renewed": now}
    path = host.tree.root / LOCK_PATH
    path.write_text(json.dumps({**record, "lease_seconds": 3600, "purposes": ["change"]}))


def test_lost_copies_raise_the_alarm_and_right_ones_clear_it(guarded: Guarded) -> None:
    assert guarded.check() == 0
    assert (guarded.codes(), guarded.outcome()) == ([], "passed")

    assert guarded.check("mirror") == 1
    assert (guarded.codes(), guarded.outcome()) == (["p2p_lost"], "failed")
    assert "p2p_lost" in below(guarded.tree.root, MOTD).read_text()
    claimed = {(p.capability.nvml_read, p.capability.cuda) for p in guarded.verify("mirror").pairs}
    assert claimed == {("OK", True)}, "the control noticed"

    assert guarded.check() == 0
    assert guarded.codes() == []
    assert not below(guarded.tree.root, MOTD).exists()


def test_one_lost_direction_is_named(guarded: Guarded) -> None:
    assert guarded.check("bit_flip:1>0") == 1
    alarm = json.loads(below(guarded.tree.root, ALARM).read_text())
    (finding,) = alarm["comparison"]
    first, second = guarded.tree.gpus
    # A pair that passes one way only is of no use either way; the broken way has its own code.
    assert f"{second} to {first}: one_way, data_bit_flip" in finding["read"]
    assert f"{first} to {second}: one_way" in finding["read"]


@pytest.mark.parametrize("occupied", [occupy, lock])
def test_gpus_in_use_are_left_alone(guarded: Guarded, occupied: Callable[[Guarded], None]) -> None:
    occupied(guarded)
    # Copies would find this fault; none are made.
    assert guarded.check("mirror") == 0
    assert guarded.outcome() == "busy"


def test_what_the_host_says_itself_needs_no_copies(guarded: Guarded) -> None:
    occupy(guarded)
    guarded.tree.set_iommu_type("DMA-FQ")
    (guarded.tree.root / "proc/cmdline").write_text("root=/dev/vda1 ro\n")
    assert guarded.check() == 1
    assert guarded.codes() == ["kernel_parameters_changed", "iommu_translates"]


def test_without_a_record_there_is_nothing_to_compare(guarded: Guarded) -> None:
    below(guarded.tree.root, RECORD).unlink()
    assert guarded.check("mirror") == 0
    assert guarded.outcome() == "off"
