# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a measurement takes of memory, on the GPUs and on the host, is what the docs say."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.gpufleet.p2p.plugins.module_utils._p2p.child import child_environment
from support.host_tree import build_host_tree, load_description
from support.simulated_gpus import environment_for

MIB = 1 << 20
FREE_BYTES = 128 * MIB
# Guard bands and what results and flags are kept in, on a GPU and on the host.
SMALL_BYTES = MIB

# One child, of whose memory the most at any time is told on standard error.
_SCRIPT = """
import json, os, sys
from collections import Counter
from ansible_collections.gpufleet.p2p.plugins.module_utils._gpu import device
from ansible_collections.gpufleet.p2p.plugins.module_utils._p2p import conversation

held, most = Counter(), Counter()

def count(kind, name):
    make = kind.__init__

    def counted(self, gpu, size):
        make(self, gpu, size)
        held[name(gpu)] += size
        most[name(gpu)] = max(most[name(gpu)], held[name(gpu)])

    kind.__init__ = counted

count(device.Buffer, lambda gpu: gpu.bdf)
count(device.HostBuffer, lambda gpu: "host")
free = device.Buffer.close

def freed(self):
    free(self)
    held[self.gpu.bdf] -= self.size

device.Buffer.close = freed
leave = conversation.leave

def told():
    print(json.dumps(most), file=sys.stderr)
    leave()

conversation.leave = told
from ansible_collections.gpufleet.p2p.plugins.module_utils._p2p import MODULE as child
child.main(os.getppid())
"""


def most_of(libraries: Path, tmp_path: Path, module: str, lines: list[object]) -> dict[str, int]:
    """Return the most bytes at any time by PCI address, and of the host, of a child of a module.

    Args:
        lines: what is written to it, of which ADDRESSES in the first are those of two GPUs.
    """
    description = {**load_description("alpha"), "simulated_free_bytes": FREE_BYTES}
    tree = build_host_tree(tmp_path, description)
    text = "".join(json.dumps(line) + "\n" for line in lines)
    for number, address in enumerate(tree.gpus[:2]):
        text = text.replace(f"GPU{number}", address)
    done = subprocess.run(
        [sys.executable, "-c", _SCRIPT.replace("MODULE", module)],
        input=text,
        env=child_environment(environment_for(libraries, tree)),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert '"trouble"' not in done.stdout
    assert '"failure"' not in done.stdout
    most: dict[str, int] = json.loads(done.stderr.splitlines()[-1])
    return most


def pair_job(**changes: Any) -> dict[str, Any]:
    return {
        "addresses": ["GPU0", "GPU1"],
        "directions": [[0, 1], [1, 0]],
        "payload_bytes": 1024 * MIB,
        "copy_bytes": 1024 * MIB,
        "limit_seconds": 60.0,
        "quick": True,
        "seed": 7,
        "extent_bytes": 1024 * MIB,
        "extent_seconds": 1000.0,
        **changes,
    }


@pytest.mark.parametrize(("extent", "eighths"), [(1024 * MIB, 3), (0, 2)])
def test_a_pair_takes_eighths_of_what_is_free(
    libraries: Path, tmp_path: Path, extent: int, eighths: int
) -> None:
    lines = [pair_job(extent_bytes=extent), [[0, 1], [1, 0]]]
    most = most_of(libraries, tmp_path, "worker", lines)
    host = most.pop("host")
    assert len(most) == 2
    for taken in most.values():
        assert taken <= eighths * FREE_BYTES // 8 + SMALL_BYTES
        assert taken > (eighths - 1) * FREE_BYTES // 8, "less than that is no test"
    assert 32 * MIB <= host <= 32 * MIB + SMALL_BYTES


def test_a_process_of_the_check_between_two_takes_24_mib(libraries: Path, tmp_path: Path) -> None:
    job = {"address": "GPU0", "payload_bytes": 8 * MIB, "limit_seconds": 60.0}
    most = most_of(libraries, tmp_path, "ipc_rank", [job])
    host = most.pop("host")
    (taken,) = most.values()
    assert 24 * MIB <= taken <= 24 * MIB + SMALL_BYTES
    assert 8 * MIB <= host <= 8 * MIB + SMALL_BYTES


def test_a_group_takes_a_quarter_of_what_is_free(libraries: Path, tmp_path: Path) -> None:
    job = {
        "addresses": ["GPU0", "GPU1"],
        "copy_bytes": 1024 * MIB,
        "limit_seconds": 60.0,
        "quick": True,
        "seed": 7,
    }
    most = most_of(libraries, tmp_path, "all_to_all", [job])
    host = most.pop("host")
    for taken in most.values():
        assert FREE_BYTES // 8 < taken <= FREE_BYTES // 4 + SMALL_BYTES
    assert host <= 32 * MIB + SMALL_BYTES
