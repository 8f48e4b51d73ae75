# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""This machine verified without an inventory, its GPUs those of a described host.

Root may put the described host's PCI devices over /sys in a mount namespace of its own, as
test_module.py does.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from support.host_tree import HostTree, build_host_tree, load_description
from support.simulated_gpus import GPU_MATCH, environment_for

REPOSITORY = Path(__file__).resolve().parents[3]
OVERLAID = ("sys/bus/pci/devices", "sys/kernel/iommu_groups")

# The command, with the described host's devices taken for GPUs.
SCRIPT = f"""
import functools, sys
from gpufleet import cli, verification_cli
from gpufleet.local import verify_here
verification_cli.verify_here = functools.partial(verify_here, gpu_match=["{GPU_MATCH}"])
sys.exit(cli.main(sys.argv[1:]))
"""


OBSERVED = f"""
from gpufleet import verify_here
verify_here(quick=True, gpu_match=["{GPU_MATCH}"], observer=lambda *told: print(*told))
"""


def verify(
    libraries: Path,
    tree: HostTree,
    *options: str,
    fault: str = "none",
    script: str = SCRIPT,
) -> subprocess.CompletedProcess[str]:
    """Run ``gpufleet verify --quick``, or another script, inside the described host."""
    environment = environment_for(libraries, tree, fault)
    environment["PYTHONPATH"] = f"{REPOSITORY / 'collection'}:{REPOSITORY / 'src'}"
    environment.pop("INVENTORY", None)
    mounts = " && ".join(f"mount --bind {tree.root}/{path} /{path}" for path in OVERLAID)
    command = [sys.executable, "-c", script, "verify", "--quick", *options]
    return subprocess.run(
        ["unshare", "--mount", "sh", "-ec", f'{mounts} && exec "$@"', "sh", *command],
        env=environment,
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.fixture(name="tree")
def _tree(tmp_path: Path) -> HostTree:
    assert os.geteuid() == 0, "needs root: a mount namespace puts a described host over /sys"
    return build_host_tree(tmp_path / "host", load_description("alpha"))


def test_one_command_gives_the_verdict(libraries: Path, tree: HostTree) -> None:
    done = verify(libraries, tree, "--json")
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    assert (result["verdict"], result["groups"]) == ("pass", [[0, 1]])


def test_an_observer_is_told_of_every_pair(libraries: Path, tree: HostTree) -> None:
    assert verify(libraries, tree, script=OBSERVED).stdout.split() == ["0", "1", "1", "1"]


def test_a_mirror_fails_and_its_rate_is_in_no_format(libraries: Path, tree: HostTree) -> None:
    done = verify(libraries, tree, "--format", "classic", fault="mirror")
    assert done.returncode == 1
    enabled = done.stdout.split("Unidirectional P2P=Enabled")[1].splitlines()[2:4]
    assert [line.split() for line in enabled] == [["0", "nan", "nan"], ["1", "nan", "nan"]]


def test_a_gpu_that_is_not_there_is_a_usage_error(libraries: Path, tree: HostTree) -> None:
    done = verify(libraries, tree, "--devices", "9")
    assert done.returncode == 2
    assert "device_unknown" in done.stderr


def test_what_an_ordinary_user_cannot_read_is_told(libraries: Path, tree: HostTree) -> None:
    """The kernel gives the first 64 bytes of configuration space to those who are not root."""
    configurations = list((tree.root / "sys/devices").rglob("config"))
    assert configurations
    for path in configurations:
        path.write_bytes(path.read_bytes()[:64])
    done = verify(libraries, tree)
    assert done.returncode == 0, done.stderr
    assert "✓ pass" in done.stdout
    assert "not read: configuration space of PCIe devices" in done.stdout
