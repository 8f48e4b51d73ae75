# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""NCCL's gates are told as NCCL's own sources have them, apart from what was verified."""

from __future__ import annotations

import ctypes
from pathlib import Path

import pytest
from ansible_collections.gpufleet.p2p.plugins.module_utils._p2p import nccl
from ansible_collections.gpufleet.p2p.plugins.module_utils._p2p.nccl import (
    Gates,
    Setting,
    level_name,
    nccl_notes,
    parse_conf,
    read_gates,
    strtol,
    use_of,
    with_nccl,
)
from ansible_collections.gpufleet.p2p.plugins.module_utils._p2p.result import Capability, NcclUse
from hypothesis import given
from hypothesis import strategies as st
from support.evidence import evidence, pair


def gates(amd: bool | None = False, gpus: int = 4, **settings: str) -> Gates:
    return Gates({name: Setting(text, "a file") for name, text in settings.items()}, amd, gpus)


@pytest.mark.parametrize("path", ["NV4", "PIX", "PXB"])
def test_up_to_several_switches_nccl_needs_no_setting(path: str) -> None:
    use = use_of(pair(0, 1, "pass", path=path), gates())
    assert use.would_use is True
    assert "within PXB (NCCL's default)" in use.why


@pytest.mark.parametrize(("path", "told"), [("PHB", "PHB"), ("NODE", "PHB"), ("SYS", "SYS")])
def test_through_the_host_it_needs_one(path: str, told: str) -> None:
    use = use_of(pair(0, 1, "pass", path=path), gates())
    assert use == NcclUse(False, f"path {told} is beyond PXB (NCCL's default)")


def test_two_gpus_on_amd_processors_always_talk_directly() -> None:
    far = pair(0, 1, "pass", path="SYS")
    assert use_of(far, gates(amd=True, gpus=2)).would_use is True
    assert use_of(far, gates(amd=True, gpus=3)).would_use is False
    assert use_of(far, gates(amd=False, gpus=2)).would_use is False


def test_an_unknown_processor_leaves_open_only_what_hangs_on_it() -> None:
    far = pair(0, 1, "pass", path="SYS")
    assert use_of(far, gates(amd=None, gpus=2)).would_use is None
    assert use_of(far, gates(amd=None, gpus=3)).would_use is False
    assert use_of(far, gates(amd=None, gpus=2, NCCL_P2P_LEVEL="SYS")).would_use is True
    assert use_of(pair(0, 1, "pass", path="PIX"), gates(amd=None, gpus=2)).would_use is True


@pytest.mark.parametrize(
    ("value", "phb"),
    [
        ("SYS", True),
        ("PHB", True),
        ("PXB", False),
        ("LOC", False),
        ("3", True),
        ("2", False),
        ("99", True),
        ("phb", False),  # names are compared exactly, and what is no name is ignored
        (" SYS", False),
        ("", False),
    ],
)
def test_the_level_is_taken_as_nccl_takes_it(value: str, phb: bool) -> None:
    host = gates(NCCL_P2P_LEVEL=value)
    assert use_of(pair(0, 1, "pass", path="PHB"), host).would_use is phb


def test_disabling_outweighs_a_level_and_names_its_source() -> None:
    use = use_of(pair(0, 1, "pass", path="NV4"), gates(NCCL_P2P_DISABLE="1", NCCL_P2P_LEVEL="SYS"))
    assert use == NcclUse(False, "path NVL is beyond LOC (NCCL_P2P_DISABLE=1 in a file)")
    assert use_of(pair(0, 1, "pass", path="PIX"), gates(NCCL_P2P_DISABLE="0")).would_use is True
    # Only 1 disables.
    assert use_of(pair(0, 1, "pass", path="PIX"), gates(NCCL_P2P_DISABLE="2")).would_use is True


@pytest.mark.parametrize(
    ("claims", "would_use"),
    [
        (("OK", "OK"), True),
        (("OK", "CNS"), False),
        (("CNS", "CNS"), False),
        (("U", "U"), None),
        ((None, None), None),
    ],
)
def test_nvml_has_to_say_yes_to_both(
    claims: tuple[str | None, str | None], would_use: bool | None
) -> None:
    near = pair(0, 1, "pass", path="PIX", capability=Capability(True, *claims))
    assert use_of(near, gates()).would_use is would_use
    assert use_of(near, gates(NCCL_IGNORE_DISABLED_P2P="2")).would_use is True


def test_a_peer_that_cuda_cannot_access_is_not_used() -> None:
    near = pair(0, 1, "fail", path="PIX", capability=Capability(False, "OK", "OK"))
    assert use_of(near, gates()).would_use is False


def test_the_first_line_counts_and_spaces_are_part_of_it() -> None:
    conf = (
        b"#NCCL_P2P_LEVEL=LOC\nNCCL_P2P_LEVEL=PHB\nNCCL_P2P_LEVEL=SYS\n NCCL_A = b=c\nnothing\n=x"
    )
    assert parse_conf(conf) == {"NCCL_P2P_LEVEL": "PHB", " NCCL_A ": " b=c"}


