# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Puts the collection into the wheel, so that `pip install gpufleet` brings gpufleet.p2p along.

A static `force-include` in pyproject.toml would do so for editable installs too, and the copy
in site-packages would then hide the checkout that is being edited. This hook adds the files to the
standard version of the wheel only; an editable install finds the collection through
`dev-mode-dirs` instead.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

COLLECTION_PARTS = (
    "CHANGELOG.md",
    "LICENSE",
    "README.md",
    "galaxy.yml",
    "meta",
    "playbooks",
    "plugins",
    "roles",
)
# What the virtual machines of `gpufleet lab` are made of is data of that subpackage.
LAB_DATA = "lab"


class CollectionInWheel(BuildHookInterface[Any]):
    """Adds the collection and the lab's data to the standard wheel."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Extend `build_data["force_include"]`.

        Raises:
            FileNotFoundError: a part of the collection is missing from the source tree, which
                would otherwise make a wheel that installs and then has no modules.
        """
        if version != "standard":
            return
        root = Path(self.root)
        destinations = {
            part: f"ansible_collections/gpufleet/p2p/{part}" for part in COLLECTION_PARTS
        }
        destinations[LAB_DATA] = "gpufleet/lab/files"
        missing = [part for part in destinations if not (root / part).exists()]
        if missing:
            raise FileNotFoundError(f"the wheel needs {', '.join(missing)} in {root}")
        for part, destination in destinations.items():
            build_data["force_include"][str(root / part)] = destination
