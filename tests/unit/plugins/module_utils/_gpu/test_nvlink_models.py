# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which models have NVLink, and which builds of the driver leave it as it is."""

from __future__ import annotations

import pytest
from ansible_collections.gpufleet.p2p.plugins.module_utils._gpu.nvlink_models import (
    has_nvlink,
    prefers_nvlink,
)
from hypothesis import given
from hypothesis import strategies as st


@pytest.mark.parametrize(
    "name",
    [
        "NVIDIA GeForce RTX 3090",
        "NVIDIA GeForce RTX 3090 Ti",
        "NVIDIA RTX A6000",
        "NVIDIA RTX A5000",
        "NVIDIA A40",
        "NVIDIA A100-SXM4-80GB",
        "NVIDIA H100 80GB HBM3",
        "NVIDIA H200",
    ],
)
def test_models_with_a_connector(name: str) -> None:
    assert has_nvlink(name)


@pytest.mark.parametrize(
    "name",
    [
        "NVIDIA GeForce RTX 3080",
        "NVIDIA GeForce RTX 4090",
        "NVIDIA GeForce RTX 5090",
        "NVIDIA RTX A4000",
        "NVIDIA RTX A5000 Laptop GPU",
        "NVIDIA RTX 6000 Ada Generation",
        "NVIDIA RTX PRO 6000 Blackwell Workstation Edition",
        "NVIDIA A10",
        "",
    ],
)
def test_models_without_one(name: str) -> None:
    assert not has_nvlink(name)


@pytest.mark.parametrize(
    ("version", "prefers"),
    [
        ("560.35.03", False),
        ("570.148.08", False),
        ("590.48.01", False),
        ("595.45.04", False),
        ("595.58.03", True),
        ("595.71.05", True),
        ("610.43.02", True),
        (None, False),
        ("", False),
    ],
)
def test_builds_that_keep_nvlink(version: str | None, prefers: bool) -> None:
    assert prefers_nvlink(version) is prefers


@given(st.text())
def test_any_text_is_a_name_and_a_version(text: str) -> None:
    has_nvlink(text)
    prefers_nvlink(text)
