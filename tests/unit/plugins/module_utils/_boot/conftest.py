# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The host that the boot tests change."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.boot_host import BootHost


@pytest.fixture
def host(tmp_path: Path) -> BootHost:
    """Return a freshly installed Debian host."""
    return BootHost(tmp_path)
