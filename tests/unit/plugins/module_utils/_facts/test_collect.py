# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Facts are gathered from a whole host tree, with NVML and without, and change nothing."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.gpufleet.p2p.plugins.module_utils._boot.interface import (
    BootLoaderUnsupported,
)
from ansible_collections.gpufleet.p2p.plugins.module_utils._driver import dkms
from ansible_collections.gpufleet.p2p.plugins.module_utils._driver.identity import InstalledModule
from ansible_collections.gpufleet.p2p.plugins.module_utils._facts import collect as module
from ansible_collections.gpufleet.p2p.plugins.module_utils._facts.collect import (
    boot_loader_record,
    collect,
    dkms_record,
    driver_record,
    free_bytes,
    iommu_record,
    processes_source,
)
from ansible_collections.gpufleet.p2p.plugins.module_utils._facts.device_generation import (
    generation_of_device,
)
from ansible_collections.gpufleet.p2p.plugins.module_utils._gpu.nvml import (
    NvLink,
    NvmlDevice,
    Process,
    unavailable,
)
from ansible_collections.gpufleet.p2p.plugins.module_utils._host.commands import CommandFailed
from ansible_collections.gpufleet.p2p.plugins.module_utils._host.pci import Link
from support.bls_host import BlsHost
from support.host_tree import (
    BOOT_ID,
    BUILD_ID,
    COMPILER,
    KERNEL,
    HostTree,
    build_host_tree,
    load_description,
)

MATCH = ("1b36:0005:*",)


class FakeNvml:
    """Answers as Nvml does, for GPUs at given addresses."""

    def __init__(self, devices: list[NvmlDevice]) -> None:
        self._devices = devices

    def devices(self) -> list[NvmlDevice]:
        return self._devices

    def driver_version(self) -> str:
        return "595.58.03"


def nvml_device(index: int, bdf: str, **changes: Any) -> NvmlDevice:
    fields: dict[str, Any] = {
        "index": index,
        "uuid": f"GPU-{index}",
        "bdf": bdf,
        "name": "NVIDIA GeForce RTX 5090",
        "compute_capability": (12, 0),
        "memory_bytes": 34190917632,
        "bar1_bytes": 34359738368,
        "link": Link(1, 8),
        "max_link": Link(5, 16),
        "display_attached": False,
        "display_active": False,
        "compute_mode": "default",
        "mig": False,
        "processes": (),
        "nvlinks": (),
        "replay_count": 0,
    }
    return NvmlDevice(**{**fields, **changes})


@pytest.fixture
def host(tmp_path: Path) -> HostTree:
    """An Intel host of the lab with translating groups and redirecting bridges."""
    tree = build_host_tree(
        tmp_path / "root", load_description("alpha"), iommu="DMA-FQ", acs_redirect=True
    )
    for path in ("boot", "usr", "var"):
        (tree.root / path).mkdir(exist_ok=True)
    return tree


@pytest.fixture
def no_nvml(monkeypatch: pytest.MonkeyPatch) -> None:
    @contextlib.contextmanager
    def refuse(_path: str | None) -> Iterator[None]:
        raise unavailable("nvmlInit: Driver/library version mismatch")
        yield

    monkeypatch.setattr(module, "open_nvml", refuse)


