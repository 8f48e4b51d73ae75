# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The controller's part of p2p_facts: pynvml goes with it."""

from __future__ import annotations

from ansible_collections.gpufleet.p2p.plugins.plugin_utils.pynvml_carrier import PynvmlCarrier


class ActionModule(PynvmlCarrier):
    """Runs p2p_facts with the controller's pynvml."""

    MODULE = "gpufleet.p2p.p2p_facts"
