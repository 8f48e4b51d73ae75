# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The command line is read as next_arg() and parse_args() of the kernel read it."""

from __future__ import annotations

import pytest
from ansible_collections.gpufleet.p2p.plugins.module_utils._boot.cmdline import (
    CommandLine,
    Parameter,
    ParameterRefused,
    difference,
    format_line,
    from_arguments,
    merge,
    parse,
    wanted,
)
from hypothesis import given
from hypothesis import strategies as st

NAMES = st.from_regex(r"[a-z][a-z0-9_.\-]{0,11}", fullmatch=True).filter(lambda name: name != "--")
VALUES = st.text(
    alphabet=st.characters(min_codepoint=32, max_codepoint=126, exclude_characters="\"'\\"),
    max_size=16,
)
PARAMETERS = st.builds(Parameter, NAMES, st.none() | VALUES)
LINES = st.builds(
    CommandLine,
    st.lists(PARAMETERS, max_size=8).map(tuple),
    st.lists(st.from_regex(r"[a-z]{1,5}", fullmatch=True), max_size=2).map(tuple),
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("quiet", [("quiet", None)]),
        ("  a=1\t b=2\n", [("a", "1"), ("b", "2")]),
        ("a=", [("a", "")]),
        ('a=""', [("a", "")]),
        ('a="b c"', [("a", "b c")]),
        ('"a=b c"', [("a", "b c")]),
        ('"a b"', [("a b", None)]),
        ('dyndbg="file x +p" ro', [("dyndbg", "file x +p"), ("ro", None)]),
        # Quotes inside a value are the kernel's to keep, though they hold the space.
        ('a=b"c d"e', [("a", 'b"c d"e')]),
        ("a=b=c", [("a", "b=c")]),
        ("ro --- quiet", [("ro", None), ("---", None), ("quiet", None)]),
    ],
)
def test_parses_as_the_kernel_does(text: str, expected: list[tuple[str, str | None]]) -> None:
    assert [(p.name, p.value) for p in parse(text).parameters] == expected


def test_words_after_the_separator_are_for_init() -> None:
    line = parse("ro quiet -- single iommu=off")
    assert [p.name for p in line.parameters] == ["ro", "quiet"]
    assert line.for_init == ("single", "iommu=off")


def test_dash_and_underscore_are_the_same_in_names_only() -> None:
    line = parse("usb-storage.quirks=a-b")
    assert line.value_of("usb_storage.quirks") == "a-b"
    assert not Parameter("a", "x-y").same_as(Parameter("a", "x_y"))


def test_last_value_is_the_value() -> None:
    assert parse("panic=1 quiet panic=30").value_of("panic") == "30"


@given(LINES)
def test_formatting_round_trips(line: CommandLine) -> None:
    assert parse(format_line(line)) == line


@given(st.lists(PARAMETERS, max_size=6))
def test_what_grub_joins_the_kernel_takes_apart(parameters: list[Parameter]) -> None:
    carried = from_arguments(parameter.text for parameter in parameters)
    assert carried.parameters == tuple(parameters)


@given(LINES, st.lists(PARAMETERS, max_size=4))
def test_merging_twice_is_merging_once(line: CommandLine, parameters: list[Parameter]) -> None:
    once = merge(line, parameters)
    assert merge(once, parameters) == once
    assert once.parameters[len(once.parameters) - len(parameters) :] == tuple(parameters)


@given(LINES, LINES)
def test_a_difference_accounts_for_every_parameter(before: CommandLine, after: CommandLine) -> None:
    changed = difference(before, after)
    assert len(before.parameters) - len(changed.removed) + len(changed.added) == len(
        after.parameters
    )
    assert difference(before, before).removed == ()


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", "parameter_malformed"),
        ("a=1 b=2", "parameter_malformed"),
        ("--", "parameter_malformed"),
        ('a=b"c', "parameter_unportable"),
        ("a=it's", "parameter_unportable"),
        ("a=b\\c", "parameter_unportable"),
        ("a=ü", "parameter_unportable"),
        ('a="b\nc"', "parameter_unportable"),
        ("=a", "parameter_unportable"),
    ],
)
def test_parameters_that_would_arrive_changed_are_refused(text: str, code: str) -> None:
    with pytest.raises(ParameterRefused) as refusal:
        wanted([text])
    assert refusal.value.code == code


def test_repetitions_are_dropped() -> None:
    assert wanted(["iommu=pt", "iommu=pt"]) == (Parameter("iommu", "pt"),)