def test_windows_line_ends_make_a_level_unknown() -> None:
    assert level_name(parse_conf(b"NCCL_P2P_LEVEL=SYS\r\n")["NCCL_P2P_LEVEL"]) is None


def test_the_environment_outweighs_the_users_file_and_that_the_systems(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = nccl.pwd.getpwuid(nccl.os.getuid()).pw_dir.lstrip("/")
    (tmp_path / home).mkdir(parents=True)
    (tmp_path / home / ".nccl.conf").write_text("NCCL_P2P_LEVEL=PHB\n")
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/nccl.conf").write_text("NCCL_P2P_LEVEL=SYS\nNCCL_P2P_DISABLE=0\n")
    (tmp_path / "named.conf").write_text("NCCL_P2P_LEVEL=PIX\n")

    def level(environment: dict[str, str]) -> Setting:
        return read_gates(tmp_path, environment, 2).settings["NCCL_P2P_LEVEL"]

    assert level({}) == Setting("PHB", f"/{home}/.nccl.conf")
    assert level({"NCCL_P2P_LEVEL": "LOC"}) == Setting("LOC", "the environment")
    assert level({"NCCL_CONF_FILE": "/named.conf"}) == Setting("PIX", "/named.conf")
    (tmp_path / home / ".nccl.conf").unlink()
    assert level({}) == Setting("SYS", "/etc/nccl.conf")
    assert read_gates(tmp_path, {}, 2).settings["NCCL_P2P_DISABLE"].value == "0"


@pytest.mark.parametrize(
    ("cpuinfo", "amd"),
    [("vendor_id\t: AuthenticAMD\n", True), ("vendor_id\t: GenuineIntel\n", False), (None, None)],
)
def test_the_processors_maker_is_read(
    tmp_path: Path, cpuinfo: str | None, amd: bool | None
) -> None:
    if cpuinfo is not None:
        (tmp_path / "proc").mkdir()
        (tmp_path / "proc/cpuinfo").write_text(cpuinfo)
    assert read_gates(tmp_path, {}, 2).amd is amd


def test_verified_pairs_that_nccl_leaves_aside_are_noted_with_the_least_level_that_helps() -> None:
    pairs = (
        pair(0, 1, "pass", path="PHB"),
        pair(1, 0, "warn", "slow", path="PHB"),
        pair(0, 2, "fail", "data_dropped", path="SYS"),
    )
    (note,) = nccl_notes(evidence(*with_nccl(pairs, gates())))
    assert note.code == "nccl_gate"
    assert note.evidence == "0>1, 1>0: path PHB is beyond PXB (NCCL's default)"
    assert "set NCCL_P2P_LEVEL=PHB " in note.remedy


def test_where_it_was_disabled_that_is_to_be_taken_away() -> None:
    pairs = with_nccl([pair(0, 1, "pass", path="PIX")], gates(NCCL_P2P_DISABLE="1"))
    (note,) = nccl_notes(evidence(*pairs))
    assert "NCCL_P2P_DISABLE=1 in a file" in note.evidence
    assert note.remedy.startswith("take NCCL_P2P_DISABLE away")


def test_pairs_that_fail_and_would_be_used_are_warned_of() -> None:
    pairs = with_nccl([pair(0, 1, "fail", "data_dropped", path="PIX")], gates())
    (note,) = nccl_notes(evidence(*pairs))
    assert note.code == "nccl_uses_failed_pair"
    assert "NCCL_P2P_DISABLE=1" in note.remedy


def test_where_both_agree_there_is_nothing_to_say() -> None:
    pairs = [pair(0, 1, "pass", path="PIX"), pair(1, 0, "fail", "data_dropped", path="SYS")]
    assert nccl_notes(evidence(*with_nccl(pairs, gates()))) == []


@given(st.from_regex(r"[ \t]{0,2}[+-]?(0x|0)?[0-9a-fx]{0,9}.{0,3}", fullmatch=True) | st.text())
def test_numbers_are_read_as_c_reads_them(text: str) -> None:
    library = ctypes.CDLL(None)
    library.strtol.restype = ctypes.c_long
    encoded = text.split("\0", maxsplit=1)[0].encode("utf-8", "surrogatepass")
    assert strtol(text.split("\0", maxsplit=1)[0]) == library.strtol(encoded, None, 0)


@pytest.mark.parametrize(
    "text", ["9" * 5000, "-" + "9" * 5000, "0x" + "f" * 5000, "0" * 5000 + "7"]
)
def test_numbers_stop_at_the_largest_long(text: str) -> None:
    library = ctypes.CDLL(None)
    library.strtol.restype = ctypes.c_long
    assert strtol(text) == library.strtol(text.encode(), None, 0)


@given(st.binary())
def test_any_file_gives_names_and_values_without_line_ends(data: bytes) -> None:
    for name, value in parse_conf(data).items():
        assert name and "=" not in name and "\n" not in name + value


@given(st.text())
def test_any_level_is_one_of_nccls_or_none(text: str) -> None:
    assert level_name(text) in (
        None,
        "LOC",
        "NVL",
        "NVB",
        "C2C",
        "PIX",
        "PXB",
        "P2C",
        "PXN",
        "PHB",
        "SYS",
    )
