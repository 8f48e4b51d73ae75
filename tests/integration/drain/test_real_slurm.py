# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A node of a real Slurm, in a throw-away configuration on loopback, drained and given back."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from ansible_collections.gpufleet.p2p.plugins.module_utils._drain.hooks import parse
from ansible_collections.gpufleet.p2p.plugins.module_utils._drain.method import (
    DrainRefused,
    Standing,
)
from ansible_collections.gpufleet.p2p.plugins.module_utils._drain.slurm import parse_node
from ansible_collections.gpufleet.p2p.plugins.module_utils._drain.steps import (
    drain,
    method_of,
    restore,
)
from ansible_collections.gpufleet.p2p.plugins.module_utils._host.commands import CommandFailed

NODE = "gpu01"
HOOKS = parse({"method": "slurm", "node": NODE})
LIMIT_SECONDS = 60.0
CONFIGURATION = """\
ClusterName=throwaway
SlurmctldHost=localhost(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/none
CredType=cred/none
SlurmctldPort={controller}
SlurmdPort={daemon}
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
ProctrackType=proctrack/pgid
TaskPlugin=task/none
MpiDefault=none
SwitchType=switch/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
NodeName={node} NodeHostname=localhost NodeAddr=127.0.0.1 CPUs=1 State=UNKNOWN
PartitionName=all Nodes={node} Default=YES State=UP
"""


def ask(*words: str) -> str:
    """Run one of Slurm's tools and return what it printed."""
    return subprocess.run(words, capture_output=True, text=True, check=True, timeout=60).stdout


def words_of_state() -> frozenset[str]:
    state = parse_node(ask("scontrol", "show", "node", NODE))
    assert state is not None
    # Seconds without an answer, on a busy machine, are not what is tested here.
    return state.words - {"NOT_RESPONDING"}


def wait(what: str, holds: Callable[[], bool]) -> None:
    """Wait until it holds."""
    deadline = time.monotonic() + LIMIT_SECONDS
    while not holds():
        assert time.monotonic() < deadline, f"{what}: {words_of_state()}"
        time.sleep(0.2)


def end(pid_file: Path) -> None:
    """End a daemon of this test, and wait until it has."""
    pid = int(pid_file.read_text())
    os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + LIMIT_SECONDS
    while Path(f"/proc/{pid}").exists():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port: int = listening.getsockname()[1]
        return port


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Return the folder of a running cluster of one node."""
    folder = tmp_path_factory.mktemp("slurm")
    for name in ("state", "spool"):
        (folder / name).mkdir()
    text = CONFIGURATION.format(
        controller=free_port(), daemon=free_port(), folder=folder, node=NODE
    )
    (folder / "slurm.conf").write_text(text)
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("SLURM_CONF", str(folder / "slurm.conf"))
        environment.setenv("PATH", f"{os.environ['PATH']}:/usr/sbin")
        ask("slurmctld", "-c", "-i")
        try:
            ask("slurmd", "-N", NODE)
            wait("the node is idle", lambda: words_of_state() == {"IDLE"})
            yield folder
            end(folder / "slurmd.pid")
        finally:
            end(folder / "slurmctld.pid")


def test_drained_while_a_job_runs_restarted_and_given_back(cluster: Path) -> None:
    ask("sbatch", "--output=/dev/null", "--wrap=sleep 5")
    wait("the job runs", lambda: "ALLOCATED" in words_of_state())
    method = method_of(HOOKS, mark="3f1c9a77d02b4e65")
    first = drain(method, dry_run=False)
    assert (first.changed, first.standing, first.idle) == (True, Standing.OURS, False)
    wait("the job ends", lambda: drain(method, dry_run=False).idle)

    end(cluster / "slurmd.pid")
    ask("slurmd", "-N", NODE, "-b")  # tells Slurm of a boot that it did not ask for
    wait("the restart is noticed", lambda: {"DOWN", "DRAIN"} <= words_of_state())
    assert method.look().standing is Standing.OURS
    given_back = restore(method, dry_run=False)
    assert (given_back.changed, given_back.standing) == (True, Standing.FREE)
    wait("the node takes jobs", lambda: words_of_state() == {"IDLE"})
    assert not restore(method, dry_run=False).changed


def test_what_another_drained_stays_drained(cluster: Path) -> None:
    ask("scontrol", "update", f"NodeName={NODE}", "State=DRAIN", "Reason=fan of 3f1c")
    try:
        method = method_of(HOOKS, mark="3f1c9a77d02b4e65")
        outcome = drain(method, dry_run=False)
        assert (outcome.changed, outcome.standing) == (False, Standing.OTHER)
        assert not restore(method, dry_run=False).changed
        assert "DRAIN" in words_of_state()
        assert "fan of 3f1c" in method.look().read
    finally:
        ask("scontrol", "update", f"NodeName={NODE}", "State=RESUME")


def test_check_mode_changes_nothing(cluster: Path) -> None:
    outcome = drain(method_of(HOOKS, mark="3f1c9a77d02b4e65"), dry_run=True)
    assert (outcome.changed, outcome.standing) == (True, Standing.FREE)
    assert words_of_state() == {"IDLE"}


def test_a_node_of_another_name_is_refused(cluster: Path) -> None:
    with pytest.raises((CommandFailed, DrainRefused), match="gpu77"):
        method_of(parse({"method": "slurm", "node": "gpu77"})).look()
