# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The second round moves a longer pattern: what lies further apart is told apart there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ansible_collections.gpufleet.p2p.plugins.module_utils._p2p import worker
from ansible_collections.gpufleet.p2p.plugins.module_utils._p2p.child import (
    Child,
    child_command,
    child_environment,
    listen,
)
from ansible_collections.gpufleet.p2p.plugins.module_utils._p2p.protocol import Job
from support.host_tree import build_host_tree, load_description
from support.simulated_gpus import environment_for

MIB = 1 << 20
LIMIT_SECONDS = 120.0


def judgement(
    libraries: Path, tmp_path: Path, fault: str, extent_bytes: int, free_bytes: int = 128 * MIB
) -> dict[str, Any]:
    """Return what the checks of GPU 0 to GPU 1 say of a payload of 1 MiB."""
    description = {**load_description("alpha"), "simulated_free_bytes": free_bytes}
    tree = build_host_tree(tmp_path, description)
    job = Job(
        addresses=(tree.gpus[0], tree.gpus[1]),
        directions=((0, 1),),
        payload_bytes=MIB,
        copy_bytes=MIB,
        limit_seconds=30.0,
        quick=True,
        seed=7,
        extent_bytes=extent_bytes,
        # However slow this host is, the length is not cut short by it.
        extent_seconds=1000.0,
    )
    events: list[dict[str, Any]] = []
    with Child(
        child_command(worker.main),
        job.to_json(),
        on_event=lambda event: events.append(dict(event)),
        environment=child_environment(environment_for(libraries, tree, fault)),
    ) as child:
        listen([child], LIMIT_SECONDS)
    troubles = [event for event in events if event["event"] == "trouble"]
    assert not troubles
    return next(event for event in events if event["event"] == "judgement")


def test_what_the_usual_payload_cannot_see_the_long_one_does(
    libraries: Path, tmp_path: Path
) -> None:
    seen = judgement(libraries, tmp_path, "alias_2mib", 8 * MIB)
    assert seen["code"] == "data_aliased"
    assert (seen["copy_write"], seen["sm_read"]) == ("failed", "failed")
    assert seen["pattern_bytes"] == 8 * MIB
    assert "of 1048576 words wrong" in seen["detail"]
    assert seen["detail"].endswith("addresses repeat every 2097152 bytes")


def test_the_same_passes_where_the_payload_is_short(libraries: Path, tmp_path: Path) -> None:
    seen = judgement(libraries, tmp_path, "alias_2mib", 0)
    assert (seen["code"], seen["pattern_bytes"]) == (None, MIB)


def test_a_long_payload_that_is_right_passes(libraries: Path, tmp_path: Path) -> None:
    seen = judgement(libraries, tmp_path, "none", 12 * MIB)
    assert (seen["code"], seen["ping_pong"]) == (None, "passed")
    assert seen["pattern_bytes"] == 12 * MIB


def test_a_long_mirror_is_told_as_one(libraries: Path, tmp_path: Path) -> None:
    seen = judgement(libraries, tmp_path, "mirror", 8 * MIB)
    assert seen["code"] == "data_mirrored"


def test_memory_bounds_the_length(libraries: Path, tmp_path: Path) -> None:
    # 64 MiB less what the usual payload took, an eighth of it, in whole MiB.
    seen = judgement(libraries, tmp_path, "none", 1024 * MIB, free_bytes=64 * MIB)
    assert seen["code"] is None
    assert MIB < seen["pattern_bytes"] < 8 * MIB


def test_without_kernels_the_payload_stays_short(libraries: Path, tmp_path: Path) -> None:
    seen = judgement(libraries, tmp_path, "no_jit", 8 * MIB)
    assert (seen["code"], seen["pattern_bytes"]) == (None, MIB)
