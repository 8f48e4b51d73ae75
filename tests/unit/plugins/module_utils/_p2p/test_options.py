# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Options with which nothing could be measured are refused before anything is tried."""

from __future__ import annotations

import pytest
from ansible_collections.gpufleet.p2p.plugins.module_utils._p2p.options import (
    OptionRefused,
    Options,
)

MIB = 1 << 20


@pytest.mark.parametrize("size", [-1, 0, 1, MIB - 1])
def test_a_buffer_that_is_too_small_is_not_taken_for_a_gpu_without_memory(size: int) -> None:
    with pytest.raises(OptionRefused) as caught:
        Options(buffer_bytes=size)
    assert (caught.value.code, caught.value.read) == ("buffer_too_small", f"buffer_bytes: {size}")


@pytest.mark.parametrize("seconds", [0, -5.0])
def test_no_time_is_not_taken_for_a_link_that_hangs(seconds: float) -> None:
    with pytest.raises(OptionRefused) as caught:
        Options(child_timeout=seconds)
    assert caught.value.code == "timeout_too_short"


def test_what_is_asked_for_is_what_is_moved() -> None:
    assert Options(buffer_bytes=MIB, quick=True).payload_bytes == MIB
    assert Options(quick=True).payload_bytes == 32 * MIB
    assert Options().payload_bytes == 256 * MIB
