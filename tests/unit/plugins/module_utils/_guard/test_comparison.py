# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Each way in which peer-to-peer goes, told by its own code; what does not matter stays silent."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from ansible_collections.gpufleet.p2p.plugins.module_utils._boot.cmdline import parse
from ansible_collections.gpufleet.p2p.plugins.module_utils._driver.registry_merge import merged
from ansible_collections.gpufleet.p2p.plugins.module_utils._guard.comparison import (
    compare,
    concerning,
    read_state,
)
from ansible_collections.gpufleet.p2p.plugins.module_utils._guard.record import (
    GpuState,
    HostState,
    Record,
)

OURS, OTHER = "ab" * 20, "cd" * 20
GPUS = tuple(GpuState(f"0000:0{n}:00.0", "identity", 32 << 30) for n in (1, 2))
WAS = HostState(
    kernel="6.1.0-56-amd64",
    parameters=("iommu=pt",),
    driver_version="595.58.03",
    build_id=OURS,
    userspace_version="595.58.03",
    gpus=GPUS,
    registry=("NVreg_EnableMSI=1", "RMForceP2PType=1"),
)
RECORD = Record(WAS, ((GPUS[0].bdf, GPUS[1].bdf),), "pass", 0.0)


def codes(now: HostState, installed: str | None = OURS) -> list[str]:
    return [finding.code for finding in compare(RECORD, now, installed)]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, []),
        ({"build_id": OTHER}, ["driver_replaced"]),
        ({"build_id": None}, ["driver_replaced"]),
        ({"driver_version": None, "build_id": None}, ["driver_not_loaded"]),
        ({"driver_version": "595.71.05"}, ["driver_version_changed", "userspace_mismatch"]),
        ({"userspace_version": "595.71.05"}, ["userspace_mismatch"]),
        ({"userspace_version": None}, ["userspace_mismatch"]),
        ({"registry": ("RMForceP2PType=1",)}, ["driver_registry_changed"]),
        ({"registry": ()}, ["driver_registry_changed"]),
        ({"driver_version": None, "registry": ()}, ["driver_not_loaded"]),
        ({"parameters": ()}, ["kernel_parameters_changed"]),
        ({"parameters": ("iommu=pt", "iommu=nopt")}, ["kernel_parameters_changed"]),
        ({"gpus": GPUS[:1]}, ["gpu_missing"]),
        ({"gpus": (replace(GPUS[0], iommu="DMA-FQ"), GPUS[1])}, ["iommu_translates"]),
        ({"gpus": (replace(GPUS[0], iommu="none"), GPUS[1])}, []),
        ({"gpus": (replace(GPUS[0], bar_bytes=256 << 20), GPUS[1])}, ["bar1_shrunk"]),
    ],
)
def test_what_has_gone_is_named(change: dict[str, object], expected: list[str]) -> None:
    assert codes(replace(WAS, **change)) == expected


def test_another_kernel_runs_the_build_that_dkms_made_for_it() -> None:
    now = replace(WAS, kernel="6.12.117+deb12-amd64", build_id=OTHER)
    assert codes(now, installed=OTHER) == []
    assert codes(now, installed=OURS) == ["driver_replaced"]
    assert codes(now, installed=None) == ["driver_replaced"]


def test_a_host_verified_without_readable_libraries_is_not_blamed_for_them() -> None:
    record = replace(RECORD, state=replace(WAS, userspace_version=None))
    assert compare(record, replace(WAS, userspace_version=None), OURS) == ()


def test_a_record_that_noted_no_registry_blames_nobody_for_it() -> None:
    record = replace(RECORD, state=replace(WAS, registry=None))
    assert compare(record, WAS, OURS) == ()


def test_the_registry_is_read_from_the_running_driver(tmp_path: Path) -> None:
    assert read_state(tmp_path).registry == ()
    params = tmp_path / "proc/driver/nvidia/params"
    params.parent.mkdir(parents=True)
    params.write_text('EnableMSI: 1\nRmLogonRC: 1\nRegistryDwords: "RMForceP2PType=1"\n')
    assert read_state(tmp_path).registry == ("RMForceP2PType=1",)
    # Of the parameters, those that we set.
    file = tmp_path / "etc/modprobe.d/zz-gpufleet-nvidia.conf"
    file.parent.mkdir(parents=True)
    file.write_bytes(merged({"NVreg_EnableMSI": 1}, ()).as_file())
    assert read_state(tmp_path).registry == ("NVreg_EnableMSI=1", "RMForceP2PType=1")


def test_only_parameters_of_iommu_and_pci_count() -> None:
    line = "root=/dev/vda1 ro quiet iommu.passthrough=1 intel-iommu=on pci=noaer,realloc splash"
    kept = ("iommu.passthrough=1", "intel-iommu=on", "pci=noaer,realloc")
    assert concerning(parse(line)) == kept
