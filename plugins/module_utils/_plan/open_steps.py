# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host still needs: each part's own plan, asked in one process and never applied.

The parts are planned by the code that would carry them out, in check mode, so there is no second
opinion of what "done" means. A part that refuses is open as well: who goes on to carry it out gets
the refusal where it belongs, in its words.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Callable

from .._boot.detect import detect
from .._boot.plan import observe, plan_present
from .._driver import loading, registry, registry_file, userspace_hold
from .._driver.userspace_change import Means
from .._guard import service
from .._guard.comparison import read_state
from .._guard.places import PROGRAM
from .._guard.record import read_record
from .._host.errors import GpufleetError
from .._host.files import read_bytes, sha256_of
from .._host.kernel import running_release

_ROOT = Path("/")


@dataclass(frozen=True)
class OpenStep:
    """Something that is left to do: the part that would do it, and what it says in words."""

    step: str
    reason: str


@dataclass(frozen=True)
class WantedDriver:
    """The driver that is to run.

    Attributes:
        version: its release.
        build_id: of its nvidia module.
        package: its DKMS package.
        registry: its keys, as p2p_driver.registry has them.
        packages: whether apt brings the libraries.
    """

    version: str
    build_id: str
    package: str
    registry: Mapping[str, Any] = field(default_factory=dict)
    packages: bool = False


@dataclass(frozen=True)
class WantedParameters:
    """The kernel parameters that are to be in force."""

    parameters: tuple[str, ...]
    trial: bool
    panic_seconds: int


@dataclass(frozen=True)
class WantedGuard:
    """The guard that is to be on the host; the program by its checksum."""

    settings: service.Settings
    interval_minutes: int
    program_sha256: str


def open_steps(
    parameters: WantedParameters, driver: WantedDriver | None, guard: WantedGuard | None
) -> list[OpenStep]:
    """Return what is left to do on this host, in the order of site.yml; empty: nothing.

    Args:
        parameters: the kernel parameters.
        driver: the driver; None where none is managed.
        guard: the guard; None where none is wanted.
    """
    found = [*_part("kernel_parameters", lambda: _parameters(parameters))]
    if driver is not None:
        found += _part("libraries", lambda: _libraries(driver))
        found += _part("registry_keys", lambda: _registry(driver))
        found += _part("running_driver", lambda: _running(driver))
    if guard is not None:
        found += _part("guard", lambda: _guard(guard))
    return found


def verified_groups(root: Path = _ROOT) -> list[list[int]]:
    """Return the groups of GPUs of the verification that the guard keeps to; empty without one.

    A GPU is its position by PCI address among the record's GPUs, as p2p_verify counts them.
    """
    record = read_record(root)
    if record is None:
        return []
    position = {
        bdf: index for index, bdf in enumerate(sorted(gpu.bdf for gpu in record.state.gpus))
    }
    return [[position[bdf] for bdf in group] for group in record.groups]


def _part(step: str, reasons: Callable[[], Iterator[str]]) -> list[OpenStep]:
    try:
        return [OpenStep(step, reason) for reason in reasons()]
    except GpufleetError as refusal:
        return [OpenStep(step, str(refusal))]


def _parameters(wanted: WantedParameters) -> Iterator[str]:
    host = observe(detect())
    plan = plan_present(
        host, wanted.parameters, trial=wanted.trial, panic_seconds=wanted.panic_seconds
    )
    yield from (step.name for step in plan.steps)
    if plan.token is not None:
        yield f"trial {plan.token} is to be confirmed"
    if plan.reboot_required:
        yield "they are not in force before a restart"


def _libraries(wanted: WantedDriver) -> Iterator[str]:
    means = Means(None, None, wanted.packages)
    yield from userspace_hold.hold(wanted.version, means, check=True).actions


def _registry(wanted: WantedDriver) -> Iterator[str]:
    place = registry_file.Place(running_release(), wanted.package, wanted.version)
    outcome = registry_file.set_keys(place, _numbers(wanted), check=True)
    yield from outcome.actions
    if outcome.reload_required:
        yield "the driver is to be loaded anew"


def _running(wanted: WantedDriver) -> Iterator[str]:
    running = loading.identify(_ROOT, running_release(), "nvidia", _numbers(wanted))
    if not running.matches(wanted.build_id):
        yield f"nvidia of build-id {wanted.build_id} is to be installed and running"


def _numbers(wanted: WantedDriver) -> dict[str, int]:
    return registry.parse(wanted.registry, wanted.version) if wanted.registry else {}


def _guard(wanted: WantedGuard) -> Iterator[str]:
    program = read_bytes(PROGRAM)
    if program is None or sha256_of(PROGRAM) != wanted.program_sha256:
        yield f"write {PROGRAM}"
        return
    present = service.Wanted(program, wanted.settings, wanted.interval_minutes)
    outcome = service.present(present, None, check=True)
    yield from outcome.actions
    yield from (finding.code for finding in outcome.findings)
    record = read_record()
    if record is None or record.state != read_state(_ROOT, wanted.settings.gpu_match):
        yield "this state is to be verified and recorded"
