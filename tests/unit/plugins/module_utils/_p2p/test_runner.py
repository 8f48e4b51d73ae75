# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A run judges each pair by what was read while that pair was at work."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.gpufleet.p2p.plugins.module_utils._gpu.nvml import Counters, NvmlDevice
from ansible_collections.gpufleet.p2p.plugins.module_utils._host.pci import Link
from ansible_collections.gpufleet.p2p.plugins.module_utils._p2p import runner
from ansible_collections.gpufleet.p2p.plugins.module_utils._p2p.options import Options
from ansible_collections.gpufleet.p2p.plugins.module_utils._p2p.pair_run import PairRun
from ansible_collections.gpufleet.p2p.plugins.module_utils._p2p.result import Driver, GpuCounters
from support.host_tree import HostTree, build_host_tree, load_description

GPUS = 4
CEILING = 16e9 * 16 * 128 / 130 / 8 * 256 / 280 / 1e9


class Management:
    """What a run asks NVML, of GPUs that are all alike."""

    def __init__(self, tree: HostTree, **changes: object) -> None:
        """Prepare; ``changes`` are those of GPU 1."""
        self._tree = tree
        self._changes = changes

    def devices(self) -> list[NvmlDevice]:
        known: dict[str, Any] = dict.fromkeys(NvmlDevice.__dataclass_fields__)
        known.update(
            name="NVIDIA GeForce RTX 4090",
            compute_capability=(8, 9),
            link=Link(1, 16),
            max_link=Link(4, 16),
            display_attached=False,
            display_active=False,
            compute_mode="default",
            mig=False,
            processes=(),
            nvlinks=(),
        )
        return [
            NvmlDevice(
                **{
                    **known,
                    **(self._changes if index == 1 else {}),
                    "index": index,
                    "uuid": f"GPU-{index}",
                    "bdf": bdf,
                }
            )
            for index, bdf in enumerate(self._tree.gpus[:GPUS])
        ]

    def link(self, index: int) -> Link:
        return Link(4, 16)

    def counters(self, index: int) -> Counters:
        return Counters(pcie_replays=0, ecc_corrected=None, ecc_uncorrected=None)

    def confidential_compute(self) -> bool:
        return False

    def p2p_status(self, source: int, target: int) -> dict[str, str]:
        return {"read": "OK", "write": "OK"}


def told(event: str, direction: tuple[int, int], **content: object) -> dict[str, object]:
    return {"event": event, "from": direction[0], "to": direction[1], **content}


def test_links_are_those_of_the_pair_under_load_and_not_of_the_last_one_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = build_host_tree(tmp_path, load_description("riser_eight_4090"))
    checks = ("copy_write", "copy_read", "sm_write", "sm_read", "ping_pong")

    def measured(pairs: Sequence[PairRun], child_timeout: float) -> None:
        for pair in pairs:
            for gpu in range(GPUS):  # the others fall back to generation 1
                at_work = gpu in {end.index for end in pair.ends}
                tree.train_link(gpu, 4 if at_work else 1, 16)
            for direction in ((0, 1), (1, 0)):
                pair._on_event(told("capability", direction, cuda=True))
                for check in checks:
                    pair._on_event(told("check", direction, name=check, state="passed"))
                pair._on_event(told("under_load", direction))
                pair._on_event(told("rate", direction, name="on_uni", value=26.4, spread=None))

    crossings: list[dict[tuple[int, int], dict[str, float]]] = []

    def measured_together(*given: Any, **_options: object) -> tuple[()]:
        crossings.append(given[2])
        return ()

    monkeypatch.setattr(runner, "run_round", measured)
    monkeypatch.setattr(runner, "measure_groups", measured_together)
    for gpu in range(GPUS):
        tree.train_link(gpu, 1, 16)
    nvml: Any = Management(tree)
    options = Options(gpu_match=("1b36:0005:*",))
    result = runner.verify(nvml, Driver(None, None, None), options, root=tmp_path)
    assert [pair.bandwidth.ceiling for pair in result.pairs] == [pytest.approx(CEILING)] * 12
    assert all(hop.gen == 4 for pair in result.pairs for hop in pair.hops)
    (by_pair,) = crossings
    assert all(min(ways.values()) == pytest.approx(CEILING) for ways in by_pair.values())
    assert {pair.reasons for pair in result.pairs} == {()}


def test_where_a_process_hangs_in_the_kernel_the_driver_is_not_asked_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = build_host_tree(tmp_path, load_description("riser_eight_4090"))

    def hung(pairs: Sequence[PairRun], child_timeout: float) -> None:
        for pair in pairs:
            for measurement in pair.measured.values():
                measurement.trouble = "measurement_hung"
            pair._stuck.update({end.index: 4711 for end in pair.ends})
        for question in ("devices", "link", "counters", "confidential_compute", "p2p_status"):
            monkeypatch.setattr(Management, question, _never_answered)

    monkeypatch.setattr(runner, "run_round", hung)
    nvml: Any = Management(tree)
    options = Options(gpu_match=("1b36:0005:*",))
    result = runner.verify(nvml, Driver(None, None, None), options, root=tmp_path)
    assert (result.verdict, len(result.pairs)) == ("fail", 12)
    assert {pair.capability.nvml_write for pair in result.pairs} == {"OK"}
    assert {gpu.counters for gpu in result.gpus} == {GpuCounters()}
    assert {gpu.state.confidential_compute for gpu in result.gpus} == {False}


@pytest.mark.parametrize(
    ("change", "code"),
    [({"mig": True}, "mig_enabled"), ({"compute_mode": "prohibited"}, "compute_prohibited")],
)
def test_pairs_of_a_gpu_that_cannot_be_used_whole_are_named_and_not_tried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: dict[str, object], code: str
) -> None:
    tree = build_host_tree(tmp_path, load_description("riser_eight_4090"))
    tried: list[set[int]] = []

    def note(pairs: Sequence[PairRun], child_timeout: float) -> None:
        tried.extend({end.index for end in pair.ends} for pair in pairs)

    monkeypatch.setattr(runner, "run_round", note)
    nvml: Any = Management(tree, **change)
    progress: list[tuple[int, int]] = []
    result = runner.verify(
        nvml,
        Driver(None, None, None),
        Options(gpu_match=("1b36:0005:*",)),
        root=tmp_path,
        on_progress=lambda done, total: progress.append((done, total)),
    )
    assert sorted(map(sorted, tried)) == [[0, 2], [0, 3], [2, 3]]
    assert (progress[0], progress[-1]) == ((0, 3), (3, 3))
    without = {(p.verdict, p.reasons) for p in result.pairs if 1 in (p.source, p.target)}
    assert without == {("not_applicable", (code,))}
    (cause,) = (cause for cause in result.causes if cause.code == code)
    assert cause.evidence.startswith("6 pairs: NVIDIA GeForce RTX 4090")


def _never_answered(*_question: object) -> None:
    raise AssertionError("this would wait for the process that hangs")
