# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The same systemd-boot host with the real kernel-install and its hook 90-loaderentry.install.

Needs root and systemd. kernel-install has its paths built in, so it runs in a mount namespace of
its own in which the host's /etc/kernel, /boot and /proc/cmdline lie over this machine's, which are
never written to.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.gpufleet.p2p.plugins.module_utils._boot import plan
from ansible_collections.gpufleet.p2p.plugins.module_utils._boot.interface import (
    Step,
    apply_in_order,
)
from ansible_collections.gpufleet.p2p.plugins.module_utils._host.commands import run
from support.systemd_boot_host import ESP, OPTIONS, RELEASES, SystemdBootHost

WANTED = ["intel_iommu=on", "iommu=pt", "pci=disable_acs_redir=0000:00:01.0;0000:00:02.0"]
OLD = OPTIONS.split()
# "$1" is the host's tree; names are arguments, never text of the script.
_INSTALL = """
mount --make-rprivate /
mount --bind "$1/boot" /boot
mount --bind "$1/boot/efi" /boot/efi
mount --bind "$1/etc/kernel" /etc/kernel
mount --bind "$1/etc/machine-id" /etc/machine-id
mount --bind "$1/proc/cmdline" /proc/cmdline
exec kernel-install add "$2" "$1/vmlinuz" "$1/initrd.img-$2"
"""
# The others make module indices and initial file systems.
_HOOK = "/usr/lib/kernel/install.d/90-loaderentry.install"


class RealKernelInstall(SystemdBootHost):
    """A host whose entries kernel-install itself writes."""

    def install(self, release: str) -> None:
        """Run kernel-install in a mount namespace."""
        self.write("vmlinuz", "kernel")
        self.write(f"initrd.img-{release}", "initrd")
        self.write(f"{ESP}/loader/entries.srel", "type1\n")
        machine_id = self.read("etc/machine-id").strip()
        self.path(f"{ESP}/{machine_id}").mkdir(exist_ok=True)
        run(
            ["unshare", "--mount", "/bin/sh", "-e", "-c", _INSTALL, "sh", str(self.root), release],
            env={"KERNEL_INSTALL_PLUGINS": _HOOK},
        )
        # stat sees through the bind mount; on the host the partition is a file system of its own.
        entry = self.entry_path(release)
        self.write(entry, self.read(entry).replace(f"/{ESP}/", "/"))


@pytest.fixture(params=[True, False], ids=["with /etc/kernel/cmdline", "without it"])
def host(request: pytest.FixtureRequest, tmp_path: Path) -> SystemdBootHost:
    return RealKernelInstall(tmp_path, has_parameter_file=request.param)


def set_it(host: SystemdBootHost) -> list[Step]:
    return plan.plan_present(host.observe(), WANTED, trial=False, panic_seconds=30).steps


def test_what_is_written_is_what_kernel_install_writes(host: SystemdBootHost) -> None:
    apply_in_order(set_it(host))
    written = {release: host.read(host.entry_path(release)) for release in RELEASES}
    for release in RELEASES:
        assert " ".join(WANTED) in written[release]
        host.install(release)
        assert host.read(host.entry_path(release)) == written[release]
    assert set_it(host) == []


def test_a_kernel_installed_during_a_trial_boots_the_old_parameters(host: SystemdBootHost) -> None:
    pristine = host.tree()
    planned = plan.plan_present(host.observe(), WANTED, trial=True, panic_seconds=30)
    apply_in_order(planned.steps)
    host.reboot()
    host.install(RELEASES[-1])
    apply_in_order(plan.plan_abandoned(host.observe(), planned.token).steps)
    host.reboot()
    assert host.booted() == OLD
    apply_in_order(plan.plan_absent(host.observe(), []).steps)
    assert host.tree() == pristine


def test_a_kernel_installed_after_the_removal_does_not_bring_them_back(
    host: SystemdBootHost,
) -> None:
    pristine = host.tree()
    apply_in_order(set_it(host))
    host.reboot()
    apply_in_order(plan.plan_absent(host.observe(), []).steps)
    host.install(RELEASES[-1])
    host.reboot()
    assert host.booted() == OLD
    apply_in_order(plan.plan_absent(host.observe(), []).steps)
    assert host.tree() == pristine
