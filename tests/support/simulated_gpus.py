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
from ansible_collections.gpufleet.p2p.plugins.module_utils._p2p.options import Options
from ansible_collections.gpufleet.p2p.plugins.module_utils._p2p.result import Driver
from ansible_collections.gpufleet.p2p.plugins.module_utils._p2p.runner import verify

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


def start_verifying(
    environment: Mapping[str, str], tree: HostTree, **options: object
) -> subprocess.Popen[str]:
    """Start verifying the host in a process of its own, which prints the result as JSON."""
    wanted = {
        "gpu_match": [GPU_MATCH],
        "quick": True,
        # Of a machine that does much else at the same time, too.
        "child_timeout": 90,
        "expected_build_id": BUILD_ID,
        **options,
    }
    process = subprocess.Popen(
        [sys.executable, "-c", _SCRIPT],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=dict(environment),
        text=True,
    )
    assert process.stdin is not None
    # A few hundred bytes fit the pipe: this does not block.
    process.stdin.write(json.dumps({"root": str(tree.root), "options": wanted}))
    process.stdin.close()
    process.stdin = None
    return process


def verify_in(environment: Mapping[str, str], tree: HostTree, **options: object) -> Result:
    """Verify the host and return the result; AssertionError with its words where it refused."""
    with start_verifying(environment, tree, **options) as process:
        try:
            printed, errors = process.communicate(timeout=300)
        finally:
            process.kill()
    assert process.returncode == 0, errors
    return Result.from_dict(json.loads(printed))


def processes_with(environment_value: str) -> dict[int, str]:
    """Return the processes whose environment holds a value, as those of a run do.

    Each with its command line, by process id; this process is left out.
    """
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                environment = (entry / "environ").read_bytes()
                command = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if environment_value.encode() in environment:
                found[int(entry.name)] = command.replace(b"\0", b" ").decode()
    return found
