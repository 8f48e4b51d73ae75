# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Our keys beside those of others: all in force, or a refusal that names who stands against it."""

from __future__ import annotations

import pytest
from ansible_collections.gpufleet.p2p.plugins.module_utils._driver.modprobe_options import Setting
from ansible_collections.gpufleet.p2p.plugins.module_utils._driver.registry import (
    DWORDS,
    DWORDS_PER_DEVICE,
    canonical,
)
from ansible_collections.gpufleet.p2p.plugins.module_utils._driver.registry_file import (
    parameters_in_file,
)
from ansible_collections.gpufleet.p2p.plugins.module_utils._driver.registry_in_force import (
    keys_in_force,
    not_in_force,
)
from ansible_collections.gpufleet.p2p.plugins.module_utils._driver.registry_merge import (
    RegistryRefused,
    merged,
)
from hypothesis import given
from hypothesis import strategies as st

OURS = {"RMForceP2PType": 1, "NVreg_EnableResizableBar": 1}
FILE = "/etc/modprobe.d/local.conf:4"


def foreign(parameter: str, value: str, *, later: bool = False) -> Setting:
    return Setting(parameter, value, FILE, later)


def test_without_others_it_is_ours_alone() -> None:
    file = merged(OURS, ()).as_file().decode()
    assert file.startswith("# Written by gpufleet")
    assert file.endswith(
        'options nvidia NVreg_EnableResizableBar=1 NVreg_RegistryDwords="RMForceP2PType=1"\n'
    )


def test_keys_of_others_are_taken_over_and_told() -> None:
    found = merged(OURS, [foreign(DWORDS, "PeerMappingOverride=0x1; RMX=2")])
    assert found.parameters[DWORDS] == "PeerMappingOverride=0x1;RMX=2;RMForceP2PType=1"
    assert found.kept == (("PeerMappingOverride=0x1", FILE), ("RMX=2", FILE))
    assert FILE in found.as_file().decode()


@pytest.mark.parametrize(
    "setting",
    [
        foreign("NVreg_EnableResizableBar", "0"),
        foreign("NVreg_EnableResizableBar", "0", later=True),
        foreign(DWORDS, "RMForceP2PType=2"),
        # The driver looks names up without regard to case, and parameters among the keys.
        foreign(DWORDS, "rmforcep2ptype=2"),
        foreign(DWORDS, "EnableResizableBar=0"),
        foreign(DWORDS_PER_DEVICE, "pci=0000:01:00.0;RMForceP2PType=0"),
        # A number that cannot be read is not the one that was asked for.
        foreign(DWORDS, "RMForceP2PType=one"),
    ],
)
def test_another_number_for_a_key_is_refused_by_its_place(setting: Setting) -> None:
    with pytest.raises(RegistryRefused) as caught:
        merged(OURS, [setting])
    assert caught.value.code == "registry_conflict"
    assert caught.value.read.startswith(FILE)
    assert FILE in caught.value.remedy


@pytest.mark.parametrize(
    "setting",
    [
        foreign("NVreg_EnableResizableBar", "0x1"),
        foreign(DWORDS, "rmforcep2ptype=1"),
        foreign("NVreg_RmMsg", "rmgpu"),
        foreign(DWORDS_PER_DEVICE, "pci=0000:01:00.0;Other=0"),
    ],
)
def test_the_same_number_or_another_key_is_no_conflict(setting: Setting) -> None:
    assert merged(OURS, [setting]).parameters[DWORDS].endswith("RMForceP2PType=1")


def test_a_line_that_counts_for_nothing_stands_against_nothing() -> None:
    dead, last = foreign(DWORDS, "RMForceP2PType=2"), foreign(DWORDS, "RMX=1")
    assert merged(OURS, [dead, last]).parameters[DWORDS] == "RMX=1;RMForceP2PType=1"


def test_a_line_that_comes_after_ours_is_refused() -> None:
    with pytest.raises(RegistryRefused) as caught:
        merged(OURS, [foreign(DWORDS, "PeerMappingOverride=1", later=True)])
    assert caught.value.code == "registry_overridden"
    # One that says the same overrides nothing.
    assert merged(OURS, [foreign(DWORDS, "RMX=1;RMForceP2PType=1", later=True)])
    # Nor does it matter where no key of ours is in that parameter.
    alone = merged({"NVreg_EnableMSI": 1}, [foreign(DWORDS, "RMX=1", later=True)])
    assert alone.parameters == {"NVreg_EnableMSI": "1"}


def test_what_cannot_be_taken_over_is_refused() -> None:
    with pytest.raises(RegistryRefused, match="registry_conflict"):
        merged(OURS, [foreign(DWORDS, 'RM"X=1')])
    with pytest.raises(RegistryRefused, match="registry_too_long"):
        merged(OURS, [foreign(DWORDS, ";".join(f"RMKey{n}=1" for n in range(200)))])


keys = st.sampled_from(["RMA", "rma", "RMB", "RMC", "EnableMSI"])
numbers = st.integers(0, 2)
dwords = st.lists(st.tuples(keys, numbers), max_size=4).map(
    lambda entries: ";".join(f"{key}={value}" for key, value in entries)
)
settings_of_others = st.lists(
    st.one_of(
        st.builds(foreign, st.just(DWORDS), dwords, later=st.booleans()),
        st.builds(foreign, st.just("NVreg_EnableMSI"), numbers.map(str), later=st.booleans()),
    ),
    max_size=4,
).map(lambda settings: sorted(settings, key=lambda setting: setting.later))
asked = st.dictionaries(
    st.sampled_from(["RMA", "RMB", "NVreg_EnableMSI"]), numbers, min_size=1, max_size=3
)


def loaded_with(settings: list[Setting], ours: dict[str, str]) -> dict[str, str]:
    """Return what the driver shows when the kernel has kept the last of each parameter."""
    before = {s.parameter: s.value for s in settings if not s.later}
    after = {s.parameter: s.value for s in settings if s.later}
    passed = {**before, **ours, **after}
    return {name.removeprefix("NVreg_"): value for name, value in passed.items()}


@given(asked, settings_of_others)
def test_what_is_not_refused_is_in_force_and_takes_nothing_away(
    wanted: dict[str, int], settings: list[Setting]
) -> None:
    try:
        found = merged(wanted, settings)
    except RegistryRefused:
        return
    ours = parameters_in_file(found.as_file())
    assert ours == dict(found.parameters)
    running = loaded_with(settings, ours)
    assert not_in_force(wanted, running) == ()
    # Whatever others had in force beside it still is.
    mine = {canonical(key) for key in wanted}
    for key, value in keys_in_force(loaded_with(settings, {})).items():
        if canonical(key) not in mine:
            assert keys_in_force(running)[key] == value


@given(asked)
def test_alone_nothing_is_refused(wanted: dict[str, int]) -> None:
    assert not_in_force(wanted, loaded_with([], dict(merged(wanted, ()).parameters))) == ()
