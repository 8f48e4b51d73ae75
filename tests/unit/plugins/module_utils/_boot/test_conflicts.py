# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which parameter wins, checked against the setup functions of Linux 6.1."""

from __future__ import annotations

import pytest
from ansible_collections.gpufleet.p2p.plugins.module_utils._boot.cmdline import parse, wanted
from ansible_collections.gpufleet.p2p.plugins.module_utils._boot.conflicts import (
    ParameterConflict,
    find_conflicts,
    in_force,
    refuse_impossible,
    refuse_unresolved,
)


@pytest.mark.parametrize(
    ("parameters", "line", "holds"),
    [
        ("iommu=pt", "iommu=pt", True),
        ("iommu=pt", "iommu.passthrough=1", True),
        ("iommu.passthrough=1", "iommu=pt", True),
        ("iommu=pt", "iommu=nopt iommu=pt", True),
        ("iommu=pt", "iommu=pt iommu=nopt", False),
        ("iommu=pt", "iommu=pt iommu.passthrough=0", False),
        ("iommu=pt", "iommu=nopt,pt", True),
        ("iommu=pt", "iommu=off iommu=pt", False),
        ("iommu=pt", "iommu=pt,off", False),
        ("intel_iommu=on", "intel_iommu=off intel_iommu=on", True),
        ("intel_iommu=on", "intel_iommu=on intel_iommu=off", False),
        ("intel_iommu=on", "intel_iommu=on,sm_on", True),
        ("iommu=pt", "quiet -- iommu=pt", False),
        ("pci=noaer", "pci=noaer pci=realloc", True),
        ("pci=noaer pci=realloc", "pci=realloc,noaer", True),
        ("pci=disable_acs_redir=a;b", "pci=disable_acs_redir=a;b pci=disable_acs_redir=c", False),
        ("console=ttyS0", "console=ttyS0 console=tty0", True),
        ("panic=30", "panic=30 panic=0", False),
        ("quiet", "quiet", True),
        ("quiet", "quiet=1", False),
        ("nvidia-drm.modeset=0", "nvidia_drm.modeset=0", True),
    ],
)
def test_in_force_by_meaning(parameters: str, line: str, holds: bool) -> None:
    assert in_force(wanted(parameters.split()), parse(line)) is holds


def test_the_other_vendors_switch_does_not_count() -> None:
    asked = wanted(["iommu=pt"])
    line = parse("intel_iommu=off iommu=pt")
    assert in_force(asked, line, vendor="amd")
    assert not in_force(asked, line, vendor="intel")
    assert in_force(asked, parse("amd_iommu=off iommu=pt"), vendor="intel")
    assert not in_force(asked, parse("amd_iommu=off iommu=pt"), vendor="amd")


def test_what_a_later_one_overrides_is_resolved() -> None:
    configured = [(p, "/etc/default/grub") for p in parse("iommu=nopt intel_iommu=off").parameters]
    found = find_conflicts(wanted(["intel_iommu=on", "iommu=pt"]), configured, vendor="intel")
    assert {(c.parameter, c.wanted, c.resolved) for c in found} == {
        ("iommu=nopt", "iommu=pt", True),
        ("intel_iommu=off", "intel_iommu=on", True),
        ("intel_iommu=off", "iommu=pt", True),
    }
    refuse_unresolved(found)


@pytest.mark.parametrize(
    ("sticky", "vendor"), [("iommu=off", "intel"), ("amd_iommu=off", "amd"), ("iommu=off", None)]
)
def test_what_nothing_undoes_is_refused_with_its_file(sticky: str, vendor: str | None) -> None:
    place = "/etc/default/grub.d/50-cloudimg-settings.cfg"
    configured = [(parse(sticky).parameters[0], place)]
    found = find_conflicts(wanted(["iommu=pt"]), configured, vendor=vendor)
    with pytest.raises(ParameterConflict) as refusal:
        refuse_unresolved(found)
    assert refusal.value.code == "parameter_sticky"
    assert sticky in refusal.value.read
    assert place in refusal.value.read


def test_amd_iommu_on_is_never_added() -> None:
    with pytest.raises(ParameterConflict) as refusal:
        refuse_impossible(wanted(["amd_iommu=on", "iommu=pt"]))
    assert refusal.value.code == "parameter_does_not_exist"


@pytest.mark.parametrize("pair", ["iommu=pt iommu=nopt", "iommu=off iommu=pt", "panic=1 panic=2"])
def test_wishes_that_exclude_each_other_are_refused(pair: str) -> None:
    with pytest.raises(ParameterConflict) as refusal:
        refuse_impossible(wanted(pair.split()))
    assert refusal.value.code == "parameters_contradict"
