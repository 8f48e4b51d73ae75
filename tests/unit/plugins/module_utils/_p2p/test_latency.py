# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A latency is what most samples say: one that was disturbed does not fail a pair."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import cast
from unittest.mock import MagicMock

import pytest
from ansible_collections.gpufleet.p2p.plugins.module_utils._p2p import latency
from ansible_collections.gpufleet.p2p.plugins.module_utils._p2p.bench import Bench, Side

Measure = Callable[[Bench, Side, Side], float]
COPIES = 100


@pytest.mark.parametrize("measure", [latency.queued_copy_on, latency.queued_copy_off])
@pytest.mark.parametrize("disturbed", [0, 1, 2])
def test_one_disturbed_sample_does_not_show(measure: Measure, disturbed: int) -> None:
    taken = [200e-6, 210e-6]
    taken.insert(disturbed, 9000e-6)
    bench, source, target = MagicMock(), MagicMock(), MagicMock()
    bench.gated.side_effect = lambda _side: contextlib.nullcontext()
    source.mark.seconds_since.side_effect = taken
    found = measure(cast("Bench", bench), cast("Side", source), cast("Side", target))
    assert found == pytest.approx(210e-6 / COPIES)
