# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the running driver says of its registry."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.gpufleet.p2p.plugins.module_utils._driver.registry_in_force import (
    keys_in_force,
    not_in_force,
    number,
    parse_dwords,
    parse_params,
    registry_in_force,
    running_parameters,
)

PARAMS = """\
ResmanDebugLevel: 4294967295
EnableMSI: 1
RmProfilingAdminOnly: 0
EnableResizableBar: 0
RegistryDwords: "RMForceP2PType=0x1;PeerMappingOverride = 1;junk;=2;a=b=c;peermappingoverride=0"
RmMsg: ""
"""


def test_the_file_of_the_driver(tmp_path: Path) -> None:
    assert running_parameters(tmp_path) is None
    (tmp_path / "proc/driver/nvidia").mkdir(parents=True)
    (tmp_path / "proc/driver/nvidia/params").write_text(PARAMS)
    running = running_parameters(tmp_path)
    assert running is not None
    assert running["EnableMSI"] == "1"
    assert running["RmMsg"] == ""
    # The last spelling of a key counts, and what is not NAME=VALUE does not.
    assert keys_in_force(running) == {"RMForceP2PType": "0x1", "peermappingoverride": "0"}


@pytest.mark.parametrize(
    ("numbers", "differences"),
    [
        ({"RMForceP2PType": 1, "NVreg_EnableMSI": 1}, ()),
        ({"NVreg_EnableMSI": 0}, ("NVreg_EnableMSI is 1 instead of 0",)),
        ({"PeerMappingOverride": 1}, ("PeerMappingOverride is 0 instead of 1",)),
        ({"RMOther": 0}, ("RMOther is not set instead of 0",)),
        # Shown under another name; and one that is not shown at all.
        ({"NVreg_RestrictProfilingToAdminUsers": 0, "NVreg_Hidden": 5}, ()),
        (
            {"NVreg_RestrictProfilingToAdminUsers": 1},
            ("NVreg_RestrictProfilingToAdminUsers is 0 instead of 1",),
        ),
    ],
)
def test_what_is_not_in_force_is_told(
    numbers: dict[str, int], differences: tuple[str, ...]
) -> None:
    assert not_in_force(numbers, parse_params(PARAMS)) == differences


def test_what_is_in_force_is_told_for_the_record() -> None:
    parameters = {"NVreg_EnableMSI": "1", "NVreg_RegistryDwords": "x=1", "NVreg_Hidden": "5"}
    assert registry_in_force(parse_params(PARAMS), parameters) == [
        "NVreg_EnableMSI=1",
        "RMForceP2PType=0x1",
        "peermappingoverride=0",
    ]


@pytest.mark.parametrize(
    ("text", "value"),
    [("1", 1), ("0x1F", 31), ("017", 15), ("0", 0), ("089", None), ("", None), ("-1", None)],
)
def test_numbers_are_read_as_the_driver_reads_them(text: str, value: int | None) -> None:
    assert number(text) == value


def test_an_empty_value_has_no_keys() -> None:
    assert parse_dwords("") == ()
    assert parse_params("no colon here\n") == {}
