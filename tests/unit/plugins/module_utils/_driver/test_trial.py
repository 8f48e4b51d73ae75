# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The files that keep a driver to its trial boot: how they come, go, and lead back."""

from __future__ import annotations

import platform
import shutil
import subprocess
from pathlib import Path

import pytest
from ansible_collections.gpufleet.p2p.plugins.module_utils._driver import trial
from ansible_collections.gpufleet.p2p.plugins.module_utils._driver.dkms import DkmsTrees

NAME = "gpufleet-nvidia"
KERNEL = "6.1.0-32-amd64"
SUBJECT = trial.Subject(NAME, "595.58.03", architecture="x86_64")
UNITS = "etc/systemd/system"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for directory in ("run/systemd/system", "etc/initramfs-tools/hooks", UNITS):
        (tmp_path / directory).mkdir(parents=True)
    return tmp_path


def tree(root: Path) -> dict[str, str]:
    return {
        str(path.relative_to(root)): f"-> {path.readlink()}" if path.is_symlink() else "file"
        for path in sorted(root.rglob("*"))
        if path.is_symlink() or path.is_file()
    }


def test_begun_again_changes_nothing_and_ended_leaves_nothing(root: Path) -> None:
    directories = {path for path in root.rglob("*") if path.is_dir()}
    assert not trial.is_on_trial(root)
    trial.apply(trial.plan_begun(SUBJECT, root))
    assert trial.is_on_trial(root)
    assert trial.plan_begun(SUBJECT, root) == []
    assert len(tree(root)) == 8
    trial.apply(trial.plan_ended(root))
    assert trial.plan_ended(root) == []
    assert tree(root) == {}
    assert {path for path in root.rglob("*") if path.is_dir()} == directories


def test_there_is_never_a_bar_without_what_lifts_it(root: Path) -> None:
    """Killed after any step, in either direction, what is enabled can be lifted."""
    wants = root / UNITS / "sysinit.target.wants"
    for plan in (trial.plan_begun(SUBJECT, root), trial.plan_ended):
        for change in plan if isinstance(plan, list) else plan(root):
            change.apply()
            enabled = {path.name for path in wants.glob("*")}
            assert "gpufleet-driver-bar.service" not in enabled or len(enabled) == 3
            # What is enabled is there: a link to a unit that is gone would do nothing at boot.
            assert all((root / UNITS / name).is_file() for name in enabled)


def test_a_host_without_systemd_is_told_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(trial.TrialImpossible, match="p2p_trial_boot: false"):
        trial.plan_begun(SUBJECT, tmp_path)
    assert tree(tmp_path) == {}


def test_the_way_back_is_to_the_version_before_the_first_that_was_tried(root: Path) -> None:
    first = trial.with_way_back(trial.Subject(NAME, "2", previous="1"), root)
    assert first.previous == "1"
    trial.apply(trial.plan_begun(first, root))
    second = trial.with_way_back(trial.Subject(NAME, "3", previous="2"), root)
    assert second.previous == "1"
    # Installed again while it is on trial: it is no way back from itself.
    assert trial.with_way_back(trial.Subject(NAME, "2", previous="2"), root).previous == "1"
    trial.apply(trial.plan_ended(root))
    assert trial.with_way_back(trial.Subject(NAME, "2", previous="2"), root).previous is None


def test_a_fall_back_installs_the_version_before_only_where_there_is_one(root: Path) -> None:
    unit = root / UNITS / "gpufleet-driver-fall-back.service"
    trial.apply(trial.plan_begun(SUBJECT, root))
    assert "dkms install" not in unit.read_text()
    trial.apply(trial.plan_begun(trial.Subject(NAME, "2", previous="1"), root))
    assert f"dkms install -m {NAME} -v 1 -k %v" in unit.read_text()


def test_the_installed_version_is_read_from_the_link_of_dkms(tmp_path: Path) -> None:
    trees = DkmsTrees(state=tmp_path)
    assert trial.installed_version(NAME, KERNEL, trees) is None
    architecture = platform.machine()
    build = tmp_path / NAME / "580.105.08" / KERNEL / architecture
    build.mkdir(parents=True)
    (tmp_path / NAME / f"kernel-{KERNEL}-{architecture}").symlink_to(
        f"580.105.08/{KERNEL}/{architecture}"
    )
    assert trial.installed_version(NAME, KERNEL, trees) == "580.105.08"


@pytest.mark.parametrize("library", ["lib", "usr/lib"])
def test_the_hook_takes_the_driver_and_nothing_else_out_of_an_initramfs(
    root: Path, tmp_path: Path, library: str
) -> None:
    trial.apply(trial.plan_begun(SUBJECT, root))
    modules = tmp_path / "image" / library / "modules" / KERNEL
    modules.mkdir(parents=True)
    driver = ("nvidia.ko", "nvidia-drm.ko.xz", "nvidia_uvm.ko.zst", "nvidia-modeset.ko")
    others = ("nvidia-wmi-ec-backlight.ko", "nvidiafb.ko", "nvme.ko")
    for name in (*driver, *others):
        (modules / name).write_bytes(b"")
    hook = root / "etc/initramfs-tools/hooks/zz-gpufleet-driver-trial"
    asked = subprocess.run([hook, "prereqs"], capture_output=True, text=True, check=True)
    assert asked.stdout == ""
    subprocess.run([hook], env={"DESTDIR": str(tmp_path / "image")}, check=True)
    assert {path.name for path in modules.iterdir()} == set(others)


def test_modprobe_loads_none_of_the_barred_modules(root: Path, tmp_path: Path) -> None:
    """Asked of the real modprobe, by the name of every module, with - and with _."""
    modprobe = shutil.which("modprobe")
    assert modprobe, "kmod is among the packages of the tests"
    trial.apply(trial.plan_begun(SUBJECT, root))
    modules = tmp_path / "lib/modules" / KERNEL
    modules.mkdir(parents=True)
    names = ("nvidia", "nvidia-uvm", "nvidia-modeset", "nvidia-drm", "nvidia-peermem")
    (modules / "modules.dep").write_text("".join(f"extra/{name}.ko:\n" for name in names))
    for name in (*names, "nvidia_uvm"):
        configured = subprocess.run(
            [
                *(modprobe, "-n", "-v", "-d", str(tmp_path), "-S", KERNEL),
                *("-C", str(root / "etc/gpufleet"), name),
            ],
            capture_output=True,
            text=True,
            check=False,
        )
        assert configured.stdout.strip() == "install /bin/false", configured
