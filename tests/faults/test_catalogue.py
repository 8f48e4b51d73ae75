# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every step is struck, kinds come early, and what strikes at nothing is no fault."""

from __future__ import annotations

import subprocess
from collections import Counter
from pathlib import Path

import pytest
from support.driver_hosts import Host

from faults.as_found import hostile_defaults
from faults.catalogue import catalogue, dealt_out
from faults.controllers import lost_between
from faults.fault import STRUCK, NothingStruck, attempt, replaced
from faults.record import PRODUCT
from faults.stages import Stage
from faults.subjects import ARM, INSTALL_BUILD, STAGE, SUBJECTS, UPDATE_GRUB, Step

FAULTS = list(catalogue())


def stages_of(subject: str) -> list[Stage]:
    acting = [step for step in SUBJECTS[subject] if not step.idle]
    return [Stage(step, Path("disk"), "", {}) for step in acting]


class Here(Host):
    """A host whose commands run below its root by path only: no chroot, no root rights."""

    def run(self, *words: str, stdin: str | None = None, check: bool = True) -> str:
        del stdin, check
        return subprocess.run(words, capture_output=True, text=True, check=False).stdout


@pytest.fixture
def host(tmp_path: Path) -> Host:
    for directory in ("usr/local/sbin", "usr/bin", "etc/default", "srv"):
        (tmp_path / directory).mkdir(parents=True)
    return Here(tmp_path, "6.1")


def test_the_catalogue_names_each_fault_once() -> None:
    names = Counter((fault.kind, fault.variant) for fault in FAULTS)
    assert set(names.values()) == {1}
    assert len({kind for kind, _ in names}) >= 18


@pytest.mark.parametrize("subject", SUBJECTS)
def test_every_fault_strikes_once_every_step_that_it_can(subject: str) -> None:
    before = stages_of(subject)
    pairs = Counter((fault.kind, fault.variant, at.step.name) for fault, at in dealt_out(before))
    assert set(pairs.values()) == {1}
    assert set(pairs) == {
        (fault.kind, fault.variant, at.step.name)
        for fault in FAULTS
        for at in before
        if fault.hits(at.step)
    }


def test_all_kinds_come_in_the_first_round_of_the_product() -> None:
    first = [fault for fault, _ in dealt_out(stages_of(PRODUCT))][: len(FAULTS)]
    assert {fault.kind for fault in first} == {fault.kind for fault in FAULTS}


def test_no_copy_of_a_module_is_struck_where_none_is_copied() -> None:
    kinds = {fault.kind for fault, _ in dealt_out(stages_of(UPDATE_GRUB))}
    assert not kinds & {"copy_fails", "copy_cut_short", "build_cut_short", "build_killed"}
    assert kinds >= {"generator_fails", "hostile_grub_defaults", "disk_full_boot"}


def test_a_fault_that_its_step_does_not_meet_is_none(host: Host) -> None:
    real = host.path(host.run("sh", "-c", "command -v cp").strip())
    real.parent.mkdir(parents=True, exist_ok=True)
    real.write_text("the real one")
    stub = host.path("/usr/local/sbin/cp")
    with pytest.raises(NothingStruck, match="cp"), replaced(host, "cp", "exit 0"):
        host.run(str(stub))
    with replaced(host, "cp", f": > {host.path(STRUCK)}"):
        host.run(str(stub))
    assert not stub.exists()
    with pytest.raises(NothingStruck, match="no such-tool"), replaced(host, "such-tool", ""):
        pass


def test_a_hostile_line_is_written_before_the_step(host: Host) -> None:
    defaults = host.path("/etc/default/grub")
    defaults.write_text("GRUB_TIMEOUT=5\n")
    seen = []
    step = Step("look", lambda on, _: seen.append(on.path("/etc/default/grub").read_text()))
    hostile_defaults("unbalanced quote").strike(host, step, {})
    assert seen == ['GRUB_TIMEOUT=5\nGRUB_CMDLINE_LINUX_DEFAULT="quiet splash\n']
    said = subprocess.run(["sh", "-n", str(defaults)], capture_output=True, text=True, check=False)
    assert "nterminated" in said.stderr or "EOF" in said.stderr


def test_the_controller_after_a_lost_one_begins_from_the_start(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []

    def module(self: Host, name: str, **arguments: object) -> dict[str, object]:
        done.append(f"{name} {arguments['state']} {arguments.get('token')}")
        return {"token": "a new one"} if name == "kernel_cmdline" else {}

    monkeypatch.setattr(Host, "module", module)
    assert lost_between().strike(host, ARM, {"token": "the lost one's"}) is True
    assert done == [
        "dkms_module installed None",
        "kernel_cmdline present None",
        "boot_trial armed a new one",
    ]
    done.clear()
    monkeypatch.setattr(Host, "module", lambda *words, **given: module(*words, **given) and {})
    assert lost_between().strike(host, ARM, {"token": "the lost one's"}) is True
    assert [line.split()[0] for line in done] == ["dkms_module", "kernel_cmdline"]
    monkeypatch.setattr(Host, "module", lambda *_, **__: {"failed": True})
    assert lost_between().strike(host, STAGE, {}) is False
    assert attempt(host, INSTALL_BUILD, {}) is False
