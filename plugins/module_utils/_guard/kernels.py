# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""After a kernel came or went: the host keeps booting one that has the driver, or says that not.

Nothing is remembered between two looks: what is installed decides. So the same look, taken again
after the headers arrived or a kernel was removed, takes the pin away.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from .._boot.detect import detect
from .._boot.grub_debian import GrubDebian
from .._boot.interface import BootLoader, BootLoaderUnsupported, Step
from .._boot.kernel_default import KernelDefault
from .._boot.kernelstub import Kernelstub
from .._boot.systemd_boot import SystemdBoot
from .._boot.systemd_boot_kernel import SystemdBootKernel
from .._driver.disabling import is_held_off
from .._driver.dkms import DkmsTrees
from .._driver.initramfs import Initramfs, refresh
from .._driver.install import Target, require_free_way
from .._driver.readiness import Readiness, readiness, whole_build
from .._driver.removal import present_versions
from .._host.errors import GpufleetError
from .._host.kernel import read_kernel, release_order
from .alarm import Finding, finding_of


@dataclass(frozen=True)
class Choice:
    """Which kernel to hold the host to (None: its own default), and what is wrong."""

    pin: str | None
    findings: tuple[Finding, ...] = ()


@dataclass(frozen=True)
class Look:
    """What a look at the kernels found, and the steps that bring the boot loader in line."""

    ready: Mapping[str, Readiness]
    choice: Choice
    steps: tuple[Step, ...] = ()

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What is wrong."""
        return self.choice.findings


def holder_of(loader: BootLoader) -> KernelDefault | SystemdBootKernel | None:
    """Return what holds a host with this boot loader to a kernel, None where nothing does."""
    if isinstance(loader, GrubDebian):
        return KernelDefault(loader)
    # kernelstub, which derives from it, has no entry for each kernel.
    if isinstance(loader, SystemdBoot) and not isinstance(loader, Kernelstub):
        return SystemdBootKernel(loader)
    return None


def look(package: str, root: Path = Path("/"), loader: BootLoader | None = None) -> Look:
    """Return how the installed kernels stand and what to change; changes nothing.

    A host on which the package is not there, or switched off, has nothing to keep: only a left pin
    is taken away.

    Args:
        package: name of the DKMS package.
        loader: the boot loader; detected where it is not given.
    """
    trees = DkmsTrees(root / "var/lib/dkms", root / "usr/src", root / "lib/modules")
    kernel = read_kernel(root)
    try:
        found = loader or detect(root)
        default = holder_of(found)
        wanted = default.unpinned() if default is not None else None
        obstacle = None if default is not None else cannot_hold(found)
    except BootLoaderUnsupported as error:
        default, wanted, obstacle = None, None, finding_of(error)
    except GpufleetError as error:
        return Look({}, Choice(None, (finding_of(error),)))
    if not present_versions(package, trees) or is_held_off(package):
        steps = default.steps_to_unpin() if default is not None else []
        return Look({}, Choice(None), tuple(steps))
    bootable = [release for release in kernel.installed if _is_bootable(root, release)]
    newest = wanted or (bootable[-1] if bootable else kernel.release)
    ready: dict[str, Readiness] = {
        release: readiness(package, release, trees=trees, root=root)
        for release in dict.fromkeys([newest, kernel.release, *reversed(bootable)])
        if release in bootable or release == newest
    }
    held = default.present() if default is not None and default.pinned() else None
    can_hold = default is not None
    choice = choose(ready, wanted=newest, running=kernel.release, held=held, can_hold=can_hold)
    if default is None:
        extra = (obstacle,) if obstacle is not None and choice.findings else ()
        return Look(ready, Choice(None, (*choice.findings, *extra)))
    try:
        steps = default.steps_to_pin(choice.pin) if choice.pin else default.steps_to_unpin()
    except GpufleetError as error:
        return Look(ready, Choice(None, (*choice.findings, finding_of(error))))
    return Look(ready, choice, tuple(steps))


def mend(package: str, seen: Look, root: Path = Path("/")) -> tuple[str, ...]:
    """Install builds that DKMS made and did not install, or not whole; return for which kernels.

    Without --force, DKMS leaves out a module whose version equals that of one that the kernel's own
    directory has, such as the distribution's build of the same release. Nothing is compiled here.
    """
    trees = DkmsTrees(root / "var/lib/dkms", root / "usr/src", root / "lib/modules")
    mended = []
    for release, state in seen.ready.items():
        built = None if state.is_ready else whole_build(package, release, trees)
        if built is not None:
            target = Target(built, release, root=root)
            try:
                require_free_way(target)
                built.install(release)
                refresh(Initramfs(release, boot=root / "boot", root=root))
            except GpufleetError:
                # The next look names what is in the way.
                continue
            mended.append(release)
    return tuple(mended)


def steps_to_release(root: Path = Path("/")) -> Sequence[Step]:
    """Return what takes a pin away; nothing where there is none."""
    try:
        loader = detect(root)
    except BootLoaderUnsupported:
        return ()
    holder = holder_of(loader)
    return holder.steps_to_unpin() if holder is not None else ()


def cannot_hold(loader: BootLoader) -> Finding:
    """Return what tells that nothing holds a host with this boot loader."""
    remedies = {
        "proxmox_systemd_boot": "choose a kernel: proxmox-boot-tool kernel pin RELEASE",
        "proxmox_grub": "choose a kernel: proxmox-boot-tool kernel pin RELEASE",
        "grub_bls": "choose a kernel: grubby --set-default=/boot/vmlinuz-RELEASE",
        "grub_mkconfig": "choose a kernel: GRUB_DEFAULT in /etc/default/grub, then grub-mkconfig",
        "kernelstub": "choose a kernel: bootctl set-default Pop_OS-oldkern.conf",
    }
    return Finding(
        "kernel_not_held",
        read=f"boot loader {loader.name}, whose default kernel gpufleet does not choose",
        want="the host to keep booting a kernel that has the driver",
        remedy=remedies.get(loader.name, "choose a kernel by the boot loader's own means"),
    )


def choose(
    ready: Mapping[str, Readiness],
    *,
    wanted: str,
    running: str,
    held: str | None,
    can_hold: bool = True,
) -> Choice:
    """Return which kernel to boot.

    Args:
        ready: how each bootable kernel stands, by release.
        wanted: the kernel that boots without a pin.
        running: the running one, preferred to all others: it is known to work.
        held: the kernel that the host is pinned to now.
        can_hold: whether there is a way to pin it.
    """
    if ready[wanted].is_ready:
        return Choice(None)
    able = [release for release, state in ready.items() if state.is_ready]
    faults = "; ".join(ready[wanted].faults)
    if not able:
        finding = Finding(
            "no_kernel_with_driver",
            read=f"kernel {wanted}: {faults}; no other installed kernel has the driver either",
            want="a kernel with every module of the driver",
            remedy=_remedy(wanted),
        )
        return Choice(None, (finding,))
    pin = next((r for r in (held, running) if r in able), max(able, key=release_order))
    finding = Finding(
        "kernel_without_driver",
        read=f"kernel {wanted}: {faults}; "
        + (f"the host keeps booting {pin}" if can_hold else f"{pin} has it, {wanted} boots next"),
        want=f"the driver built and installed for kernel {wanted}",
        remedy=_remedy(wanted),
    )
    return Choice(pin, (finding,))


def report(seen: Look) -> Sequence[str]:
    """Return the kernels and how they stand, a line each."""
    return [
        f"kernel {release}: "
        + (f"driver {state.version}" if state.is_ready else "; ".join(state.faults))
        for release, state in sorted(seen.ready.items(), key=lambda item: release_order(item[0]))
    ]


def _remedy(release: str) -> str:
    return (
        f"install linux-headers-{release}, or mend what stops the build"
        f" (dkms autoinstall -k {release}), then run: gpufleet-guard kernels"
    )


def _is_bootable(root: Path, release: str) -> bool:
    return any((root / "boot" / f"{kind}-{release}").is_file() for kind in ("vmlinuz", "vmlinux"))
