# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Descriptions are taken whole or refused with what is wrong in them."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.gpufleet.p2p.plugins.module_utils._drain.hooks import (
    HooksInvalid,
    parse,
)

GOOD: list[dict[str, Any]] = [
    {"method": "slurm", "node": "gpu01", "timeout": 7200, "tool": ["sudo", "-n", "scontrol"]},
    {"method": "kubernetes", "node": "gpu01.example.org", "arguments": ["--force"]},
    {"method": "units", "units": ["inference@0.service", "nvidia-dcgm.service"]},
    {"method": "command", "drain": ["/usr/bin/out", "gpu01"], "restore": ["/usr/bin/in", "gpu01"]},
]


@pytest.mark.parametrize("description", GOOD, ids=lambda given: given["method"])
def test_a_description_survives_being_noted(description: dict[str, Any]) -> None:
    hooks = parse(description, "inventory-name")
    assert parse(hooks.as_dict()) == hooks
    assert {name: hooks.as_dict()[name] for name in description} == description


def test_a_node_is_called_as_the_host_unless_told_otherwise() -> None:
    assert parse({"method": "slurm"}, "gpu07").node == "gpu07"
    assert parse({"method": "slurm", "node": None, "tool": None}, "gpu07").node == "gpu07"
    assert parse({"method": "units", "units": ["a.service"]}, "gpu07").node == ""


@pytest.mark.parametrize(
    ("description", "word"),
    [
        ([], "list"),
        ({}, "method"),
        ({"method": "lsf"}, "lsf"),
        ({"method": "slurm", "node": "gpu[01-90]"}, "one node"),
        ({"method": "slurm", "node": "gpu01,gpu02"}, "one node"),
        ({"method": "slurm", "node": "ALL"}, "one node"),
        ({"method": "kubernetes", "node": "--all"}, "one node"),
        ({"method": "slurm", "units": ["a.service"]}, "units"),
        ({"method": "units"}, "no units"),
        ({"method": "units", "units": ["nvidia-*"]}, "nvidia-*"),
        ({"method": "units", "units": ["--all"]}, "--all"),
        ({"method": "command", "drain": ["true"]}, "no restore"),
        ({"method": "command", "drain": "true x", "restore": ["true"]}, "list of words"),
        ({"method": "command", "drain": [""], "restore": ["true"]}, "list of words"),
        ({"method": "slurm", "node": "a", "timeout": 0}, "timeout"),
        ({"method": "slurm", "node": "a", "timeout": True}, "timeout"),
        ({"method": "slurm", "node": "a", "timeout": "3600"}, "timeout"),
        ({"method": "slurm", "node": "a", "delegate": ["x"]}, "delegate"),
    ],
)
def test_what_cannot_be_used_is_refused(description: Any, word: str) -> None:
    with pytest.raises(HooksInvalid) as refused:
        parse(description)
    assert refused.value.code == "drain_invalid"
    assert word in f"{refused.value.read} {refused.value.want}"
