# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A driver on trial: loaded in a trial boot and in no other, until it was seen to run well.

A boot loader that forgets its trial entry brings back the old command line, but an installed
module would be loaded with that too, and one that stops the machine would stop it at every boot.
So three units of systemd look for the trial's word on the kernel's command line, as long as they
are there. Without it, the first bars the driver's modules before udev loads any; the second has
DKMS take the build out and put back what it replaced; the third lifts the bar. If DKMS fails, the
bar stays: the machine is up, without a GPU driver, and can be mended.

The initramfs is made without driver modules meanwhile, since its udev asks none of these units.
All of it is files; nothing has to run at the time of installing.
"""

from __future__ import annotations

import platform
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Union

from .._host.errors import GpufleetError
from .._host.files import FileChange, Link, read_bytes, read_text, remove_empty
from .._host.kernel import TRIAL_PARAMETER
from .dkms import DkmsTrees
from .identity import DRIVER_MODULES

UNIT_DIRECTORY = Path("etc/systemd/system")
_WANTS = UNIT_DIRECTORY / "sysinit.target.wants"
_BAR = "gpufleet-driver-bar.service"
_FALL_BACK = "gpufleet-driver-fall-back.service"
_LIFT = "gpufleet-driver-lift.service"
_BARRED = Path("etc/gpufleet/driver-barred.conf")
_BARRED_NOW = Path("run/modprobe.d/gpufleet-driver-barred.conf")
_INITRAMFS_TOOLS = Path("etc/initramfs-tools")
_INITRAMFS_HOOK = _INITRAMFS_TOOLS / "hooks/zz-gpufleet-driver-trial"
_PREVIOUS = re.compile(r"^ExecStart=-/usr/sbin/dkms install -m \S+ -v (\S+) ", re.MULTILINE)
_HEADER = "# Written by gpufleet: a GPU driver is on trial; gone when the trial has ended.\n"

Change = Union[FileChange, Link]


class TrialImpossible(GpufleetError):
    """The host cannot keep a driver to its trial boot."""


@dataclass(frozen=True)
class Subject:
    """The DKMS package on trial, and the version of it that was installed before, if any."""

    name: str
    version: str
    previous: str | None = None
    architecture: str = platform.machine()


def is_on_trial(root: Path = Path("/")) -> bool:
    """Return whether a driver is on trial on this host."""
    return (root / _WANTS / _BAR).is_symlink()


def installed_version(name: str, kernel: str, trees: DkmsTrees | None = None) -> str | None:
    """Return the version of the package that DKMS has installed for the kernel; None: none."""
    link = (trees or DkmsTrees()).state / name / f"kernel-{kernel}-{platform.machine()}"
    # The link leads to VERSION/KERNEL/ARCHITECTURE.
    return link.resolve().parent.parent.name if link.exists() else None


def with_way_back(subject: Subject, root: Path = Path("/")) -> Subject:
    """Return the subject with the version that a fall-back returns to.

    A trial that goes on keeps its way back: to what was installed before the first of several
    versions that were tried. A version is no way back from itself.
    """
    if is_on_trial(root):
        recorded = _PREVIOUS.search(read_text(root / UNIT_DIRECTORY / _FALL_BACK) or "")
        return replace(subject, previous=recorded[1] if recorded else None)
    return subject if subject.previous != subject.version else replace(subject, previous=None)


def plan_begun(subject: Subject, root: Path = Path("/")) -> list[Change]:
    """Return what puts the driver on trial; empty: it is.

    Raises:
        TrialImpossible: the host is not started by systemd.
    """
    if not (root / "run/systemd/system").is_dir():
        raise TrialImpossible(
            "driver_trial_impossible",
            read="no /run/systemd/system",
            want="a host started by systemd, whose units keep the driver to its trial boot",
            remedy="set p2p_trial_boot: false to install without a trial and a way back",
        )
    changes: list[Change] = []
    for path, (text, mode) in _files(subject, root).items():
        place = root / path
        change = FileChange(place, read_bytes(place), text.encode(), mode)
        changes += [change] if change.is_change else []
    # The bar comes last, so that there is never one without what lifts it.
    units = reversed(_UNITS)
    links = [Link(root / _WANTS / unit, f"/{UNIT_DIRECTORY / unit}") for unit in units]
    return [*changes, *(link for link in links if link.is_change)]


def plan_ended(root: Path = Path("/")) -> list[Change]:
    """Return what ends the trial, the bar first; the driver is then loaded at every boot."""
    links = [Link(root / _WANTS / unit, None) for unit in _UNITS]
    paths = [*(UNIT_DIRECTORY / unit for unit in _UNITS), _BARRED, _INITRAMFS_HOOK, _BARRED_NOW]
    files = [FileChange(root / path, read_bytes(root / path), None) for path in paths]
    return [
        *(link for link in links if link.is_change),
        *(change for change in files if change.is_change),
    ]


def apply(changes: Sequence[Change]) -> None:
    """Make the changes in their order, and remove the directories made for them when empty.

    Raises:
        OSError: the file system refused; running again completes them.
    """
    for change in changes:
        change.apply()
    for change in changes:
        if change.path.parent.name in (_WANTS.name, _BARRED.parent.name):
            remove_empty(change.path.parent)


def _files(subject: Subject, root: Path) -> dict[Path, tuple[str, int]]:
    files = {
        _BARRED: (_HEADER + "".join(f"install {name} /bin/false\n" for name in _NAMES), 0o644),
        UNIT_DIRECTORY / _BAR: (_bar(), 0o644),
        UNIT_DIRECTORY / _FALL_BACK: (_fall_back(subject), 0o644),
        UNIT_DIRECTORY / _LIFT: (_lift(subject), 0o644),
    }
    if (root / _INITRAMFS_TOOLS).is_dir():
        files[_INITRAMFS_HOOK] = (_HOOK, 0o755)
    return files


_UNITS = (_BAR, _FALL_BACK, _LIFT)
# modprobe takes - and _ for the same.
_NAMES = tuple(name.replace("-", "_") for name in DRIVER_MODULES)

_HOOK = f"""\
#!/bin/sh
{_HEADER}\
[ "$1" = prereqs ] && exit 0
find "$DESTDIR/lib/modules/" "$DESTDIR/usr/lib/modules/" -type f \\( \\
{" -o ".join(f"-name '{name.replace('_', '[-_]')}.ko*'" for name in _NAMES)} \\
\\) -delete 2>/dev/null
exit 0
"""


def _bar() -> str:
    return f"""\
{_HEADER}\
[Unit]
Description=Bar the GPU driver on trial from a boot that is not its trial
DefaultDependencies=no
Before=systemd-udev-trigger.service systemd-modules-load.service shutdown.target
Conflicts=shutdown.target
ConditionKernelCommandLine=!{TRIAL_PARAMETER}

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/usr/bin/install -D -m 0644 /{_BARRED} /{_BARRED_NOW}
"""


def _fall_back(subject: Subject) -> str:
    kernel = f"-k %v -a {subject.architecture}"
    uninstall = f"uninstall -m {subject.name} -v {subject.version} {kernel}"
    # Forced for the same reason as every installation of ours (dkms.py).
    install = f"install -m {subject.name} -v {subject.previous} {kernel} --force"
    return f"""\
{_HEADER}\
[Unit]
Description=Take out the GPU driver that did not come through its trial
DefaultDependencies=no
RequiresMountsFor=/var/lib/dkms /usr/src /lib/modules /tmp /var/tmp
After=local-fs.target {_BAR}
Before=sysinit.target shutdown.target
Conflicts=shutdown.target
ConditionPathExists=/{_BARRED_NOW}

[Service]
Type=oneshot
TimeoutStartSec=10min
ExecCondition=/usr/bin/test {_links(subject)}
ExecStart=/usr/sbin/dkms {uninstall}
{f"ExecStart=-/usr/sbin/dkms {install}" if subject.previous else ""}
"""


def _lift(subject: Subject) -> str:
    return f"""\
{_HEADER}\
[Unit]
Description=Let the GPU driver that was there before be loaded again
DefaultDependencies=no
RequiresMountsFor=/var/lib/dkms /lib/modules
After=local-fs.target {_BAR} {_FALL_BACK}
Before=sysinit.target shutdown.target
Conflicts=shutdown.target
ConditionPathExists=/{_BARRED_NOW}

[Service]
Type=oneshot
ExecCondition=/usr/bin/test ! {_links(subject)}
ExecStart=/bin/rm /{_BARRED_NOW}
ExecStart=-/sbin/modprobe nvidia
"""


def _links(subject: Subject) -> str:
    """Return the test that DKMS's link to the version installed for this kernel is the trial's."""
    tree = f"/var/lib/dkms/{subject.name}"
    architecture = subject.architecture
    return f"{tree}/kernel-%v-{architecture} -ef {tree}/{subject.version}/%v/{architecture}"
