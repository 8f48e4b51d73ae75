# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What apt is told about the packages of one release."""

from __future__ import annotations

import re

from ansible_collections.gpufleet.p2p.plugins.module_utils._driver.userspace_hold import pin_text
from ansible_collections.gpufleet.p2p.plugins.module_utils._driver.userspace_packages import Package


def test_each_name_is_pinned_once_to_its_version() -> None:
    text = pin_text([Package(f"libcuda1:{arch}", "595.58.03-1", "install") for arch in "ab"])
    stanzas = re.findall(r"^Package: (\S+)\nPin: version (\S+)\nPin-Priority: 1001$", text, re.M)
    assert stanzas == [("libcuda1", "595.58.03-1")]
