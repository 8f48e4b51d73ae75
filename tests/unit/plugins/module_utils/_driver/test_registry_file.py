# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The keys written to a host and taken off it, with this machine's own depmod and modprobe."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from ansible_collections.gpufleet.p2p.plugins.module_utils._driver import registry_file
from ansible_collections.gpufleet.p2p.plugins.module_utils._driver.registry_file import (
    Place,
    set_keys,
)
from ansible_collections.gpufleet.p2p.plugins.module_utils._driver.registry_merge import (
    RegistryRefused,
)
from support.elf_objects import module_image

KERNEL = "6.1.0-99-amd64"
MODINFO = {"name": "nvidia", "version": "595.58.03"}
PARAMETERS = {"NVreg_RegistryDwords": "charp", "NVreg_EnableMSI": "int"}
OURS = {"NVreg_EnableMSI": 1, "RMForceP2PType": 1}
OTHERS = 'options nvidia NVreg_RegistryDwords="PeerMappingOverride=1"\n'


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """Return a host with an installed nvidia module that knows PARAMETERS."""
    module = tmp_path / "lib/modules" / KERNEL / "updates/dkms/nvidia.ko"
    module.parent.mkdir(parents=True)
    module.write_bytes(module_image(b"\x11" * 20, MODINFO, parameters=PARAMETERS))
    (tmp_path / "etc/modprobe.d").mkdir(parents=True)
    subprocess.run(["depmod", "-b", str(tmp_path), KERNEL], check=True)
    return Place(KERNEL, "gpufleet-nvidia", "595.58.03", tmp_path)


def running(place: Place, text: str) -> None:
    params = place.root / "proc/driver/nvidia/params"
    params.parent.mkdir(parents=True, exist_ok=True)
    params.write_text(text)


def refused(place: Place, numbers: dict[str, int]) -> RegistryRefused:
    before = place.file.read_bytes() if place.file.exists() else None
    with pytest.raises(RegistryRefused) as caught:
        set_keys(place, numbers, check=False)
    assert (place.file.read_bytes() if place.file.exists() else None) == before
    return caught.value


def test_written_once_and_removed_without_a_trace(place: Place) -> None:
    planned = set_keys(place, OURS, check=True)
    assert planned.actions == ("write /etc/modprobe.d/zz-gpufleet-nvidia.conf",)
    assert not place.file.exists()
    assert "NVreg_EnableMSI=1" in planned.diff[0]["after"]

    done = set_keys(place, OURS, check=False)
    assert done.actions == planned.actions
    assert place.file.stat().st_mode & 0o7777 == 0o644
    assert set_keys(place, OURS, check=False).actions == ()

    changed = set_keys(place, {"RMForceP2PType": 2}, check=False)
    assert changed.actions and changed.parameters == {"NVreg_RegistryDwords": "RMForceP2PType=2"}
    assert set_keys(place, {}, check=False).actions == (
        "remove /etc/modprobe.d/zz-gpufleet-nvidia.conf",
    )
    assert list(place.file.parent.iterdir()) == []
    assert set_keys(place, {}, check=False).actions == ()


def test_what_others_change_is_followed(place: Place) -> None:
    local = place.file.with_name("local.conf")
    local.write_text(OTHERS)
    kept = set_keys(place, OURS, check=False).parameters["NVreg_RegistryDwords"]
    assert kept == "PeerMappingOverride=1;RMForceP2PType=1"
    local.unlink()
    assert set_keys(place, OURS, check=False).actions
    assert "PeerMappingOverride" not in place.file.read_text()


def test_nothing_runs_so_nothing_is_to_be_reloaded(place: Place) -> None:
    outcome = set_keys(place, OURS, check=False)
    assert (outcome.differences, outcome.reload_required) == (None, False)


def test_a_running_driver_tells_whether_it_has_to_be_loaded_anew(place: Place) -> None:
    running(place, 'EnableMSI: 1\nRegistryDwords: ""\n')
    outcome = set_keys(place, OURS, check=False)
    assert outcome.differences == ("RMForceP2PType is not set instead of 1",)
    assert outcome.reload_required
    running(place, 'EnableMSI: 1\nRegistryDwords: "RMForceP2PType=1"\n')
    outcome = set_keys(place, OURS, check=False)
    assert (outcome.differences, outcome.reload_required) == ((), False)
    # Taken away, the driver has them until it is loaded next; a default of its own is not known.
    fewer = set_keys(place, {"NVreg_EnableMSI": 1}, check=True)
    assert (fewer.differences, fewer.reload_required) == ((), True)
    assert set_keys(place, {"RMForceP2PType": 1}, check=True).reload_required
    assert set_keys(place, {}, check=False).reload_required


@pytest.mark.parametrize(
    ("numbers", "read"),
    [
        ({"NVreg_EnabelMSI": 1}, "no parameter NVreg_EnabelMSI"),
        ({"NVreg_EnableMSI": 1 << 31}, "of type int"),
    ],
)
def test_a_parameter_that_the_module_would_not_take_is_refused(
    place: Place, numbers: dict[str, int], read: str
) -> None:
    error = refused(place, numbers)
    assert error.code == "registry_parameter_unknown"
    assert read in error.read


def test_a_module_that_is_not_installed_yet_is_not_asked(tmp_path: Path) -> None:
    (tmp_path / "lib/modules" / KERNEL).mkdir(parents=True)
    subprocess.run(["depmod", "-b", str(tmp_path), KERNEL], check=True)
    place = Place(KERNEL, "x", "595.58.03", tmp_path)
    assert set_keys(place, {"NVreg_Any": 1}, check=False).actions


def test_a_module_of_another_release_is_not_asked(place: Place) -> None:
    assert set_keys(replace(place, version="610.43.02"), {"NVreg_Any": 1}, check=True).actions
    assert refused(replace(place, version=None), {"NVreg_Any": 1}).code


def test_a_file_of_that_name_that_is_not_ours_is_left_alone(place: Place) -> None:
    place.file.write_text("options nvidia NVreg_EnableMSI=0\n")
    assert refused(place, OURS).code == "registry_file_foreign"
    assert refused(place, {}).code == "registry_file_foreign"


def test_a_conflict_leaves_our_file_as_it_was(place: Place) -> None:
    set_keys(place, OURS, check=False)
    place.file.with_name("a.conf").write_text("options nvidia NVreg_EnableMSI=0\n")
    error = refused(place, OURS)
    assert (error.code, "a.conf:1" in error.read) == ("registry_conflict", True)


def test_what_modprobe_would_not_pass_is_put_back(place: Place) -> None:
    place.file.with_name("nvidia.conf").write_text("install nvidia modprobe -i nvidia-current\n")
    error = refused(place, OURS)
    assert error.code == "registry_not_effective"
    assert "another module" in error.read


def test_modprobe_has_the_last_word(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    # A reader of modprobe.d that overlooked a file must not lead to a claim.
    place.file.with_name("zzz.conf").write_text("options nvidia NVreg_EnableMSI=0\n")
    monkeypatch.setattr(registry_file, "foreign_settings", lambda _root: ())
    error = refused(place, OURS)
    assert error.code == "registry_not_effective"
    assert "NVreg_EnableMSI is 0 instead of 1" in error.read
