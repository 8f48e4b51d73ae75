# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""GRUB without drop-ins, as on Arch and openSUSE: one marked line, and the generator's own menu."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from ansible_collections.gpufleet.p2p.plugins.module_utils._boot import grub_script, own_line, plan
from ansible_collections.gpufleet.p2p.plugins.module_utils._boot.conflicts import ParameterConflict
from ansible_collections.gpufleet.p2p.plugins.module_utils._boot.grub_config import boot_file_exists
from ansible_collections.gpufleet.p2p.plugins.module_utils._boot.interface import (
    BootConfigurationRefused,
    TrialRefused,
    apply_in_order,
)
from hypothesis import given
from hypothesis import strategies as st
from support.plain_grub_hosts import ArchHost, OpenSuseHost

WANTED = ("intel_iommu=on", "iommu=pt", "pci=disable_acs_redir=a;b")


@pytest.fixture(params=[ArchHost, OpenSuseHost])
def host(request: pytest.FixtureRequest, tmp_path: Path) -> ArchHost:
    made: ArchHost = request.param(tmp_path)
    return made


def present(
    host: ArchHost, texts: Sequence[str] = WANTED, *, trial: bool = False
) -> plan.CommandLinePlan:
    return plan.plan_present(host.observe(), texts, trial=trial, panic_seconds=30)


def test_tried_confirmed_and_taken_back(host: ArchHost) -> None:
    pristine = host.tree()
    old = host.command_line()
    planned = present(host, trial=True)
    apply_in_order(planned.steps)
    changed = {name for name, data in host.tree().items() if pristine.get(name) != data}
    assert {name for name in changed if not name.startswith("var/")} == {
        f"{host.directory}/custom.cfg",
        f"{host.directory}/grubenv",
    }
    host.reboot()
    assert f"gpufleet.trial={planned.token} panic=30" in host.command_line()
    apply_in_order(plan.plan_confirmed(host.observe(), planned.token).steps)
    host.reboot()
    assert host.command_line() == f"{old} {' '.join(WANTED)}"
    assert (present(host).steps, present(host, trial=True).steps) == ([], [])
    apply_in_order(plan.plan_absent(host.observe(), []).steps)
    assert host.tree() == pristine


def test_the_line_is_in_its_owners_file_and_recovery_is_spared(host: ArchHost) -> None:
    before = host.read("etc/default/grub")
    apply_in_order(present(host).steps)
    text = host.read("etc/default/grub")
    assert text.startswith(before)
    assert 'GRUB_CMDLINE_LINUX_DEFAULT="${GRUB_CMDLINE_LINUX_DEFAULT:+' in text[len(before) :]
    menu = grub_script.parse(host.read(f"{host.directory}/grub.cfg"))
    for entry in menu.walk():
        if entry.linux is not None:
            texts = [word.text for word in entry.linux.words]
            assert (WANTED[-1] in texts) is ("-recovery-" not in entry.identity)


def test_what_the_owner_appends_later_stays(host: ArchHost) -> None:
    apply_in_order(present(host).steps)
    with host.path("etc/default/grub").open("a") as file:
        file.write("GRUB_TIMEOUT=9\n")
    apply_in_order(plan.plan_absent(host.observe(), []).steps)
    text = host.read("etc/default/grub")
    assert text.endswith("GRUB_TIMEOUT=9\n")
    assert "gpufleet" not in text


def test_a_sticky_conflict_is_refused_with_the_file(host: ArchHost) -> None:
    host.administer("iommu=off", "main")
    with pytest.raises(ParameterConflict) as refusal:
        present(host)
    assert refusal.value.read == "iommu=off in /etc/default/grub"


def test_a_separator_before_ours_is_refused(host: ArchHost) -> None:
    host.administer("-- single", "main")
    with pytest.raises(BootConfigurationRefused) as refusal:
        present(host)
    assert refusal.value.code == "parameters_defeated"


@pytest.mark.parametrize("filesystem", ["btrfs", "zfs"])
def test_no_trial_where_grub_cannot_write(host: ArchHost, filesystem: str) -> None:
    mounts = host.read("proc/self/mountinfo")
    host.write("proc/self/mountinfo", mounts.replace("ext4", filesystem))
    pristine = host.tree()
    with pytest.raises(TrialRefused) as refusal:
        present(host, trial=True)
    assert f"/{host.directory} is on {filesystem}" in refusal.value.read
    assert host.tree() == pristine


@pytest.mark.parametrize(
    ("name", "there"),
    [
        ("/boot/vmlinuz", True),
        ("/vmlinuz", True),
        ("/@/boot/vmlinuz", True),
        ("/ROOT/suse@/boot/vmlinuz", True),
        ("/@/vmlinuz", False),
        ("/@/boot/initrd", False),
    ],
)
def test_files_are_found_as_grub_names_them(tmp_path: Path, name: str, there: bool) -> None:
    (tmp_path / "boot").mkdir()
    (tmp_path / "boot/vmlinuz").touch()
    assert boot_file_exists(tmp_path, name) is there


def test_the_default_of_a_boot_counter_is_none() -> None:
    """Fedora's 08_fallback_counting chooses the second entry once its count has run out."""
    script = grub_script.parse(
        'set default="${saved_entry}"\nif true; then\nset default=1\nset boot_counter=-1\nfi\n'
    )
    assert grub_script.default_selector(script, "mine") == "mine"
    script = grub_script.parse('set default="${saved_entry}"\nset default=1\n')
    assert grub_script.default_selector(script, "mine") == "1"


@given(st.binary(max_size=40), st.text("abc='\" ", max_size=12))
def test_taking_the_line_away_restores_any_file(data: bytes, line: str) -> None:
    written = own_line.with_block(data, line)
    assert own_line.with_block(written, line) == written
    assert own_line.without_block(written) == data