@pytest.fixture(autouse=True)
def no_tools(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither DKMS nor a module on disk, unless a test says otherwise."""
    monkeypatch.setattr(dkms, "version", lambda: None)
    monkeypatch.setattr(module, "installed_module", lambda *_: None)
    monkeypatch.setattr(module, "modprobe_override", lambda *_: None)


def with_nvml(monkeypatch: pytest.MonkeyPatch, *devices: NvmlDevice) -> None:
    @contextlib.contextmanager
    def answer(_path: str | None) -> Iterator[FakeNvml]:
        yield FakeNvml(list(devices))

    monkeypatch.setattr(module, "open_nvml", answer)


def test_a_whole_host_with_nvml(host: HostTree, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = host.gpus[:2]
    with_nvml(
        monkeypatch,
        nvml_device(0, first, processes=(Process(4711, "python3", 1 << 30),)),
        nvml_device(1, second, nvlinks=(NvLink(0, True, first, 1), NvLink(1, False, None, None))),
    )
    facts = collect(host.root, MATCH)
    assert facts["schema"] == 1
    assert facts["kernel"]["release"] == KERNEL
    assert facts["kernel"]["boot_id"] == BOOT_ID
    assert facts["kernel"]["compiler"] == {"identity": "gcc12", "text": COMPILER}
    assert [gpu["index"] for gpu in facts["gpus"]] == [0, 1]
    gpu = facts["gpus"][0]
    assert (gpu["bdf"], gpu["uuid"], gpu["compute_capability"]) == (first, "GPU-0", "12.0")
    assert (gpu["generation"], gpu["memory_bytes"]) == ("blackwell", 34190917632)
    assert gpu["processes"] == [{"pid": 4711, "name": "python3", "memory_bytes": 1 << 30}]
    assert gpu["iommu_group"] == {"number": 0, "type": "DMA-FQ"}
    assert gpu["link"]["gen"] == 5  # the bus is believed before NVML
    assert facts["gpus"][1]["nvlinks_active"] == 1
    assert facts["iommu"]["default_domain"] == "translated"
    assert facts["processes_source"] == "nvml"
    assert facts["driver"]["build_id"] == BUILD_ID
    assert facts["driver"]["nvml_version"] == "595.58.03"
    above = {bdf for gpu in facts["gpus"] for bdf in gpu["upstream"]}
    assert {bridge["bdf"] for bridge in facts["acs"]} == above
    assert all(bridge["redirect"] == ["RR", "CR"] for bridge in facts["acs"] if bridge["present"])
    assert set(facts["disk"]) == {"/boot", "/usr", "/var"}
    assert facts["boot_loader"]["name"] is None
    assert json.loads(json.dumps(facts)) == facts  # plain data


@pytest.mark.usefixtures("no_nvml")
def test_nvml_unavailable_is_a_fact(host: HostTree) -> None:
    facts = collect(host.root, MATCH)
    assert not facts["driver"]["nvml"]
    assert "version mismatch" in facts["driver"]["nvml_error"]
    gpu = facts["gpus"][0]
    assert gpu["bar1_bytes"] == 34359738368  # the largest memory BAR
    assert gpu["memory_bytes"] is None
    assert gpu["display"] is None
    assert facts["processes_source"] == "unknown"


@pytest.mark.usefixtures("no_nvml")
def test_device_files_tell_where_nvml_does_not(host: HostTree) -> None:
    for minor, bdf in enumerate(host.gpus):
        listed = host.root / "proc/driver/nvidia/gpus" / bdf
        listed.mkdir(parents=True)
        (listed / "information").write_text(f"Device Minor: \t {minor}\n")
    descriptors = host.root / "proc/4711/fd"
    descriptors.mkdir(parents=True)
    (host.root / "proc/4711/comm").write_text("python3\n")
    (descriptors / "5").symlink_to("/dev/nvidia1")
    facts = collect(host.root, MATCH)
    assert facts["processes_source"] == "device_files"
    assert [gpu["processes"] for gpu in facts["gpus"]] == [
        [],
        [{"pid": 4711, "name": "python3", "memory_bytes": None}],
    ]


@pytest.mark.usefixtures("no_nvml")
def test_empty_host_has_facts_too(tmp_path: Path) -> None:
    facts = collect(tmp_path)
    assert facts["gpus"] == []
    assert facts["iommu"] == {"present": False, "default_domain": "none", "gpu_groups": {}}
    assert facts["processes_source"] == "module_not_loaded"
    assert facts["disk"] == {}
    assert facts["dkms"] == {"version": None, "modules": [], "error": None}


@pytest.mark.usefixtures("no_nvml")
def test_gathering_changes_nothing(host: HostTree) -> None:
    def snapshot() -> list[tuple[str, int]]:
        return sorted((str(p), p.lstat().st_mtime_ns) for p in host.root.rglob("*"))

    before = snapshot()
    collect(host.root, MATCH)
    assert snapshot() == before


@pytest.mark.parametrize(
    ("types", "domain"),
    [
        ([], "none"),
        (["identity", "identity"], "identity"),
        (["identity", "DMA"], "translated"),
        (["unknown", "DMA-FQ"], "translated"),
        (["identity", "unknown"], "unknown"),
    ],
)
def test_domain_is_the_worst_of_the_gpus(tmp_path: Path, types: list[str], domain: str) -> None:
    gpus = [
        {"bdf": f"0000:0{number}:00.0", "iommu_group": {"number": number, "type": kind}}
        for number, kind in enumerate(types)
    ]
    assert iommu_record(tmp_path, gpus)["default_domain"] == domain


def test_iommu_is_present_though_no_gpu_is_behind_it(tmp_path: Path) -> None:
    (tmp_path / "sys/kernel/iommu_groups/0").mkdir(parents=True)
    assert iommu_record(tmp_path, [{"bdf": "0000:01:00.0", "iommu_group": None}]) == {
        "present": True,
        "default_domain": "none",
        "gpu_groups": {},
    }


@pytest.mark.parametrize(
    ("nvml", "loaded", "known", "source"),
    [
        (True, True, False, "nvml"),
        (False, False, False, "module_not_loaded"),
        (False, True, True, "device_files"),
        (False, True, False, "unknown"),
    ],
)
def test_processes_source(nvml: bool, loaded: bool, known: bool, source: str) -> None:
    assert processes_source(nvml=nvml, module_loaded=loaded, all_gpus_known=known) == source


def test_a_host_of_the_rhel_family_is_told_with_what_its_trial_needs(tmp_path: Path) -> None:
    host = BlsHost(tmp_path, "rhel_9_bios")
    record = {"name": "grub_bls", "firmware": "bios", "trial_possible": True, "trial_reason": ""}
    assert boot_loader_record(tmp_path) == record
    host.path("etc/kernel/cmdline").unlink()
    told = boot_loader_record(tmp_path)
    assert (told["trial_possible"], "/etc/kernel/cmdline" in told["trial_reason"]) == (False, True)


def test_unsupported_boot_loader_is_told_with_its_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_root: Path) -> None:
        raise BootLoaderUnsupported(
            "ostree", read="an ostree deployment", remedy="rpm-ostree kargs"
        )

    monkeypatch.setattr(module, "detect", refuse)
    assert boot_loader_record(tmp_path) == {
        "name": None,
        "reason": "an ostree deployment",
        "remedy": "rpm-ostree kargs",
    }


def test_running_and_installed_module_are_compared(
    host: HostTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    from_disk = InstalledModule("nvidia", "/lib/nvidia.ko", "595.58.03", BUILD_ID, None)
    monkeypatch.setattr(module, "installed_module", lambda *_: from_disk)
    record = driver_record(host.root, KERNEL)
    assert record["loaded"]
    assert record["matches"] is True
    assert record["installed"]["path"] == "/lib/nvidia.ko"
    other = InstalledModule("nvidia", "/lib/nvidia.ko", "595.58.03", "00" * 20, None)
    monkeypatch.setattr(module, "installed_module", lambda *_: other)
    assert driver_record(host.root, KERNEL)["matches"] is False


def test_registry_of_the_driver_and_of_others(tmp_path: Path) -> None:
    assert driver_record(tmp_path, KERNEL)["registry"] is None
    params = tmp_path / "proc/driver/nvidia/params"
    params.parent.mkdir(parents=True)
    params.write_text('RegistryDwords: "RMForceP2PType=1"\n')
    file = tmp_path / "etc/modprobe.d/local.conf"
    file.parent.mkdir(parents=True)
    file.write_text("options nvidia NVreg_EnableMSI=0\n")
    record = driver_record(tmp_path, KERNEL)
    assert record["registry"] == {"RMForceP2PType": "1"}
    assert record["module_options"] == [
        {
            "parameter": "NVreg_EnableMSI",
            "value": "0",
            "origin": "/etc/modprobe.d/local.conf:1",
            "later": False,
        }
    ]


def test_module_that_is_not_loaded_matches_nothing(tmp_path: Path) -> None:
    record = driver_record(tmp_path, KERNEL)
    assert not record["loaded"]
    assert record["matches"] is None


def test_dkms_entries_are_plain_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = dkms.DkmsEntry("nvidia", "550.1", "6.1.0", "x86_64", "installed", ("Diff",))
    monkeypatch.setattr(dkms, "version", lambda: "3.0.10")
    monkeypatch.setattr(dkms, "status", lambda _trees: [entry])
    assert dkms_record(tmp_path)["modules"] == [
        {
            "module": "nvidia",
            "version": "550.1",
            "kernel": "6.1.0",
            "arch": "x86_64",
            "status": "installed",
            "remarks": ["Diff"],
        }
    ]


def test_dkms_that_cannot_tell_is_not_taken_for_empty(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_trees: object) -> None:
        raise CommandFailed("command_failed", read="broken", want="status 0", remedy="mend")

    monkeypatch.setattr(dkms, "version", lambda: "3.0.10")
    monkeypatch.setattr(dkms, "status", fail)
    record = dkms_record(tmp_path)
    assert record["modules"] is None
    assert "broken" in record["error"]


def test_missing_paths_have_no_free_space(tmp_path: Path) -> None:
    (tmp_path / "var").mkdir()
    free = free_bytes(tmp_path, ["/var", "/boot"])
    assert list(free) == ["/var"]
    assert free["/var"] > 0


@pytest.mark.parametrize(
    ("device", "generation"),
    [
        ("2b85", "blackwell"),  # RTX 5090
        ("2bb1", "blackwell"),  # RTX PRO 6000
        ("2684", "ada"),  # RTX 4090
        ("26b1", "ada"),  # RTX 6000 Ada
        ("2204", "ampere"),  # RTX 3090
        ("2230", "ampere"),  # RTX A6000
        ("20b0", "ampere"),  # A100
        ("2330", "hopper"),  # H100 SXM
        ("2335", "hopper"),  # H200 SXM
        ("2484", "ampere"),  # RTX 3070
        ("1e07", "turing"),  # RTX 2080 Ti
        ("2184", "turing"),  # GTX 1660
        ("1b06", "pascal"),  # GTX 1080 Ti
        ("1db1", "volta"),  # V100
        ("13c2", "maxwell"),  # GTX 970
        ("ffff", None),
        ("0a20", None),
    ],
)
def test_generation_by_device_id(device: str, generation: str | None) -> None:
    assert generation_of_device("10de", device) == generation
    assert generation_of_device("1b36", device) is None
