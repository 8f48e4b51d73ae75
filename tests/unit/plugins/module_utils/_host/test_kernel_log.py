# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The kernel log since a moment: records, dmesg's lines, and what is said where it is closed."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.gpufleet.p2p.plugins.module_utils._host import kernel_log
from ansible_collections.gpufleet.p2p.plugins.module_utils._host.kernel_log import (
    KernelLog,
    Reading,
    lines_after,
    parse_dmesg,
    parse_kmsg,
)
from hypothesis import given
from hypothesis import strategies as st

KMSG = (
    b"6,339,5140900,-;NET: Registered PF_INET protocol family\n"
    b"30,340,5690716,-;udevd[80]: starting version 181\n"
    b"3,341,5741021,-;DMAR: DRHD: handling fault status reg 2\n"
    b"4,342,5741999,c,caller=T99;thermal\\x0awarning caf\\xc3\\xa9\n"
    b" SUBSYSTEM=acpi\n"
    b" DEVICE=+acpi:PNP0A03:00\n"
)


def test_records_are_the_kernels_own_messages_without_their_properties() -> None:
    assert parse_kmsg(KMSG) == (
        "NET: Registered PF_INET protocol family",
        "DMAR: DRHD: handling fault status reg 2",
        "thermal warning café",
    )


@pytest.mark.parametrize(
    "line",
    [
        "[  321.645398] loop0: detected capacity change",
        "[    0.000000][    T0] loop0: detected capacity change",
        "[12345.645398][ C11] loop0: detected capacity change",
        "loop0: detected capacity change",
    ],
)
def test_dmesgs_stamps_are_left_out(line: str) -> None:
    assert parse_dmesg(f"{line}\n") == ("loop0: detected capacity change",)


@given(st.binary())
def test_any_bytes_give_printable_lines(data: bytes) -> None:
    assert all(message.isprintable() for message in parse_kmsg(data))


@given(st.lists(st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]))), st.binary())
def test_a_message_comes_back_as_it_was_said(words: list[str], rest: bytes) -> None:
    messages = [word.replace("\\", "/") for word in words]
    records = b"".join(f"4,{n},1,-;{m}\n K=v\n".encode() for n, m in enumerate(messages))
    assert parse_kmsg(records + b"\n" + rest)[: len(messages)] == tuple(messages)


@given(st.text())
def test_any_text_is_lines_of_dmesg(text: str) -> None:
    assert all(message.isprintable() for message in parse_dmesg(text))


@given(st.lists(st.sampled_from("abc")), st.integers(0, 12), st.lists(st.sampled_from("abc")))
def test_what_followed_is_found_where_the_log_rolled(
    before: list[str], dropped: int, after: list[str]
) -> None:
    rolled = [*before, *after][dropped:]
    found = lines_after(before, rolled)
    mark = min(len(before), 8)
    if len(before) - mark < dropped and found is None:
        return  # the mark itself has rolled out
    assert found is not None
    # Lines that repeat the mark may be taken for it; none that is older comes back.
    assert list(found) == after[len(after) - len(found) :]


def test_a_log_that_was_cleared_has_no_known_end() -> None:
    assert lines_after(["a", "b"], ["c"]) is None


def test_all_of_a_log_follows_an_empty_one() -> None:
    assert lines_after([], ["c"]) == ("c",)


def test_only_what_was_said_since_then_is_read(tmp_path: Path) -> None:
    device = tmp_path / "dev/kmsg"
    device.parent.mkdir()
    device.write_bytes(KMSG)
    with closing(KernelLog(tmp_path)) as log:
        assert log.read() == Reading(())
        with device.open("ab") as stream:
            stream.write(b"3,343,1,-;first\n12,344,1,-;a program\n3,345,1,-;second\n")
        assert log.read() == Reading(("first", "second"))
        assert log.read() == Reading(())


def test_a_log_that_never_ends_is_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel_log, "_READ_BYTES_AT_MOST", 1 << 20)
    device = tmp_path / "dev/kmsg"
    device.parent.mkdir()
    device.write_bytes(b"")
    with closing(KernelLog(tmp_path)) as log:
        device.write_bytes(b"3,1,1,-;again and again\n" * 100_000)
        reading = log.read()
    assert reading.remark == "only the first 1 MiB were read"
    assert reading.messages is not None and 40_000 < len(reading.messages) < 50_000


def test_no_log_is_said_to_be_unread(tmp_path: Path) -> None:
    with closing(KernelLog(tmp_path)) as log:
        reading = log.read()
    assert reading == Reading(None, "/dev/kmsg: no such file or directory")


@pytest.fixture(name="dmesg")
def _dmesg(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Return a function that puts a script in dmesg's place; /dev/kmsg is closed."""

    usual = os.open

    def refuse(path: str | Path, flags: int, *rest: Any, **more: Any) -> int:
        if str(path) == "/dev/kmsg":
            raise PermissionError(1, "Operation not permitted", path)
        return usual(path, flags, *rest, **more)

    monkeypatch.setattr(os, "open", refuse)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")

    def say(script: str) -> None:
        (tmp_path / "dmesg").write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / "dmesg").chmod(0o755)

    return say


def test_dmesg_is_asked_where_the_device_is_closed(
    dmesg: Callable[[str], None], tmp_path: Path
) -> None:
    log = tmp_path / "log"
    log.write_text("[    1.000000] old\n")
    dmesg(f"cat {log}")
    with closing(KernelLog()) as reader:
        log.write_text("[    1.000000] old\n[    2.000000] new\n")
        assert reader.read() == Reading(("new",))
        log.write_text("[    3.000000] cleared and begun anew\n")
        reading = reader.read()
    assert reading.messages is None
    assert reading.remark == "dmesg: the log was cleared or has rolled over meanwhile"


def test_where_dmesg_is_refused_too_both_say_why(dmesg: Callable[[str], None]) -> None:
    dmesg("echo 'dmesg: read kernel buffer failed: Operation not permitted' >&2; exit 1")
    with closing(KernelLog()) as log:
        reading = log.read()
    assert reading.messages is None
    assert reading.remark == (
        "/dev/kmsg: operation not permitted; dmesg --kernel returned 1: "
        "dmesg: read kernel buffer failed: Operation not permitted"
    )
