# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every parser stands a few damaged texts, and the fuzzer finds a parser that does not."""

from __future__ import annotations

import importlib
import inspect

import pytest
from ansible_collections.gpufleet.p2p.plugins.module_utils._host.errors import GpufleetError
from fuzz.__main__ import fuzz, main
from fuzz.cases import mutated, mutated_json
from fuzz.parsers import MODULE_UTILS, PARSERS, REPOSITORY, Parser
from hypothesis import given, settings
from hypothesis import strategies as st


@pytest.mark.parametrize("parser", PARSERS, ids=lambda parser: parser.name)
def test_a_parser_answers_or_refuses_by_name(parser: Parser) -> None:
    assert fuzz(parser, seconds=0, seed=20261123, cases_a_round=30).crash == ""


def test_every_parse_function_of_the_product_is_registered() -> None:
    found = set()
    root = REPOSITORY / "plugins/module_utils"
    for path in sorted(root.glob("_*/*.py")):
        place = ".".join(path.relative_to(root).with_suffix("").parts)
        module = importlib.import_module(f"{MODULE_UTILS}.{place}")
        found |= {
            f"{place}.{name}"
            for name, value in vars(module).items()
            if inspect.isfunction(value)
            and value.__module__ == module.__name__
            and name.startswith("parse")
        }
    missing = found - {parser.name for parser in PARSERS}
    assert not missing, "put it into tests/fuzz/parsers.py, with real samples of what it reads"


def test_names_are_given_once() -> None:
    names = [parser.name for parser in PARSERS]
    assert len(set(names)) == len(names)


def _careless(data: bytes) -> int:
    if data.startswith(b"refuse"):
        raise GpufleetError("refused", read="", want="", remedy="")
    return int(data.decode("ascii"))


def test_a_crash_is_found_shrunk_and_told() -> None:
    tally = fuzz(Parser("careless", _careless, mutated(b"42", b"refuse")), 0, seed=1)
    assert "ValueError" in tally.crash or "UnicodeDecodeError" in tally.crash
    assert tally.cases > 0


def test_refusals_are_counted_and_no_crash() -> None:
    tally = fuzz(Parser("careful", _careless, st.just(b"refuse")), 0, seed=1)
    assert (tally.crash, tally.refused) == ("", tally.cases)


def test_the_command_prints_the_cases_of_each_parser(capsys: pytest.CaptureFixture[str]) -> None:
    name = "_host.pci_address.normalise_bdf"
    assert main(["--seconds", "0", "--only", name, "--seed", "1"]) == 0
    said = capsys.readouterr().out
    assert f"{name} " in said
    assert "0 parsers crashed" in said
    assert main(["--only", "nothing of this name"]) == 2


@given(st.data())
@settings(max_examples=50)
def test_damage_leaves_the_sample_alone(data: st.DataObject) -> None:
    sample = {"schema": 1, "list": [{"a": None}, 2], "text": "x"}
    data.draw(mutated_json(sample))
    assert sample == {"schema": 1, "list": [{"a": None}, 2], "text": "x"}


def test_most_cases_are_near_a_sample() -> None:
    seen: list[bytes] = []

    @given(mutated(b"the quick brown fox jumps over the lazy dog"))
    @settings(max_examples=200)
    def collect(case: bytes) -> None:
        seen.append(case)

    collect()
    assert sum(b"fox" in case for case in seen) > len(seen) // 4
    assert len(set(seen)) > len(seen) // 2
