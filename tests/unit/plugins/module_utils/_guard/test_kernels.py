# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which kernel a host is held to, whatever is installed."""

from __future__ import annotations

from pathlib import Path

from ansible_collections.gpufleet.p2p.plugins.module_utils._boot.systemd_boot_kernel import (
    SystemdBootKernel,
)
from ansible_collections.gpufleet.p2p.plugins.module_utils._driver.readiness import Readiness
from ansible_collections.gpufleet.p2p.plugins.module_utils._guard.kernels import (
    cannot_hold,
    choose,
    holder_of,
)
from hypothesis import given
from hypothesis import strategies as st
from support.proxmox_host import ProxmoxHost
from support.systemd_boot_host import KernelstubHost, SystemdBootHost

RELEASES = [f"6.1.0-{number}-amd64" for number in (8, 9, 10, 11)]


def stands(release: str, ready: bool) -> Readiness:
    return Readiness(release, "595.58.03" if ready else None, () if ready else ("nvidia: gone",))


@given(
    ready=st.dictionaries(st.sampled_from(RELEASES), st.booleans(), min_size=1),
    data=st.data(),
)
def test_the_host_boots_a_kernel_with_the_driver_if_there_is_one(
    ready: dict[str, bool], data: st.DataObject
) -> None:
    wanted = data.draw(st.sampled_from(sorted(ready)))
    running = data.draw(st.sampled_from(RELEASES))
    held = data.draw(st.none() | st.sampled_from(RELEASES))
    seen = {release: stands(release, able) for release, able in ready.items()}
    choice = choose(seen, wanted=wanted, running=running, held=held)
    boots = choice.pin or wanted
    assert ready[boots] == any(ready.values())
    # Silent only where the host's own default is right.
    assert (choice.findings == ()) == ready[wanted]
    assert (choice.pin is None) == (ready[wanted] or not any(ready.values()))
    # A host that is held stays where it is, so that a second look changes nothing.
    again = choose(seen, wanted=wanted, running=running, held=choice.pin)
    assert again == choice


def test_the_running_kernel_is_preferred_to_a_newer_one() -> None:
    seen = {r: stands(r, r != RELEASES[3]) for r in RELEASES}
    assert choose(seen, wanted=RELEASES[3], running=RELEASES[0], held=None).pin == RELEASES[0]
    assert choose(seen, wanted=RELEASES[3], running="other", held=None).pin == RELEASES[2]


def test_the_finding_names_kernel_fault_and_remedy() -> None:
    seen = {RELEASES[0]: stands(RELEASES[0], True), RELEASES[3]: stands(RELEASES[3], False)}
    (finding,) = choose(seen, wanted=RELEASES[3], running=RELEASES[0], held=None).findings
    assert finding.code == "kernel_without_driver"
    assert "nvidia: gone" in finding.read and RELEASES[0] in finding.read
    assert f"linux-headers-{RELEASES[3]}" in finding.remedy


def test_without_a_way_to_hold_the_host_the_finding_says_what_boots_next() -> None:
    seen = {RELEASES[0]: stands(RELEASES[0], True), RELEASES[3]: stands(RELEASES[3], False)}
    choice = choose(seen, wanted=RELEASES[3], running=RELEASES[0], held=None, can_hold=False)
    assert f"{RELEASES[3]} boots next" in choice.findings[0].read


def test_systemd_boot_is_held_and_the_others_are_named(tmp_path: Path) -> None:
    debian = SystemdBootHost(tmp_path / "debian").loader()
    assert isinstance(holder_of(debian), SystemdBootKernel)
    assert holder_of(KernelstubHost(tmp_path / "pop").loader()) is None
    proxmox = ProxmoxHost(tmp_path / "proxmox").loader()
    assert holder_of(proxmox) is None
    assert "proxmox-boot-tool kernel pin" in cannot_hold(proxmox).remedy
