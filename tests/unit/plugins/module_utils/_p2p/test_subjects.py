# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which GPUs a run is about, and which of them it leaves alone and under what name."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.gpufleet.p2p.plugins.module_utils._gpu.nvml import NvmlDevice, Process
from ansible_collections.gpufleet.p2p.plugins.module_utils._host.pci import Link, read_devices
from ansible_collections.gpufleet.p2p.plugins.module_utils._host.pci_address import (
    PciAddressInvalid,
)
from ansible_collections.gpufleet.p2p.plugins.module_utils._p2p.subjects import (
    DeviceUnknown,
    GpusBusy,
    Subject,
    exclusions_of,
    obstacles_of,
    refuse_busy,
    subjects_of,
)
from hypothesis import given
from hypothesis import strategies as st
from support.host_tree import build_host_tree, load_description

GPU_MATCH = ("1b36:0005:*",)
GPUS = 8
TRAINING = Process(4242, "python3", 20 << 30)
DISPLAY = Process(900, "Xorg", 40 << 20, "graphics")


def nvml_device(index: int, bdf: str, **changes: Any) -> NvmlDevice:
    device = NvmlDevice(
        index=index,
        uuid=f"GPU-5e7e0000-0000-4000-8000-{index:012d}",
        bdf=bdf,
        name="NVIDIA GeForce RTX 4090",
        compute_capability=(8, 9),
        memory_bytes=24 << 30,
        bar1_bytes=32 << 30,
        link=Link(4, 16),
        max_link=Link(4, 16),
        display_attached=False,
        display_active=False,
        compute_mode="default",
        mig=False,
        processes=(),
        nvlinks=(),
        replay_count=None,
    )
    return replace(device, **changes)


def chosen(root: Path, *selection: str, **changes: Any) -> tuple[Subject, ...]:
    """Return the subjects of a rig of eight, all GPUs changed alike."""
    tree = build_host_tree(root, load_description("riser_eight_4090"))
    devices = [nvml_device(index, bdf, **changes) for index, bdf in enumerate(tree.gpus)]
    return subjects_of(root, devices, read_devices(root), GPU_MATCH, selection)


@pytest.fixture(name="rig", scope="module")
def _rig(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, tuple[Subject, ...]]:
    root = tmp_path_factory.mktemp("rig")
    return root, chosen(root)


@given(
    st.lists(
        st.tuples(st.integers(0, GPUS - 1), st.sampled_from(["index", "uuid", "bdf", "as NVML"])),
        min_size=1,
        max_size=6,
    )
)
def test_any_names_of_gpus_choose_them_once_and_in_order(
    rig: tuple[Path, tuple[Subject, ...]], wanted: list[tuple[int, str]]
) -> None:
    root, everyone = rig
    names = {
        subject.index: {
            "index": f" {subject.index}",
            "uuid": subject.nvml.uuid,
            "bdf": subject.nvml.bdf,
            "as NVML": f"0000{subject.nvml.bdf.upper()}",
        }
        for subject in everyone
    }
    found = subjects_of(
        root,
        [subject.nvml for subject in everyone],
        {subject.nvml.bdf: subject.pci for subject in everyone},
        GPU_MATCH,
        [names[index][kind] for index, kind in wanted],
    )
    assert [subject.index for subject in found] == sorted({index for index, _kind in wanted})


@pytest.mark.parametrize("selector", ["8", "-1", "GPU-5e7e", "0000:ff:00.0", "", "all"])
def test_a_name_of_no_gpu_is_refused_with_those_there_are(tmp_path: Path, selector: str) -> None:
    with pytest.raises(DeviceUnknown) as caught:
        chosen(tmp_path, selector)
    assert caught.value.read == selector
    assert "7 GPU-5e7e0000-0000-4000-8000-000000000007 0000:" in caught.value.want


def test_a_broken_address_is_refused_as_one(tmp_path: Path) -> None:
    with pytest.raises(PciAddressInvalid):
        chosen(tmp_path, "0000:zz:00.0")


def test_without_a_selection_all_that_match_are_looked_at(tmp_path: Path) -> None:
    assert [subject.index for subject in chosen(tmp_path)] == list(range(GPUS))
    tree = build_host_tree(tmp_path / "other", load_description("alpha"))
    devices = [nvml_device(index, bdf) for index, bdf in enumerate(tree.gpus)]
    pci = read_devices(tmp_path / "other")
    assert subjects_of(tmp_path / "other", devices, pci, ("10de:*:03",), ()) == ()


def test_programs_on_gpus_are_named_and_refused(tmp_path: Path) -> None:
    with pytest.raises(GpusBusy) as caught:
        refuse_busy(chosen(tmp_path, "3", processes=(DISPLAY, TRAINING)))
    assert caught.value.code == "gpus_busy"
    assert caught.value.read == "GPU 3: python3 (pid 4242)"
    assert "allow_busy" in caught.value.remedy


def test_a_display_server_is_no_program_that_keeps_a_gpu_busy(tmp_path: Path) -> None:
    refuse_busy(chosen(tmp_path, processes=(DISPLAY,)))


@pytest.mark.parametrize(
    ("change", "codes"),
    [
        ({}, ()),
        ({"mig": True}, ("mig_enabled",)),
        ({"compute_mode": "prohibited"}, ("compute_prohibited",)),
        ({"compute_mode": "exclusive_process"}, ()),
        ({"mig": True, "compute_mode": "prohibited"}, ("mig_enabled", "compute_prohibited")),
    ],
)
def test_a_gpu_that_cannot_be_used_whole_leaves_its_pairs_out(
    tmp_path: Path, change: dict[str, Any], codes: tuple[str, ...]
) -> None:
    first, second = chosen(tmp_path, "0", "1")
    changed = replace(first, nvml=replace(first.nvml, **change))
    assert exclusions_of(changed, second) == exclusions_of(second, changed) == codes


@pytest.mark.parametrize(
    ("first", "second", "codes"),
    [
        ((8, 9), (8, 9), ()),
        ((8, 0), (8, 6), ()),
        ((8, 9), (12, 0), ("mixed_generations",)),
        ((7, 5), (7, 5), ("generation_unsupported",)),
        ((7, 5), (8, 6), ("mixed_generations",)),
    ],
)
def test_generations_that_are_not_expected_to_work(
    tmp_path: Path, first: tuple[int, int], second: tuple[int, int], codes: tuple[str, ...]
) -> None:
    one, other = chosen(tmp_path, "0", "1")
    one = replace(one, nvml=replace(one.nvml, compute_capability=first))
    other = replace(other, nvml=replace(other.nvml, compute_capability=second))
    assert obstacles_of(one, other) == obstacles_of(other, one) == codes
