# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What changes a host: the product's steps, and the two usual ways that it is compared with.

The product's steps are those of site.yml and rollback.yml that write to the host, by the same
modules with the same arguments; between them a second build replaces the first, as an upgrade does.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from support.driver_hosts import ARCHIVE, INSTALL, Host

from .record import PRODUCT

UPDATE_GRUB = "update-grub"
INSTALL_SCRIPT = "install-script"
PARAMETERS = ("intel_iommu=on", "iommu=pt")
OTHER_ARCHIVE = "/srv/other.dkms.tar.gz"
INSTALL_OTHER = {**INSTALL, "archive": OTHER_ARCHIVE}
FORKS = ("/srv/fork", "/srv/fork-other")
#: As the forks document it, after the compile: the tree is built before the fault.
_INSTALL = """
cd "$2"
make modules KERNEL_UNAME="$1"
make modules_install KERNEL_UNAME="$1"
depmod -a "$1"
"""


class StepFailed(Exception):
    """A step failed without any fault: the harness itself is out of order."""


#: How a step ends that something is in the way of: refused, by a command's status, without a whole
#: answer or what an earlier step would have left, by the file system, by its time limit. Any other
#: exception is a fault of the harness, and is told as one.
STEP_ENDS = (
    StepFailed,
    AssertionError,
    ValueError,
    LookupError,
    OSError,
    subprocess.SubprocessError,
)


@dataclass(frozen=True)
class Step:
    """One step of a subject.

    Attributes:
        name: as marks and records call it.
        act: does it to the host; gets what the steps before left in the mapping.
        restart: the host restarts before the step, by the entry that GRUB would boot.
        idle: the step does nothing but wait.
        installs: the step brings a build to the host.
        archive: the packed build that it brings, where it does not compile it there.
        generates: the step has the boot loader's configuration made anew.
    """

    name: str
    act: Callable[[Host, dict[str, Any]], None]
    restart: bool = False
    idle: bool = False
    installs: bool = False
    archive: str = ""
    generates: bool = False


def _module(name: str, **arguments: Any) -> Callable[[Host, dict[str, Any]], None]:
    def act(host: Host, notes: dict[str, Any]) -> None:
        given = {**arguments, **({"token": notes["token"]} if "token" in arguments else {})}
        result = host.module(name, **given)
        if result.get("failed"):
            raise StepFailed(f"{name} {given}: {result.get('msg')}")
        if result.get("token"):
            notes["token"] = result["token"]

    return act


def _shell(script: str, *words: str) -> Callable[[Host, dict[str, Any]], None]:
    def act(host: Host, notes: dict[str, Any]) -> None:
        host.run("bash", "-c", script, "control", host.kernel, *words)

    return act


def _parameters(line: str) -> Callable[[Host, dict[str, Any]], None]:
    return _shell(
        f"sed -i 's/^GRUB_CMDLINE_LINUX_DEFAULT=.*/GRUB_CMDLINE_LINUX_DEFAULT=\"{line}\"/'"
        " /etc/default/grub"
    )


STAGE = Step(
    "stage the kernel parameters",
    _module("kernel_cmdline", parameters=list(PARAMETERS), state="present", trial=True),
    generates=True,
)
ARM = Step("choose the trial entry", _module("boot_trial", state="armed", token="token"))
CONFIRM = Step(
    "confirm the trial",
    _module("boot_trial", state="confirmed", token="token"),
    restart=True,
    generates=True,
)
INSTALL_BUILD = Step(
    "install the build", _module("dkms_module", **INSTALL), installs=True, archive=ARCHIVE
)
UPGRADE = Step(
    "install another build over it",
    _module("dkms_module", **INSTALL_OTHER),
    installs=True,
    archive=OTHER_ARCHIVE,
)
PARAMETERS_AWAY = Step(
    "take the parameters away",
    _module("kernel_cmdline", parameters=list(PARAMETERS), state="absent"),
    generates=True,
)
DRIVER_AWAY = Step("take the driver off", _module("dkms_module", state="absent"))

_ROUNDS = 4
_LINES = ("quiet " + " ".join(PARAMETERS), "quiet")
# For longer than this the kernel keeps written data in memory (vm.dirty_expire_centisecs: 30 s).
_IDLE_SECONDS = 2.0


def _wait(host: Host, notes: dict[str, Any]) -> None:
    time.sleep(_IDLE_SECONDS)


def _idle(name: str) -> Step:
    return Step(name, _wait, idle=True)


PRODUCT_STEPS = (
    INSTALL_BUILD,
    _idle("after the installation"),
    STAGE,
    ARM,
    _idle("before the restart"),
    CONFIRM,
    _idle("after the confirmation"),
    UPGRADE,
    _idle("after the upgrade"),
    PARAMETERS_AWAY,
    DRIVER_AWAY,
    _idle("after the removal"),
)
SUBJECTS: Mapping[str, tuple[Step, ...]] = {
    PRODUCT: PRODUCT_STEPS,
    UPDATE_GRUB: tuple(
        step
        for number in range(_ROUNDS)
        for step in (
            Step(f"edit /etc/default/grub, {number}", _parameters(_LINES[number % 2])),
            Step(f"update-grub, {number}", _shell("update-grub"), generates=True),
            _idle(f"after update-grub, {number}"),
        )
    ),
    INSTALL_SCRIPT: (
        Step("make modules_install", _shell(_INSTALL, FORKS[0]), installs=True),
        _idle("after the installation"),
        Step(
            "make modules_install over it",
            _shell(_INSTALL, FORKS[1]),
            restart=True,
            installs=True,
        ),
        _idle("after the upgrade"),
    ),
}
