# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is left to do is what each part's own plan says, and a refusal counts as left to do."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.gpufleet.p2p.plugins.module_utils._driver import (
    loading,
    registry_file,
    userspace_hold,
)
from ansible_collections.gpufleet.p2p.plugins.module_utils._guard import service
from ansible_collections.gpufleet.p2p.plugins.module_utils._guard.alarm import Finding
from ansible_collections.gpufleet.p2p.plugins.module_utils._guard.record import (
    GpuState,
    HostState,
    Record,
)
from ansible_collections.gpufleet.p2p.plugins.module_utils._host.errors import GpufleetError
from ansible_collections.gpufleet.p2p.plugins.module_utils._host.files import sha256_of
from ansible_collections.gpufleet.p2p.plugins.module_utils._plan import open_steps as plan

KERNEL = "6.1.0-32-amd64"
PARAMETERS = plan.WantedParameters(("iommu=pt",), trial=True, panic_seconds=30)
DRIVER = plan.WantedDriver("595.58.03", "9" * 40, "gpufleet-nvidia", {"RMForceP2PType": "bar1"})


@dataclass
class Planned:
    """A plan of the boot loader's, as far as it is read."""

    steps: tuple[Any, ...] = ()
    token: str | None = None
    reboot_required: bool = False


@dataclass
class Running:
    """A running driver that is the one of build-id ``build_id``."""

    build_id: str

    def matches(self, expected: str) -> bool:
        return self.build_id == expected


def recorded(kernel: str = KERNEL) -> Record:
    """Return a record of three GPUs, of which the first and the last reach each other."""
    gpus = tuple(GpuState(f"0000:0{number}:00.0", "identity", 1) for number in (1, 2, 4))
    state = HostState(kernel, (), None, None, None, gpus)
    return Record(state, (("0000:01:00.0", "0000:04:00.0"),), "pass", 0.0)


class Parts:
    """What each part answers; all is done until a test says otherwise."""

    def __init__(self) -> None:
        self.parameters: Any = Planned()
        self.libraries: tuple[str, ...] = ()
        self.registry = registry_file.Outcome((), {}, (), reload_required=False, diff=())
        self.running = Running("9" * 40)
        self.guard = service.Outcome((), (), None, (), ())
        self.record: Record | None = recorded()


@pytest.fixture
def parts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Parts:
    """The parts' answers, in the place of a host."""
    said = Parts()
    program = tmp_path / "gpufleet-guard"
    program.write_bytes(b"program")

    def parameters(*_: object, **__: object) -> Planned:
        if isinstance(said.parameters, GpufleetError):
            raise said.parameters
        planned: Planned = said.parameters
        return planned

    def libraries(*_: object, check: bool) -> userspace_hold.Outcome:
        assert check
        return userspace_hold.Outcome(said.libraries, (), "595.58.03", ())

    def registry(*_: object, check: bool) -> registry_file.Outcome:
        assert check
        return said.registry

    def guard(*_: object, check: bool) -> service.Outcome:
        assert check
        return said.guard

    monkeypatch.setattr(plan, "detect", lambda: None)
    monkeypatch.setattr(plan, "observe", lambda _loader: None)
    monkeypatch.setattr(plan, "plan_present", parameters)
    monkeypatch.setattr(userspace_hold, "hold", libraries)
    monkeypatch.setattr(registry_file, "set_keys", registry)
    monkeypatch.setattr(loading, "identify", lambda *_: said.running)
    monkeypatch.setattr(service, "present", guard)
    monkeypatch.setattr(plan, "read_record", lambda *_: said.record)
    monkeypatch.setattr(plan, "read_state", lambda *_: recorded().state)
    monkeypatch.setattr(plan, "PROGRAM", program)
    return said


def guard_of(parts: Parts) -> plan.WantedGuard:
    return plan.WantedGuard(service.Settings(), 60, sha256_of(plan.PROGRAM))


def left(parts: Parts) -> list[tuple[str, str]]:
    """Return what is left to do, as pairs of step and reason."""
    found = plan.open_steps(PARAMETERS, DRIVER, guard_of(parts))
    return [(step.step, step.reason) for step in found]


def test_nothing_is_left_on_a_host_that_is_as_it_should_be(parts: Parts) -> None:
    assert left(parts) == []
    assert plan.verified_groups() == [[0, 2]]


@pytest.mark.parametrize(
    ("part", "answer", "step"),
    [
        ("parameters", Planned(token="t"), "kernel_parameters"),
        ("parameters", Planned(reboot_required=True), "kernel_parameters"),
        (
            "parameters",
            Planned(steps=(Path("grub.cfg"),)),
            "kernel_parameters",
        ),
        ("parameters", GpufleetError("code", read="a", want="b", remedy="c"), "kernel_parameters"),
        ("libraries", ("hold libcuda1",), "libraries"),
        ("registry", registry_file.Outcome(("write",), {}, (), False, ()), "registry_keys"),
        ("registry", registry_file.Outcome((), {}, (), True, ()), "registry_keys"),
        ("running", Running("5" * 40), "running_driver"),
        ("guard", service.Outcome(("write a unit",), (), None, (), ()), "guard"),
        ("guard", service.Outcome((), (), None, (Finding("p2p_lost", "", "", ""),), ()), "guard"),
        ("record", None, "guard"),
        ("record", recorded("6.1.0-31-amd64"), "guard"),
    ],
)
def test_what_a_part_has_to_do_is_left(parts: Parts, part: str, answer: Any, step: str) -> None:
    setattr(parts, part, answer)
    assert [name for name, _reason in left(parts)] == [step]
    assert all(reason for _step, reason in left(parts))


def test_a_refusal_is_told_in_its_words(parts: Parts) -> None:
    parts.parameters = GpufleetError("iommu_off", read="iommu=off", want="pt", remedy="remove it")
    assert left(parts) == [("kernel_parameters", str(parts.parameters))]


def test_another_program_of_the_guard_is_left_to_be_written(parts: Parts) -> None:
    older = plan.WantedGuard(service.Settings(), 60, "0" * 64)
    found = plan.open_steps(PARAMETERS, None, older)
    assert [(step.step, step.reason) for step in found] == [("guard", f"write {plan.PROGRAM}")]


def test_neither_driver_nor_guard_is_asked_for_where_none_is_wanted(parts: Parts) -> None:
    parts.running, parts.guard = Running("5" * 40), service.Outcome(("write",), (), None, (), ())
    assert plan.open_steps(PARAMETERS, None, None) == []
