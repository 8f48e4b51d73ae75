# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Running the product's verification against the simulated driver's libraries, without a VM.

The libraries find the described host and its tree by environment variables, and the loader finds
the libraries by LD_LIBRARY_PATH, which counts from a process's start: so each run is a process.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from ansible_collections.gpufleet.p2p.plugins.module_utils._p2p.result import Result

from support.host_tree import BUILD_ID, HostTree

_REPOSITORY = Path(__file__).resolve().parents[2]
_USERSPACE = _REPOSITORY / "lab/simulated_driver/userspace"
GPU_MATCH = "1b36:0005:*"

# The module's body with a root of its own.
_SCRIPT = """
import json, sys
from pathlib import Path
from ansible_collections.gpufleet.p2p.plugins.module_utils._driver.identity import loaded_module
from ansible_collections.gpufleet.p2p.plugins.module_utils._gpu.nvml import open_nvml
from ansible_collections.gpufleet.p2p.plugins.module_utils._p2p.result import Driver
from ansible_collections.gpufleet.p2p.plugins.module_utils._p2p.runner import Options, verify

given = json.load(sys.stdin)
root = Path(given["root"])
module = loaded_module(root, "nvidia")
expected = given["options"]["expected_build_id"]
options = {name: tuple(v) if isinstance(v, list) else v for name, v in given["options"].items()}
with open_nvml(None) as nvml:
    driver = Driver(nvml.driver_version(), module.build_id, module.build_id == expected)
    result = verify(nvml, driver, Options(**options), root=root)
print(json.dumps(result.to_dict()))
"""


def build_libraries(directory: Path) -> Path:
    """Compile libcuda and libnvidia-ml into a directory and return it."""
    subprocess.run(
        ["make", "-s", "-C", str(_USERSPACE), f"BUILD={directory}"],
        check=True,
        capture_output=True,
        text=True,
    )
    return directory


def environment_for(libraries: Path, tree: HostTree, fault: str = "none") -> dict[str, str]:
    """Return the environment in which the libraries answer for a host with a fault."""
    return {
        **os.environ,
        "LD_LIBRARY_PATH": str(libraries),
        "GPUFLEET_LAB_ROOT": str(tree.root),
        "GPUFLEET_LAB_HOST": str(tree.description_path),
        "GPUFLEET_LAB_FAULT": fault,
        "PYTHONPATH": str(_REPOSITORY / "collection"),
    }


def verify_in(environment: Mapping[str, str], tree: HostTree, **options: object) -> Result:
    """Verify the host and return the result; AssertionError with its words where it refused."""
    wanted = {
        "gpu_match": [GPU_MATCH],
        "quick": True,
        "child_timeout": 20,
        "expected_build_id": BUILD_ID,
        **options,
    }
    done = subprocess.run(
        [sys.executable, "-c", _SCRIPT],
        input=json.dumps({"root": str(tree.root), "options": wanted}),
        env=dict(environment),
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return Result.from_dict(json.loads(done.stdout))
