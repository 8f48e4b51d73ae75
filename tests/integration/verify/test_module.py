# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""p2p_verify through Ansible: pynvml travels, and the child finds its code in the module's zip.

The module reads the real /sys. Root may put a described host's PCI devices and IOMMU groups over
it in a mount namespace of its own, which ends with the process and changes nothing outside.
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
# An isolated interpreter: neither pynvml nor the collection is importable on this "target".
TARGET_PYTHON = "/usr/bin/python3"
OVERLAID = ("sys/bus/pci/devices", "sys/kernel/iommu_groups")


def run_module(
    libraries: Path, tree: HostTree, tmp_path: Path, module: str = "p2p_verify", **options: object
) -> dict[str, Any]:
    """Run the module on localhost inside the described host and return its result."""
    environment = environment_for(libraries, tree)
    del environment["PYTHONPATH"]
    results = tmp_path / "results"
    environment.update(
        ANSIBLE_CONFIG=str(REPOSITORY / "ansible.cfg"),
        ANSIBLE_COLLECTIONS_PATH=str(REPOSITORY / "collection"),
        ANSIBLE_LOCALHOST_WARNING="false",
        ANSIBLE_LOCAL_TEMP=str(tmp_path / "local"),
        ANSIBLE_REMOTE_TEMP=str(tmp_path / "remote"),
    )
    mounts = " && ".join(f"mount --bind {tree.root}/{path} /{path}" for path in OVERLAID)
    subprocess.run(
        [
            "unshare",
            "--mount",
            "sh",
            "-ec",
            f'{mounts} && exec "$@"',
            "sh",
            str(Path(sys.executable).with_name("ansible")),
            "localhost",
            "-m",
            f"gpufleet.p2p.{module}",
            "-a",
            json.dumps({"gpu_match": [GPU_MATCH], **options}),
            "-e",
            json.dumps({"ansible_python_interpreter": TARGET_PYTHON}),
            "--tree",
            str(results),
        ],
        env=environment,
        cwd=tmp_path,
        check=False,
        capture_output=True,
        timeout=120,
    )
    outcome: dict[str, Any] = json.loads((results / "localhost").read_text())
    return outcome


@pytest.fixture(name="tree")
def _tree(tmp_path: Path) -> HostTree:
    assert os.geteuid() == 0, "needs root: a mount namespace puts a described host over /sys"
    return build_host_tree(tmp_path / "host", load_description("alpha"))


def test_a_target_with_nothing_installed_is_verified(
    libraries: Path, tree: HostTree, tmp_path: Path
) -> None:
    result = run_module(libraries, tree, tmp_path, quick=True)
    assert result["changed"] is False
    assert (result["verdict"], result["groups"], result["causes"]) == ("pass", [[0, 1]], [])
    pairs = result["p2p"]["pairs"]
    assert [pair["verdict"] for pair in pairs] == ["pass", "pass"]
    assert pairs[0]["correctness"]["ping_pong"] == "passed"
    assert not list((tmp_path / "remote").glob("ansible-tmp-*")), "nothing is left on the target"


def test_a_bad_verdict_does_not_fail_the_module(
    libraries: Path, tree: HostTree, tmp_path: Path
) -> None:
    tree.set_iommu_type("DMA-FQ")
    result = run_module(libraries, tree, tmp_path, quick=True)
    assert "failed" not in result
    assert result["verdict"] == "fail"
    assert [cause["code"] for cause in result["causes"]] == ["iommu_translating"]


def test_what_cannot_be_measured_is_refused_by_name(
    libraries: Path, tree: HostTree, tmp_path: Path
) -> None:
    result = run_module(libraries, tree, tmp_path, devices=["9"])
    assert result["error"]["code"] == "device_unknown"
    assert result["error"]["read"] == "9"


def test_facts_get_pynvml_the_same_way(libraries: Path, tree: HostTree, tmp_path: Path) -> None:
    result = run_module(libraries, tree, tmp_path, "p2p_facts")
    facts = result["ansible_facts"]["p2p"]
    assert facts["driver"]["nvml"] is True
    assert [gpu["generation"] for gpu in facts["gpus"]] == ["blackwell", "blackwell"]
